"""What a reader of a comparison sees."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from fsseg_bench.protocol.paired import ALIKE
from fsseg_bench.protocol.paired_episodes import NOTHING_VARIES
from fsseg_bench.protocol.significance import Detection
from fsseg_bench.protocol.statistics import IntervalKind
from fsseg_bench.report.compare import Comparison, compare
from fsseg_bench.report.compare_cells import p_text, power_of
from fsseg_bench.report.compare_json import compare_json
from fsseg_bench.report.compare_tables import compare_tables, overall_name
from fsseg_bench.report.model import Table
from fsseg_bench.report.select import select
from fsseg_bench.report.text import to_markdown
from tests.support.pairs import pair, write_fold, write_pair
from tests.support.readers import said, texts
from tests.support.runs import SPREAD, write_run


def compared(root: Path, *texts: str) -> Comparison:
    return compare(select(texts or ("baseline", "biopt"), root, {}).contenders, resamples=200, interval="episodes")


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    root = tmp_path_factory.mktemp("runs")
    write_pair(root)
    return compared(root)


def test_scores_by_hand(tmp_path: Path):
    """SPREAD has IoU 0.5 and 20/25; 25 more hits of class 2 make it 45/50."""
    better = (*SPREAD[:2], ((2,), (75, 5, 0, 45)))
    write_run(tmp_path, SPREAD)
    write_run(tmp_path, better, method="biopt")
    differences, classes = compare_tables(compared(tmp_path))
    mean = texts(differences)[0]
    assert mean[:6] == ["biopt", "mean-IoU", "fold 1", "65.00", "70.00", "+5.00"]
    assert (mean[6], differences.rows[0][6].note) == ("-", f"no interval: {NOTHING_VARIES}")
    assert [row[:6] for row in texts(classes)] == [
        ["biopt", "fold 1", "cat", "50.00", "50.00", "+0.00"],
        ["biopt", "fold 1", "dog", "80.00", "90.00", "+10.00"],
    ]


def heads(table: Table) -> list[str]:
    return [column.title for column in table.columns]


def test_columns_are_named_after_the_contenders(tmp_path: Path):
    """``compare panet baseline``: PANet's scores must not stand under "baseline"."""
    for method, hits in (("baseline", 45), ("panet", 20), ("biopt", 30)):
        for seed in (0, 1):
            write_run(tmp_path, (*SPREAD[:2], ((2,), (75, 5, 0, hits))), method=method, seed=seed)
    differences, classes, seeds = compare_tables(compared(tmp_path, "panet", "baseline"))
    assert heads(differences)[3:6] == ["panet", "baseline", "difference"]
    assert texts(differences)[0][3:6] == ["65.00", "70.00", "+5.00"]
    assert heads(classes)[3:5] == ["panet", "baseline"]
    assert heads(seeds)[2:5] == ["panet", "baseline", "difference"]
    assert "the method minus panet" in differences.caption
    assert "p (Holm): as p, since one method is compared with panet." in said(differences)
    several = compare_tables(compared(tmp_path, "panet", "baseline", "biopt"))
    assert "corrected for the 2 methods compared with panet" in said(several[0])
    assert [heads(table)[3:5] for table in several[:4]] == 2 * [["panet", "baseline"], ["panet", "biopt"]]
    assert [{row[0] for row in texts(table)} for table in several[:2]] == [{"baseline"}, {"biopt"}]
    assert len({table.name for table in several}) == len({table.title for table in several}) == len(several) == 6
    document = json.loads(compare_json(compared(tmp_path, "panet", "baseline")))
    assert document["methods"][0]["scores"] == {"baseline": "panet", "other": "baseline"}
    assert document["methods"][0]["overall"]["mean"]["baseline"] == pytest.approx(65)


def test_rows_are_folds_then_their_mean(comparison: Comparison):
    differences, classes = compare_tables(comparison)
    assert [row[1:3] for row in texts(differences)] == [
        [metric, where]
        for metric in ("mean-IoU", "binary-IoU")
        for where in ("fold 1", "fold 2", "fold 3", "fold 4", "mean")
    ]
    assert len(classes.rows) == 8
    cell = differences.rows[4][5]
    found = comparison.versus[0].overall["mean"].difference
    assert (cell.value, cell.low, cell.high) == (100 * found.value, 100 * found.low, 100 * found.high)
    assert cell.text == f"{100 * (found.other - found.baseline):+.2f}"
    assert "digests: fold 1 11111111, fold 2 22222222" in said(differences)


def test_a_mean_of_some_folds_says_which():
    assert overall_name((1, 2, 3, 4), range(1, 5)) == "mean"
    assert overall_name((1, 3), range(1, 5)) == "mean of folds 1, 3"
    assert overall_name((2,), range(1, 5)) == "fold 2 alone"
    assert overall_name((1,), range(1, 2)) == "the only fold"


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (1.0, "1.00"),
        (0.25, "0.25"),
        (0.0456, "0.046"),
        (0.0014, "0.001"),
        (0.001, "0.001"),
        (0.00099, "< 0.001"),
        (0.0, "< 0.001"),
        (None, "-"),
    ],
)
def test_p_values_are_never_zero(p: float | None, text: str):
    assert p_text(p) == text


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Over images and episodes."""
    root = tmp_path_factory.mktemp("crossed")
    write_pair(root, images=31)
    return compare(select(("baseline", "biopt"), root, {}).contenders)


def test_captions_say_what_intervals_are_over(comparison: Comparison, crossed: Comparison):
    over, alone = (said(compare_tables(c)[0]) for c in (crossed, comparison))
    assert "95 % paired interval over images and episodes" in over
    assert "two-sided t test" in over
    numbers = [images.numbers for images in crossed.images]
    queries = f"{min(n.queries for n in numbers)} to {max(n.queries for n in numbers)} query"
    assert "1-way 1-shot, 21 episodes a fold." in over
    assert f"21 different episodes of {queries} and" in over
    assert "95 % paired interval over episodes alone" in alone
    assert "approximate randomisation over episodes, 200 resamples" in alone


def test_power_over_images(crossed: Comparison):
    *_, power = compare_tables(crossed, power=0.5)
    assert [c.title for c in power.columns[3:6]] == [
        "standard error", "resolvable with 21", "with any number of episodes",
    ]  # fmt: skip
    assert power.columns[7].title.startswith("images a class (now ")
    for place, own in ((4, crossed.versus[0].overall["mean"]), (1, crossed.versus[0].folds["mean"][1])):
        found, cells = own.difference, power.rows[place][3:]
        quantiles = stats.t.ppf(0.975, found.df) + stats.t.ppf(0.8, found.df)
        classes = len(crossed.class_names) / 4
        queries = [images.numbers.queries / classes for images in crossed.images]
        images = sum(queries) / 4 if place == 4 else queries[1]
        assert cells[0].value == pytest.approx(100 * found.error)
        assert cells[1].value == pytest.approx(100 * quantiles * found.error)
        assert cells[2].value == pytest.approx(100 * quantiles * found.lasting)
        assert cells[4].value == math.ceil(images * (quantiles * found.error / 0.005) ** 2)
        assert (cells[3].text == "none suffices") == (quantiles * found.lasting >= 0.005)


def test_where_no_number_of_episodes_suffices_it_says_so(crossed: Comparison):
    """Just above and just below what any number of episodes of these images finds."""
    own = crossed.versus[0].overall["binary"]
    best = power_of(crossed, own, 0.5).at_best
    assert 0 < best < power_of(crossed, own, 0.5).resolvable
    assert power_of(crossed, own, 0.999 * best).episodes is None
    assert power_of(crossed, own, 1.05 * best).episodes > 21
    *_, power = compare_tables(crossed, power=99.9 * best)
    row = power.rows[9]
    assert row[6].text == "none suffices"
    assert row[6].note == "no number of episodes of these images resolves the difference; more images do"
    now = power_of(crossed, own, power_of(crossed, own, 0.5).resolvable)
    assert now.episodes in {21, 22}
    assert now.images == math.ceil(np.mean([i.numbers.queries / 2 for i in crossed.images]))


@pytest.mark.parametrize(("interval", "why"), [("images", ALIKE), ("episodes", NOTHING_VARIES)])
def test_equal_methods_have_no_interval_and_no_power(tmp_path: Path, interval: IntervalKind, why: str):
    for method in ("baseline", "biopt"):
        write_fold(tmp_path, pair(1)[0], 1, method=method, images=9)
    contenders = select(("baseline", "biopt"), tmp_path, {}).contenders
    comparison = compare(contenders, interval=interval, resamples=200)
    differences, _, power = compare_tables(comparison, power=1)
    assert texts(differences)[0][5:] == ["+0.00", "-", "1.00", "1.00"]
    assert differences.rows[0][6].note == f"no interval: {why}"
    assert power.rows[0][3].note == why
    assert {cell.text for cell in power.rows[0][3:]} == {"-"}
    document = json.loads(compare_json(comparison, power=1))
    assert document["methods"][0]["overall"]["mean"]["low"] is None
    assert document["methods"][0]["overall"]["mean"]["power"] is None


def test_json_names_the_images(crossed: Comparison, comparison: Comparison):
    document = json.loads(compare_json(crossed))
    assert (document["interval"], document["resamples"]) == ("images", None)
    assert document["images"][2] == crossed.images[2].numbers._asdict()
    older = json.loads(compare_json(comparison))
    assert (older["interval"], older["resamples"], older["images"]) == ("episodes", 200, [None] * 4)


def test_power(comparison: Comparison):
    *_, power = compare_tables(comparison, power=0.5)
    found = comparison.versus[0].overall["mean"].difference
    row = dict(zip((c.title for c in power.columns), power.rows[4], strict=True))
    assert row["standard error"].value == pytest.approx(100 * found.error)
    assert row["resolvable with 21"].value == pytest.approx(280.16 * found.error, rel=1e-4)
    assert row["episodes a fold"].value == Detection().episodes_needed(found.error, 21, 0.005)
    assert row["episodes a fold"].value == pytest.approx(math.ceil(21 * (2.8016 * found.error / 0.005) ** 2), rel=1e-3)


def test_training_seeds_have_a_table_of_their_own(tmp_path: Path):
    for seed in (0, 1):
        write_pair(tmp_path, (1,), seed=seed)
    *_, seeds = compare_tables(compared(tmp_path))
    assert seeds.title == "toy: over training seeds"
    assert "training seeds 0, 1" in seeds.caption
    assert all(cell.text.endswith("± 0.00") for row in seeds.rows for cell in row[2:])  # equal counts for both seeds


def test_what_was_left_out_and_what_differs_is_under_the_table(tmp_path: Path):
    write_pair(tmp_path, (1, 2))
    write_fold(tmp_path, pair(3)[0], 3, method="baseline")
    for fold in (1, 2):
        write_fold(tmp_path, pair(fold, sizes=(12, 9))[1], fold, method="panet", precision="bf16")
    differences, _ = compare_tables(compared(tmp_path, "baseline", "panet"))
    assert "baseline: fold 3 left out, since others lack it." in differences.remarks
    assert 'baseline and panet also differ in precision: "fp32" / "bf16".' in differences.remarks
    assert texts(differences)[2][2] == "mean of folds 1, 2"


def test_names_from_records_are_escaped(tmp_path: Path):
    for method in ("baseline", "a_b|c"):
        write_run(tmp_path, SPREAD, method=method, class_names={"1": "<script>", "2": "x_y"})
    _, classes = compare_tables(compared(tmp_path, "baseline", "a_b|c"))
    text = to_markdown(classes)
    assert "<script>" not in text
    assert r"a\_b\|c" in text


def test_json_has_every_number(comparison: Comparison):
    document = json.loads(compare_json(comparison, power=0.5))
    (method,) = document["methods"]
    found = comparison.versus[0]
    assert method["overall"]["mean"]["difference"] == 100 * found.overall["mean"].difference.value
    assert method["overall"]["binary"]["p_holm"] == found.overall["binary"].p_holm
    assert [fold["low"] for fold in method["by_fold"]["mean"]] == [100 * o.difference.low for o in found.folds["mean"]]
    assert [(c["fold"], c["class"], c["name"]) for c in method["by_class"][:3]] == [
        (1, 101, "class 101"),
        (1, 102, "class 102"),
        (2, 201, "class 201"),
    ]
    assert method["training_seeds"]["mean"]["other"] == {
        "mean": pytest.approx(100 * found.overall["mean"].difference.other),
        "deviation": None,
        "seeds": 1,
    }
    assert method["overall"]["mean"]["power"]["difference"] == 0.5
    assert document["baseline"]["runs"] == [str(comparison.baseline.runs[f][0].folder) for f in (1, 2, 3, 4)]
    assert document["episode_digests"][1] == "2" * 64
    assert "power" not in json.loads(compare_json(comparison))["methods"][0]["overall"]["mean"]
