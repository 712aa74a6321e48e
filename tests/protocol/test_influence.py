from __future__ import annotations

import numpy as np
import pytest

from fsseg_bench.protocol.influence import (
    Influence,
    averaged,
    class_influence,
    difference,
    fold_influence,
    images_of,
    side_by_side,
)
from fsseg_bench.protocol.scoring import binary_iou, class_iou, mean_iou
from fsseg_bench.protocol.statistics import FoldCounts
from tests.support.pairs import pair


def scores(fold: FoldCounts) -> list[float]:
    """mean-IoU, binary-IoU and IoU by class, of the scoring."""
    ious = class_iou(fold.confusion, fold.classes, fold.novel)
    return [mean_iou(fold.confusion, fold.classes, fold.novel), binary_iou(fold.confusion), *ious]


def influence(fold: FoldCounts) -> Influence:
    return side_by_side([fold_influence(fold, "mean"), fold_influence(fold, "binary"), class_influence(fold)])


@pytest.mark.parametrize("ways", [1, 2, 3])
def test_an_influence_is_the_derivative_by_the_weight_of_an_episode(ways: int) -> None:
    """Weights are whole numbers: every episode 100,000 times, one of them once more."""
    fold, _ = pair(1, (5, 4, 6), ways=ways)
    found = influence(fold)
    assert found.value == pytest.approx(scores(fold), abs=1e-14)
    assert found.change.sum(axis=0) == pytest.approx(np.zeros(5), abs=1e-14)
    assert found.mass.sum(axis=0) == pytest.approx(np.ones(5), abs=1e-14)
    cells = np.asarray(fold.confusion)
    for e in range(len(cells)):
        weights = np.full(len(cells), 100_000)
        weights[e] += 1
        moved = scores(FoldCounts(cells * weights[:, None, None], fold.classes, fold.novel))
        assert (np.array(moved) - found.value) * 100_000 == pytest.approx(found.change[e], abs=2e-5)


def test_differences_and_means() -> None:
    (a, b), (c, _) = pair(1, (5, 4)), pair(1, (5, 4), noise=1)
    one, other, third = influence(a), influence(b), influence(c)
    apart = difference(one, other)
    assert apart.value == pytest.approx(np.array(scores(b)) - np.array(scores(a)))
    assert apart.change == pytest.approx(other.change - one.change)
    mean = averaged([one, third])
    assert mean.change == pytest.approx((one.change + third.change) / 2)
    assert mean.value == pytest.approx((np.array(scores(a)) + np.array(scores(c))) / 2)


def test_images_that_are_not_known() -> None:
    with pytest.raises(ValueError, match="images of the episodes are not known"):
        images_of(pair(1)[0])
