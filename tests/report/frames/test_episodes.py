"""One row for each episode: images, classes and pixels, from which every score can be computed again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fsseg_bench.protocol.table import EpisodeTable
from fsseg_bench.report.frames.episodes import episodes_frame
from fsseg_bench.report.frames.runs import results
from tests.support.pairs import episode_table, pair, write_fold, write_pair
from tests.support.runs import SPREAD, write_run


def test_rows_by_hand(tmp_path: Path) -> None:
    table = EpisodeTable(((1,), (1,), (2,)), ("a", "b", "c"), ((("x", "y"),), (("y", "z"),), (("p", "q"),)))
    folder = write_run(tmp_path, SPREAD, table=table, fold=2, seed=3)
    frame = episodes_frame(tmp_path)
    assert frame.episode.tolist() == [0, 1, 2]
    assert frame.class_id.tolist() == [1, 1, 2]
    assert frame.class_name.tolist() == ["cat", "cat", "dog"]
    assert frame["query"].tolist() == ["a", "b", "c"]
    assert frame[["support_1_1", "support_1_2"]].to_numpy().tolist() == [["x", "y"], ["y", "z"], ["p", "q"]]
    assert frame.iou.tolist() == pytest.approx([100 * 10 / 40, 100 * 30 / 40, 100 * 20 / 25])
    assert frame[["tp", "fp", "fn", "tn"]].to_numpy().tolist() == [[10, 15, 15, 60], [30, 5, 5, 60], [20, 5, 0, 75]]
    assert set(zip(frame.method, frame.fold, frame.seed, frame["shot"], frame.path, strict=True)) == {
        ("baseline", 2, 3, 2, str(folder))
    }
    assert frame.attrs == {"unit": "percent", "skipped": [], "left_out": 0}


def test_scores_of_one_way_follow_from_the_pixels(tmp_path: Path) -> None:
    write_pair(tmp_path, images=8)
    sums = episodes_frame(tmp_path).groupby(["method", "fold", "class_id"])[["tp", "fp", "fn"]].sum()
    ious = 100 * sums.tp / sums.sum(axis=1)
    whole = results(tmp_path).query("metric == 'mean' and resolution == 'input'").set_index(["method", "fold"])
    assert ious.groupby(["method", "fold"]).mean().to_dict() == pytest.approx(whole.iou.to_dict())


def test_scores_of_two_ways_follow_from_the_pixels_of_each(tmp_path: Path) -> None:
    fold = pair(1, (9, 8, 7), ways=2)[0]
    write_run(
        tmp_path,
        [(row, cells.ravel().tolist()) for row, cells in zip(fold.classes.tolist(), fold.confusion, strict=True)],
        table=episode_table(fold.classes.tolist(), shots=3),
        novel=[1, 2, 3],
        class_names={"1": "cat", "2": "dog", "3": "owl"},
    )
    frame = episodes_frame(tmp_path)
    expected = [f"support_{n}_{k}" for n in (1, 2) for k in (1, 2, 3)]
    assert [name for name in frame if name.startswith("support")] == expected
    assert frame.class_name_2.tolist() == [{1: "cat", 2: "dog", 3: "owl"}[c] for _, c in fold.classes.tolist()]
    totals = dict.fromkeys((1, 2, 3), np.zeros(2))
    for row in frame.itertuples():
        totals[row.class_id] = totals[row.class_id] + (row.tp_1, row.tp_1 + row.fp_1 + row.fn_1)
        totals[row.class_id_2] = totals[row.class_id_2] + (row.tp_2, row.tp_2 + row.fp_2 + row.fn_2)
    of_input = results(tmp_path).query("resolution == 'input'").set_index("metric")
    assert np.mean([100 * hits / union for hits, union in totals.values()]) == pytest.approx(of_input.iou["mean"])
    pixels = frame[["tp", "fp", "fn", "tn"]].sum()
    wrong = pixels.fp + pixels.fn
    binary = 50 * (pixels.tp / (pixels.tp + wrong) + pixels.tn / (pixels.tn + wrong))
    assert binary == pytest.approx(of_input.iou["binary"])
    assert frame[["tp", "fp", "fn", "tn"]].sum(axis=1).tolist() == fold.confusion.sum(axis=(1, 2)).tolist()


def test_images_that_no_record_knows_are_none_and_those_of_another_serve(tmp_path: Path) -> None:
    write_fold(tmp_path, pair(1, (5, 4))[0], 1, images=6)
    (folder,) = tmp_path.glob("toy/*/*/fold1-*")
    other = write_fold(tmp_path, pair(1, (5, 4))[1], 1, images=6, method="biopt")
    (other / "episodes.csv").unlink()
    write_run(tmp_path, fold=2)
    frame = episodes_frame(tmp_path)
    known = frame[frame.fold == 1].pivot(index="episode", columns="path", values="query")
    assert known[str(folder)].tolist() == known[str(other)].tolist()
    assert frame[frame.fold == 2][["query", "support_1_1"]].isna().all(axis=None)


def test_nothing_labelled_or_predicted_has_no_iou(tmp_path: Path) -> None:
    write_run(tmp_path, [*SPREAD, ((2,), (100, 0, 0, 0))])
    assert np.isnan(episodes_frame(tmp_path).iou[3])


def test_first_episodes_filters_and_no_runs(tmp_path: Path) -> None:
    write_run(tmp_path, (SPREAD[0], SPREAD[2], SPREAD[1]))
    write_run(tmp_path, method="panet")
    frame = episodes_frame(tmp_path, method="baseline", episodes=2)
    assert (len(frame), frame.attrs["left_out"]) == (2, 1)
    (tmp_path / "none").mkdir()
    assert len(episodes_frame(tmp_path / "none")) == 0
