import numpy as np
import pytest

from fsseg_bench.protocol.intervals import Score, bootstrap_intervals, class_intervals
from fsseg_bench.protocol.scoring import class_iou
from fsseg_bench.protocol.statistics import FoldCounts
from tests.support.bootstrap import bootstrap_interval


def fold(seed: int, classes: list[int] | None = None, way: int = 1) -> FoldCounts:
    """Random counts over episodes of classes 1..3; equal ``classes`` mean equal episodes."""
    rng = np.random.RandomState(seed)
    first = np.array(classes or [1] * 12 + [2] * 9 + [3] * 15)
    ways = np.stack([(first - 1 + w) % 3 + 1 for w in range(way)], axis=1)
    return FoldCounts(rng.randint(0, 900, (len(first), way + 1, way + 1)), ways, [1, 2, 3])


OTHER = [1] * 7 + [2] * 20 + [3] * 9


@pytest.mark.parametrize("way", [1, 2])
def test_every_interval_equals_the_one_computed_alone(way: int) -> None:
    """Runs that share episodes, runs that do not, means over folds in another order, both metrics."""
    a, b, c, d = fold(0, way=way), fold(1, way=way), fold(2, OTHER, way), fold(3, OTHER[::-1], way)
    scores = [
        Score(folds, metric)
        for folds in ([a], [b], [c], [a, c, d], [b, c, d], [c, a], [a])
        for metric in ("mean", "binary")
    ]
    together = bootstrap_intervals(scores, resamples=300, seed=4)
    alone = [bootstrap_interval(s.folds, s.metric, resamples=300, seed=4) for s in scores]
    assert together == alone
    assert len(set(together)) == len(scores) - 2, "only the last two repeat others"


def test_pieces_change_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = [Score([fold(i), fold(i + 10, OTHER)], m) for i in range(5) for m in ("mean", "binary")]
    whole = bootstrap_intervals(scores, resamples=200)
    monkeypatch.setattr("fsseg_bench.protocol.intervals._NUMBERS", 1)
    assert bootstrap_intervals(scores, resamples=200) == whole


def test_other_levels_and_no_scores() -> None:
    score = Score([fold(0)], "mean")
    (wide,), (narrow,) = (bootstrap_intervals([score], level=level) for level in (0.99, 0.5))
    assert wide.low < narrow.low < narrow.high < wide.high
    assert bootstrap_intervals([]) == []


def test_classes_equal_runs_of_that_class_alone() -> None:
    """The first stratum is drawn first, so a fold of its episodes alone draws the same ones."""
    every = fold(0)
    found, again, other = class_intervals([every, every, fold(7, OTHER)], resamples=400)
    assert again == found != other
    alone = FoldCounts(np.asarray(every.confusion)[:12], np.asarray(every.classes)[:12], [1])
    assert found[1] == bootstrap_interval([alone], "mean", resamples=400)
    ious = class_iou(every.confusion, every.classes, every.novel)
    assert all(found[c].low < iou < found[c].high for c, iou in zip(every.novel, ious, strict=True))
    assert list(found) == [1, 2, 3]
