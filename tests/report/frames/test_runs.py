"""One row for each score of each run: the numbers, and what tells the runs apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.report import intervals
from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.frames.runs import results, results_of
from tests.support.pairs import pair, write_fold
from tests.support.runs import NATIVE, SPREAD, write_run


def test_long_frame(tmp_path: Path) -> None:
    folder = write_run(tmp_path, SPREAD, native=NATIVE, fold=3, shot=5, seed=9)
    frame = results(tmp_path)
    assert len(frame) == 4
    row = frame[(frame.metric == "mean") & (frame.resolution == "input")].iloc[0]
    assert row.iou == pytest.approx(65, abs=1e-12)
    assert (row.iou_low, row.iou_high) == pytest.approx((52.5, 77.5), abs=1e-10)
    assert (row.protocol, row.method, row.backbone) == ("toy", "baseline", "resnet18")
    assert (row.way, row.shot, row.fold, row.seed, row.episodes) == (1, 5, 3, 9, 3)
    assert (row.status, row.path, row.episode_digest) == ("done", str(folder), "e" * 64)
    native = frame[(frame.metric == "mean") & (frame.resolution == "native")].iloc[0]
    assert native.iou == 75
    assert frame.attrs["skipped"] == []


def test_the_frame_says_what_intervals_are_over(tmp_path: Path) -> None:
    write_fold(tmp_path, pair(1, (12, 9))[0], 1, images=8)
    write_fold(tmp_path, pair(2, (12, 9))[0], 2)
    write_run(tmp_path, fold=3)
    frame = results(tmp_path)
    own = frame[(frame.metric == "mean") & (frame.resolution == "input")].set_index("fold")
    assert own.interval.tolist() == ["images", "episodes", "episodes"]
    assert own.note.tolist()[:2] == [intervals.FEW_IMAGES, intervals.UNKNOWN_IMAGES]
    assert own.note[3].startswith("no interval: nothing varies between the episodes")
    assert own.images.isna().tolist() == own.different_episodes.isna().tolist() == [False, True, True]
    assert own.iou_low.isna().tolist() == own.iou_high.isna().tolist() == [False, False, True]
    (run,) = find_runs(tmp_path).done[:1]
    assert (own.images[1], own.different_episodes[1]) == (run.images.numbers.images, run.images.numbers.different)
    older = results(tmp_path, interval="episodes")
    assert set(older.interval) == {"episodes"}
    assert older.iou_low[0] != frame.iou_low[0]
    with pytest.raises(UserError, match="interval 'image': use one of images, episodes"):
        results(tmp_path, interval="image")


def test_no_runs_is_an_empty_frame_and_skipped_ones_are_named(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    (folder / "run.json").write_text("{")
    frame = results(tmp_path)
    assert len(frame) == 0
    assert not {"iou", "iou_low", "iou_high"} - set(frame.columns)
    assert frame.attrs["unit"] == "percent"
    assert str(folder) in frame.attrs["skipped"][0]


def test_of_some_folders(tmp_path: Path) -> None:
    first, _ = write_run(tmp_path), write_run(tmp_path, fold=2)
    assert set(results_of([first]).path) == {str(first)}


def test_runs_of_other_settings_are_told_apart(tmp_path: Path) -> None:
    for steps, lr in ((5, 0.1), (10, 0.1), (10, 0.2)):
        write_run(tmp_path, method="biopt", switches={"steps": steps}, recipe={"iterations": 100, "lr": lr})
    write_run(tmp_path, recipe={"iterations": 0, "lr": 0.3})
    write_run(tmp_path, shot=5, recipe={"iterations": 7, "lr": 0.4}, switches={"temperature": 9.0}, scales=[0.7, 1])
    frame = results(tmp_path).query("metric == 'mean' and resolution == 'native'")
    assert [name for name in frame if "." in name] == ["recipe.lr", "switches.steps"]  # those of one method and shot
    biopt = frame[frame.method == "biopt"].set_index(["switches.steps", "recipe.lr"])
    assert set(biopt.index) == {(5, 0.1), (10, 0.1), (10, 0.2)}
    assert biopt.settings[10, 0.2] == "lr=0.2; steps=10"
    assert frame.identity.nunique() == 5
    own = frame[frame.method == "baseline"].set_index("shot")
    assert own.iterations.tolist() == [0, 7]
    assert own["switches.steps"].isna().all()
    assert own.settings[1].startswith("untrained")
    assert frame.groupby(["method", "shot", "settings"]).size().tolist() == [1] * 5


def test_settings_that_are_lists_and_checkpoints_can_be_grouped_by(tmp_path: Path) -> None:
    write_run(tmp_path, scales=[0.7, 1])
    write_run(tmp_path, scales=[1.0])
    write_run(tmp_path, recipe={}, checkpoint_digest="c" * 64)
    frame = results(tmp_path)
    assert set(frame.scales) == {"[0.7, 1]", "[1.0]"}
    assert set(frame.parameters) == {"here", "unknown"}
    assert frame.iterations.isna().sum() == 4
    assert frame.groupby(["scales", "parameters"]).ngroups == 3


def test_conditions_choose_runs_and_say_how_many_they_leave_out(tmp_path: Path) -> None:
    for method in ("baseline", "panet", "biopt"):
        for shot in (1, 5):
            write_run(tmp_path, method=method, shot=shot, switches={"deep": shot > 1})
    frame = results(tmp_path, method=["panet", "biopt"], shot=5, where={"deep": True})
    assert set(frame.method) == {"panet", "biopt"}
    assert set(frame["shot"]) == {5}
    assert frame.attrs["left_out"] == 4
    assert results(tmp_path).attrs["left_out"] == 0
    assert set(results(tmp_path, method="panet", dataset="toy", way=1, seed=0, backbone="resnet18").method) == {"panet"}
    with pytest.raises(UserError, match=r"no run has shot=3; there is 1, 5"):
        results(tmp_path, shot=3)


def test_the_first_episodes_alone(tmp_path: Path) -> None:
    write_run(tmp_path, (SPREAD[0], SPREAD[2], SPREAD[1]))
    frame = results(tmp_path, episodes=2)
    assert frame.iou[0] == pytest.approx(100 * (10 / 40 + 20 / 25) / 2)
    assert set(frame.episodes) == {2}
