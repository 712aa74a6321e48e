from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.scoring import binary_iou, mean_iou
from fsseg_bench.protocol.statistics import FoldCounts
from fsseg_bench.records.read import read_run
from fsseg_bench.records.sweep import sweep_header, sweep_path
from fsseg_bench.report.contender import Contender
from fsseg_bench.report.figures.steps import ZERO_NOTE, OtherModel, other_model, steps_curve, steps_figure
from fsseg_bench.report.select import select
from tests.support.bootstrap import bootstrap_interval
from tests.support.pairs import pair, write_fold

STEPS = [0, 1, 3]


def better(fold: FoldCounts, step: int) -> FoldCounts:
    """The same labels with ``step`` percent of the misses turned into hits."""
    cells = np.array(fold.confusion)
    moved = cells[:, 1, 0] * step // 100
    cells[:, 1, 0] -= moved
    cells[:, 1, 1] += moved
    return FoldCounts(cells, fold.classes, fold.novel)


def write_sweep(folder: Path, fold: FoldCounts, steps: list[int]) -> None:
    counts = [np.asarray(better(fold, s).confusion).reshape(-1, 4).tolist() for s in steps]
    rows = [{"episode": i, "input": list(own), "native": list(own)} for i, own in enumerate(zip(*counts, strict=True))]
    lines = [sweep_header(read_run(folder), "steps", steps), *rows]
    sweep_path(folder, "steps").write_text("".join(json.dumps(line) + "\n" for line in lines))


def contender(root: Path, *texts: str) -> Contender:
    return select(texts or ("biopt",), root, {}).contenders[0]


@pytest.fixture
def folds(tmp_path: Path) -> dict[int, FoldCounts]:
    """Two folds of biopt with sweeps."""
    found = {}
    for number, steps in ((1, STEPS), (2, [3, 1, 0])):
        found[number] = pair(number, sizes=(12, 9))[0]
        write_sweep(write_fold(tmp_path, found[number], number, method="biopt"), found[number], steps)
    return found


def shifted(fold: FoldCounts, number: int) -> FoldCounts:
    """The classes as the record has them."""
    return FoldCounts(fold.confusion, np.asarray(fold.classes) + 100 * number, [c + 100 * number for c in fold.novel])


def test_a_curve_is_the_mean_of_the_folds_at_every_step(tmp_path: Path, folds: dict[int, FoldCounts]):
    curve = steps_curve(contender(tmp_path))
    assert (curve.name, curve.folds, curve.steps) == ("biopt", (1, 2), (0, 1, 3))
    for step, score, interval in zip(curve.steps, curve.scores, curve.intervals, strict=True):
        own = [better(fold, step) for fold in folds.values()]
        assert score == pytest.approx(np.mean([mean_iou(f.confusion, f.classes, f.novel) for f in own]), abs=1e-14)
        assert interval == pytest.approx(
            bootstrap_interval([shifted(f, n) for n, f in zip(folds, own, strict=True)], "mean")
        )
    pooled = steps_curve(contender(tmp_path), metric="binary")
    expected = np.mean([binary_iou(better(fold, 3).confusion) for fold in folds.values()])
    assert pooled.scores[2] == pytest.approx(expected, abs=1e-14)


def test_only_steps_that_all_folds_have(tmp_path: Path, folds: dict[int, FoldCounts]):
    (second,) = tmp_path.glob("toy/biopt*/*/fold2*")
    write_sweep(second, folds[2], [3, 7])
    assert steps_curve(contender(tmp_path)).steps == (3,)
    write_sweep(second, folds[2], [7])
    with pytest.raises(UserError, match="no number of steps in common"):
        steps_curve(contender(tmp_path))


def test_runs_without_a_sweep_are_named(tmp_path: Path, folds: dict[int, FoldCounts]):
    (second,) = tmp_path.glob("toy/biopt*/*/fold2*")
    sweep_path(second, "steps").unlink()
    with pytest.raises(UserError, match=f"no whole sweep of steps in {second}; add --sweep"):
        steps_curve(contender(tmp_path))


def test_several_seeds_are_asked_about(tmp_path: Path, folds: dict[int, FoldCounts]):
    write_fold(tmp_path, folds[1], 1, method="biopt", seed=4)
    with pytest.raises(UserError, match="biopt: fold 1 has the training seeds 0, 4; choose one with --seed"):
        steps_curve(contender(tmp_path))


def test_the_point_beside(tmp_path: Path, folds: dict[int, FoldCounts]):
    for number, fold in folds.items():
        write_fold(tmp_path, fold, number, method="baseline")
    point = other_model(contender(tmp_path, "baseline"), (1, 2))
    assert point.score == pytest.approx(np.mean([mean_iou(f.confusion, f.classes, f.novel) for f in folds.values()]))
    assert point.interval.low < point.score < point.interval.high
    with pytest.raises(UserError, match="baseline: fold 3 is missing"):
        other_model(contender(tmp_path, "baseline"), (1, 3))


def test_the_figure_shows_the_numbers_and_draws_zero_apart(tmp_path: Path, folds: dict[int, FoldCounts]):
    curve = steps_curve(contender(tmp_path))
    figure = steps_figure([curve], OtherModel("baseline", 0.4, curve.intervals[0]), "a_b 1-way")
    (axes,) = figure.axes
    (line,) = [one for one in axes.lines if one.get_label() == "biopt"]
    assert line.get_xdata().tolist() == [1, 3]  # not 0
    assert line.get_ydata().tolist() == pytest.approx([100 * score for score in curve.scores[1:]])
    zero, beside = (next(one for one in axes.lines if one.get_marker() == m and one is not line) for m in ("o", "x"))
    assert (zero.get_xdata()[0], zero.get_markerfacecolor()) == (0, "white")
    assert zero.get_ydata()[0] == pytest.approx(100 * curve.scores[0])
    assert beside.get_ydata()[0] == pytest.approx(40)
    assert beside.get_xdata()[0] < 0
    spans = [bar.lines[2][0].get_segments()[0][:, 1].tolist() for bar in axes.containers]
    assert spans == [pytest.approx([100 * end for end in curve.intervals[0][:2]])] * 2
    assert ZERO_NOTE in axes.get_xlabel()
    assert axes.get_ylabel() == "mean-IoU (%), mean of folds 1, 2"
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(100 * max(i.high for i in curve.intervals[1:]))


def test_without_a_zero_and_without_a_point_beside(tmp_path: Path, folds: dict[int, FoldCounts]):
    for number in (1, 2):
        (folder,) = tmp_path.glob(f"toy/biopt*/*/fold{number}*")
        write_sweep(folder, folds[number], [1, 2])
    (axes,) = steps_figure([steps_curve(contender(tmp_path))], None, "").axes
    assert axes.containers == []
