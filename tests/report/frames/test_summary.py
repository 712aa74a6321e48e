"""The mean over the folds and the score of each class, against sums by hand and the tables."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

import fsseg_bench
from fsseg_bench.errors import UserError
from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.frames.runs import results
from fsseg_bench.report.frames.summary import means, per_class
from fsseg_bench.report.table import class_tables, runs_tables
from tests.support.pairs import pair, write_fold, write_pair
from tests.support.runs import SPREAD, write_run


def test_means_are_those_over_the_folds_with_the_intervals_of_the_tables(tmp_path: Path) -> None:
    write_pair(tmp_path, images=8)
    frame = means(tmp_path).set_index("method")
    of_folds = results(tmp_path).query("metric == 'mean' and resolution == 'input'").groupby("method")
    assert frame.iou.tolist() == pytest.approx(of_folds.iou.mean().tolist())
    (table,) = runs_tables(find_runs(tmp_path))
    (place,) = [i for i, column in enumerate(table.columns) if column.title == "1-shot mean"]
    for row in table.rows:
        cell, own = row[place], frame.loc[row[0].text]
        assert (own.iou, own.iou_low, own.iou_high) == pytest.approx((cell.value, cell.low, cell.high), abs=1e-12)
        assert (own.folds, own.interval, own.note, own.metric) == (4, "images", "", "mean")
        assert len(own.paths.splitlines()) == 4


def test_the_interval_of_independent_folds_is_narrower(tmp_path: Path) -> None:
    """Over episodes alone folds are independent: the half widths add up as squares, roughly."""
    for fold in (1, 2):
        write_fold(tmp_path, pair(fold, (40, 30))[0], fold, folds=2)
    of_folds = results(tmp_path).query("metric == 'binary' and resolution == 'native'")
    (whole,) = means(tmp_path, metric="binary", resolution="native").itertuples()
    halves = (of_folds.iou_high - of_folds.iou_low) / 2
    assert (whole.iou_high - whole.iou_low) / 2 == pytest.approx(np.sqrt((halves**2).sum()) / 2, rel=0.1)


def test_a_mean_with_a_missing_fold_is_named_and_has_no_number(tmp_path: Path) -> None:
    write_fold(tmp_path, pair(1)[0], 1)
    (row,) = means(tmp_path).itertuples()
    assert np.isnan([row.iou, row.iou_low, row.iou_high]).all()
    assert (row.folds, row.note) == (1, "1 of 4 folds")
    with pytest.raises(UserError, match="metric 'median': use one of mean, binary"):
        means(tmp_path, metric="median")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="resolution 'full': use one of input, native"):
        means(tmp_path, resolution="full")  # type: ignore[arg-type]


def test_classes_by_hand(tmp_path: Path) -> None:
    folder = write_run(tmp_path, SPREAD, fold=3, shot=5, seed=9)
    frame = per_class(tmp_path).set_index("class_name")
    assert frame.iou.to_dict() == pytest.approx({"cat": 50.0, "dog": 80.0})
    assert (frame.iou_low["cat"], frame.iou_high["cat"]) == pytest.approx((25, 75))
    assert np.isnan(frame.iou_low["dog"])  # one episode
    assert frame.note["dog"].startswith("no interval")
    assert frame.class_id.tolist() == [1, 2]
    assert frame.episodes.tolist() == [2, 1]
    assert (frame.fold["cat"], frame["shot"]["cat"], frame.seed["cat"]) == (3, 5, 9)
    assert set(frame.path) == {str(folder)}


def test_classes_are_those_of_the_tables(tmp_path: Path) -> None:
    write_pair(tmp_path, (1, 2), images=9)
    frame = per_class(tmp_path, resolution="native").set_index(["method", "class_name"])
    (table,) = class_tables(find_runs(tmp_path), "native")
    for row in table.rows:
        for column, cell in zip(table.columns[2:], row[2:], strict=True):
            own = frame.loc[column.head[-1], row[1].text]
            assert (own.iou, own.iou_low, own.iou_high) == pytest.approx((cell.value, cell.low, cell.high))


def test_a_plot_with_error_bars_takes_three_lines(tmp_path: Path) -> None:
    """As the documentation shows it."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    write_pair(tmp_path, images=8)
    scores = fsseg_bench.means(tmp_path)
    ends = (scores.iou - scores.iou_low, scores.iou_high - scores.iou)
    drawn = plt.errorbar(scores.iou, scores.method, xerr=ends, fmt="o")
    (segments,) = (lines.get_segments() for lines in drawn.lines[2])
    assert [ends[:, 0].tolist() for ends in segments] == scores[["iou_low", "iou_high"]].to_numpy().tolist()
    plt.close("all")
