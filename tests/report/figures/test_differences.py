from __future__ import annotations

from pathlib import Path

import pytest

from fsseg_bench.report.compare import compare
from fsseg_bench.report.compare_cells import p_text
from fsseg_bench.report.figures.differences import differences_figure
from fsseg_bench.report.select import select
from tests.support.pairs import pair, write_fold, write_pair


def test_the_axes_show_the_numbers_of_the_comparison(tmp_path: Path):
    write_pair(tmp_path, (1, 2))
    for fold in (1, 2):
        write_fold(tmp_path, pair(fold, sizes=(12, 9), gain=0.3)[1], fold, method="panet")
    comparison = compare(select(["baseline", "biopt", "panet"], tmp_path, {}).contenders, resamples=200)
    figure = differences_figure(comparison)
    for metric, axes in zip(("mean", "binary"), figure.axes, strict=True):
        expected = [own for versus in comparison.versus for own in (*versus.folds[metric], versus.overall[metric])]
        assert len(axes.containers) == len(expected) == 6
        marks = [line for line in axes.lines if line.get_marker() in {"o", "D"}]
        assert [line.get_xdata()[0] for line in marks] == pytest.approx(
            [100 * own.difference.value for own in expected]
        )
        for own, bar in zip(expected, axes.containers, strict=True):
            _, _, (spans,) = bar.lines
            (segment,) = spans.get_segments()
            assert segment[:, 0].tolist() == pytest.approx([100 * own.difference.low, 100 * own.difference.high])
        told = [t.get_text() for t in axes.texts]
        assert told == [f"p {p_text(own.p_holm)}" for own in expected]
    names = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert names == [f"{m}, {w}" for m in ("biopt", "panet") for w in ("fold 1", "fold 2", "mean of folds 1, 2")]
