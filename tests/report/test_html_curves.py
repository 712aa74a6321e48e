import re
from pathlib import Path

import numpy as np

from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.html.curves import curves_html
from fsseg_bench.report.html.dots import Palette
from fsseg_bench.report.html.runs import groups
from tests.support.page import HOSTILE, Page
from tests.support.runs import write_log, write_run

# The drawing: 480 x 280, with 44 left, 10 right, 10 above and 36 below the axes.
LEFT, RIGHT, TOP, BOTTOM = 44, 470, 10, 244


def drawn(root: Path) -> tuple[Page, list[str]]:
    (group,) = groups(find_runs(root))
    html, warnings = curves_html(group, Palette())
    return Page(html), [warning.message for warning in warnings]


def points(page: Page) -> list[np.ndarray]:
    found = [re.findall(r"[\d.]+", str(line["points"])) for line in page.all("polyline")]
    return [np.array(values, float).reshape(-1, 2) for values in found]


def moving(values: np.ndarray, window: int) -> np.ndarray:
    return np.array([sum(values[i : i + window]) / window for i in range(len(values) - window + 1)])


def test_points_are_the_moving_average_over_folds_on_shared_axes(tmp_path: Path):
    rng = np.random.default_rng(0)
    one, two, other = rng.random(100), rng.random(100), 3 * rng.random(50)
    for fold, values in ((1, one), (2, two)):
        write_log(write_run(tmp_path, fold=fold), [{"final": float(v)} for v in values])
    write_log(write_run(tmp_path, method="panet"), [{"final": float(v)} for v in other])
    page, warnings = drawn(tmp_path)
    assert warnings == []
    expected = [moving((one + two) / 2, 4), moving(other, 4)]
    highest = max(e.max() for e in expected)
    for own, values in zip(points(page), expected, strict=True):
        centres = np.arange(len(values)) + 1.5
        np.testing.assert_allclose(own[:, 0], LEFT + (RIGHT - LEFT) * centres / 99, atol=0.06)
        np.testing.assert_allclose(own[:, 1], BOTTOM - (BOTTOM - TOP) * values / highest, atol=0.06)
    assert "baseline, resnet18, 2 folds panet, resnet18, 1 fold" in page.text
    assert "Moving average over 4 iterations" in page.text


def test_a_sum_of_parts_says_so_and_its_final_part_is_dashed(tmp_path: Path):
    write_log(write_run(tmp_path), [{"start": 2.0, "final": 1.0}] * 10)
    page, _ = drawn(tmp_path)
    total, final = points(page)
    assert set(total[:, 1]) == {TOP}
    np.testing.assert_allclose(final[:, 1], BOTTOM - (BOTTOM - TOP) / 3, atol=0.06)
    assert [line["class"] for line in page.all("polyline")] == ["curve s0 solid", "curve s0 dashed"]
    assert "sum of 2 parts baseline, resnet18, part final alone" in page.text


def test_a_constant_predictor_is_dotted_beside_a_loss_of_one_part(tmp_path: Path):
    folder = write_run(tmp_path)
    pixels = [[60, 40], [90, 10], [100, 0], [50, 50]]  # together 3 to 1
    write_log(folder, [{"query": 1.0}] * 4, labels=pixels)
    page, warnings = drawn(tmp_path)
    assert warnings == []
    _, reference = points(page)
    expected = np.array([-(b * np.log(0.75) + f * np.log(0.25)) / 100 for b, f in pixels])
    highest = max(1.0, expected.max())
    np.testing.assert_allclose(reference[:, 1], BOTTOM - (BOTTOM - TOP) * expected / highest, atol=0.06)
    assert [line["class"] for line in page.all("polyline")] == ["curve s0 solid", "curve s0 dotted"]
    assert "baseline, resnet18, constant predictor" in page.text
    write_log(folder, [{"a": 0.5, "b": 0.5}] * 4, labels=pixels)  # a sum has no such reference
    assert len(points(drawn(tmp_path)[0])) == 1


def test_long_trainings_are_thinned(tmp_path: Path):
    write_log(write_run(tmp_path), [{"final": float(i)} for i in range(2500)])
    (own,) = points(drawn(tmp_path)[0])
    assert len(own) == 240
    assert own[-1, 1] == TOP


def test_rows_without_a_log_are_left_out(tmp_path: Path):
    write_run(tmp_path)
    page, warnings = drawn(tmp_path)
    assert (page.text, warnings) == ("", [])


def test_a_damaged_log_is_named(tmp_path: Path):
    folder = write_run(tmp_path)
    write_log(folder, [{"final": 1.0}] * 3)
    (folder / "train.jsonl").write_text("{\n" + (folder / "train.jsonl").read_text())
    page, warnings = drawn(tmp_path)
    assert page.text == ""
    assert f"{folder}: no loss curve: " in warnings[0]
    assert "line 1" in warnings[0]


def test_losses_of_zero_and_one_iteration(tmp_path: Path):
    write_log(write_run(tmp_path), [{"final": 0.0}])
    (own,) = points(drawn(tmp_path)[0])
    assert own.tolist() == [[LEFT, BOTTOM]]


def test_names_come_out_as_text(tmp_path: Path):
    write_log(write_run(tmp_path, method=HOSTILE), [{"final": 1.0}] * 3)
    page, _ = drawn(tmp_path)
    assert page.all("script") == page.all("img") == []
    assert HOSTILE in page.text
