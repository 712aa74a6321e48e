from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.scoring import binary_iou, boundary_iou, class_iou, mean_iou
from fsseg_bench.protocol.statistics import (
    FoldCounts,
    Influence,
    averaged,
    class_influence,
    difference,
    fold_influence,
    images_of,
    side_by_side,
)
from tests.support.bootstrap import bootstrap_interval, difference_interval
from tests.support.fresh import python
from tests.support.pairs import pair, score

Ints = npt.NDArray[np.int64]


def simulated(seed: int, sizes: Sequence[int] = (40, 60, 25), ways: int = 1, first_class: int = 1) -> FoldCounts:
    """Episodes whose quality and object size vary; class ``c`` is better the higher ``c``."""
    rng = np.random.RandomState(seed)
    novel = list(range(first_class, first_class + len(sizes)))
    confusion, classes = [], []
    for k, size in enumerate(sizes):
        for _ in range(size):
            quality = rng.beta(2 + k, 3)
            cells = rng.randint(1, 400, (ways + 1, ways + 1))
            cells[0, 0] += rng.randint(2000, 9000)
            for way in range(1, ways + 1):
                cells[way, way] += int(quality * rng.randint(300, 3000))
            others = [c for c in rng.permutation(novel).tolist() if c != novel[k]]
            confusion.append(cells)
            classes.append([novel[k], *others[: ways - 1]])
    order = rng.permutation(len(classes))
    return FoldCounts(np.array(confusion)[order], np.array(classes)[order], novel)


def by_scipy(folds: Sequence[FoldCounts], metric: str, resamples: int) -> tuple[float, float]:
    """Percentile interval of scipy: the samples are the episode numbers of each class of each fold."""
    samples, owners = [], []
    for fold in folds:
        first = np.asarray(fold.classes)[:, 0]
        for c in fold.novel:
            samples.append(np.flatnonzero(first == c))
            owners.append(fold)

    def statistic(*drawn: Ints) -> float:
        values = []
        for fold in folds:
            rows = np.concatenate([d for d, owner in zip(drawn, owners, strict=True) if owner is fold]).astype(int)
            confusion, classes = np.asarray(fold.confusion)[rows], np.asarray(fold.classes)[rows]
            values.append(score(FoldCounts(confusion, classes, fold.novel), metric))
        return float(np.mean(values))

    low, high = stats.bootstrap(
        samples, statistic, n_resamples=resamples, method="percentile", vectorized=False, rng=np.random.default_rng(0)
    ).confidence_interval
    return low, high


@pytest.mark.parametrize("metric", ["mean", "binary"])
@pytest.mark.parametrize(("count", "ways"), [(1, 1), (1, 2), (4, 1)])
def test_intervals_equal_scipys(metric: str, count: int, ways: int) -> None:
    """Both have Monte-Carlo error; each end may be off by a twelfth of the interval's width."""
    folds = [simulated(i, ways=ways, first_class=1 + 3 * i) for i in range(count)]
    low, high, _ = bootstrap_interval(folds, metric, resamples=20_000)
    reference = by_scipy(folds, metric, 3000)
    assert low < np.mean([score(fold, metric) for fold in folds]) < high
    assert low == pytest.approx(reference[0], abs=(high - low) / 12)
    assert high == pytest.approx(reference[1], abs=(high - low) / 12)


def test_a_mean_of_folds_is_narrower_than_a_fold() -> None:
    folds = [simulated(i) for i in range(4)]
    one, four = bootstrap_interval(folds[:1], "mean"), bootstrap_interval(folds, "mean")
    assert 0.4 < (four.high - four.low) / (one.high - one.low) < 0.6


def coverage(metric: str, count: int, repeats: int) -> float:
    """How often the interval of small samples (60 episodes a class) holds the score of all they are drawn from."""
    everything = simulated(99, sizes=(20_000, 20_000))
    confusion, classes = np.asarray(everything.confusion), np.asarray(everything.classes)
    members = [np.flatnonzero(classes[:, 0] == c) for c in everything.novel]
    truth, rng, held = score(everything, metric), np.random.RandomState(7), 0
    for i in range(repeats):
        samples = [np.concatenate([m[rng.randint(0, len(m), 60)] for m in members]) for _ in range(count)]
        folds = [FoldCounts(confusion[rows], classes[rows], everything.novel) for rows in samples]
        low, high, _ = bootstrap_interval(folds, metric, resamples=1000, seed=i)
        held += low <= truth <= high
    return held / repeats


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "count"), [("mean", 1), ("binary", 1), ("mean", 2)])
def test_intervals_hold_the_truth_about_95_times_in_100(metric: str, count: int) -> None:
    assert 0.92 <= coverage(metric, count, 500) <= 0.98


def test_other_levels() -> None:
    folds = [simulated(0)]
    wide, plain, narrow = (bootstrap_interval(folds, "mean", level=level) for level in (0.99, 0.95, 0.5))
    assert wide.low < plain.low < narrow.low < narrow.high < plain.high < wide.high
    ratio = (plain.high - plain.low) / (narrow.high - narrow.low)
    normal = stats.norm.ppf(0.975) / stats.norm.ppf(0.75)
    assert ratio == pytest.approx(normal, rel=0.1)


# Strata


def test_classes_keep_their_number_of_episodes() -> None:
    """Inside a class all episodes are equal: nothing varies unless classes are exchanged for one another."""
    confusion = np.repeat([[[[50, 10], [20, 20]]], [[[500, 100], [20, 900]]]], 30, axis=1).reshape(-1, 2, 2)
    fold = FoldCounts(confusion, [[1]] * 30 + [[2]] * 30, [1, 2])
    for metric in ("mean", "binary"):
        low, high, _ = bootstrap_interval([fold], metric)
        assert low == high == pytest.approx(score(fold, metric), abs=1e-12)


def test_the_first_way_is_the_stratum() -> None:
    """Equal rows for each first way; the second way differs between the strata only."""
    confusion = np.repeat([np.arange(9).reshape(3, 3) + 1, np.arange(9).reshape(3, 3) ** 2 + 1], 20, axis=0)
    fold = FoldCounts(confusion, [[1, 2]] * 20 + [[2, 1]] * 20, [1, 2])
    low, high, _ = bootstrap_interval([fold], "mean")
    assert low == high == pytest.approx(score(fold, "mean"), abs=1e-12)


def test_a_class_with_one_episode_never_varies() -> None:
    fold = simulated(3, sizes=(1, 1))
    assert bootstrap_interval([fold], "mean") == pytest.approx([score(fold, "mean")] * 2 + [0], abs=1e-12)


def test_a_resample_that_lost_all_pixels_of_a_class_leaves_it_out() -> None:
    """Class 1 has one episode with pixels (IoU 0.5) and one without; class 2 always has 0.8."""
    with_pixels, without, other = [[90, 3], [2, 5]], [[100, 0], [0, 0]], [[80, 2], [0, 8]]
    fold = FoldCounts([with_pixels, without, other], [[1], [1], [2]], [1, 2])
    assert bootstrap_interval([fold], "mean") == pytest.approx([0.65, 0.8, 0.075], abs=1e-12)
    alone = FoldCounts([with_pixels, without], [[1], [1]], [1])
    assert bootstrap_interval([alone], "mean") == pytest.approx([0.5, 0.5, 0], abs=1e-12)


# Seeds


def test_a_seed_gives_an_interval() -> None:
    folds = [simulated(i) for i in range(2)]
    first = bootstrap_interval(folds, "mean", seed=5)
    assert bootstrap_interval(folds, "mean", seed=5) == first
    assert bootstrap_interval(folds, "mean", seed=6) != first
    assert bootstrap_interval(folds, "mean", seed=6) == pytest.approx(first, abs=0.01)


def test_folds_are_resampled_independently() -> None:
    """Twice the same fold as two folds: the mean of two independent draws is narrower by sqrt(2)."""
    fold = simulated(0)
    one = bootstrap_interval([fold], "mean", resamples=20_000)
    two = bootstrap_interval([fold, fold], "mean", resamples=20_000)
    assert (one.high - one.low) / (two.high - two.low) == pytest.approx(np.sqrt(2), rel=0.05)


def test_an_interval_is_pinned_and_needs_no_torch() -> None:
    code = (
        "import sys, numpy as np\n"
        "from fsseg_bench.protocol.intervals import *\n"
        "from fsseg_bench.protocol.statistics import FoldCounts\n"
        "confusion = np.arange(80).reshape(20, 2, 2)\n"
        "fold = FoldCounts(confusion, [[1], [2]] * 10, [1, 2])\n"
        "print(*bootstrap_intervals([Score([fold], 'mean')])[0][:2], 'torch' in sys.modules)"
    )
    low, high, torch = python(code, OMP_NUM_THREADS="1").split()
    fold = FoldCounts(np.arange(80).reshape(20, 2, 2), [[1], [2]] * 10, [1, 2])
    assert bootstrap_interval([fold], "mean")[:2] == (float(low), float(high))
    assert (float(low), float(high)) == pytest.approx((0.3400466233989237, 0.34492843518151756), abs=1e-12)
    assert torch == "False"


# Paired differences


def worse(fold: FoldCounts, pixels: int) -> FoldCounts:
    """The same episodes with hits turned into misses."""
    confusion = np.array(fold.confusion)
    moved = np.minimum(confusion[:, 1, 1], pixels)
    confusion[:, 1, 1] -= moved
    confusion[:, 1, 0] += moved
    return FoldCounts(confusion, fold.classes, fold.novel)


def test_a_paired_difference_is_much_narrower_than_its_sides() -> None:
    folds = [simulated(i) for i in range(4)]
    others = [worse(fold, 20) for fold in folds]
    low, high, _ = difference_interval(folds, others, "mean")
    side = bootstrap_interval(folds, "mean")
    true = float(np.mean([score(a, "mean") - score(b, "mean") for a, b in zip(folds, others, strict=True)]))
    assert 0 < low < true < high
    assert high - low < (side.high - side.low) / 4
    assert difference_interval(others, folds, "mean") == pytest.approx((-high, -low, (high - low) / 2), abs=1e-12)
    assert difference_interval(folds, folds, "binary") == (0.0, 0.0, 0.0)


def test_a_paired_difference_equals_resampled_pairs() -> None:
    """scipy resamples episode numbers and computes both scores on each."""
    fold, other = simulated(1), worse(simulated(1), 300)
    first = np.asarray(fold.classes)[:, 0]
    samples = [np.flatnonzero(first == c) for c in fold.novel]

    def statistic(*drawn: Ints) -> float:
        rows = np.concatenate(drawn).astype(int)
        classes = np.asarray(fold.classes)[rows]
        a, b = (np.asarray(f.confusion)[rows] for f in (fold, other))
        return mean_iou(a, classes, fold.novel) - mean_iou(b, classes, fold.novel)

    reference = stats.bootstrap(
        samples, statistic, n_resamples=3000, method="percentile", vectorized=False, rng=np.random.default_rng(1)
    ).confidence_interval
    low, high, _ = difference_interval([fold], [other], "mean", resamples=20_000)
    assert [low, high] == pytest.approx(list(reference), abs=(high - low) / 12)


# Arguments


def test_a_class_without_an_episode_has_no_interval() -> None:
    fold = simulated(0)
    with pytest.raises(UserError, match="no episode of class 9"):
        bootstrap_interval([FoldCounts(fold.confusion, fold.classes, [*fold.novel, 9])], "mean")


def test_arguments_out_of_range() -> None:
    fold = simulated(0)
    with pytest.raises(ValueError, match="at least one fold"):
        bootstrap_interval([], "mean")
    with pytest.raises(ValueError, match="resamples is 0"):
        bootstrap_interval([fold], "mean", resamples=0)
    with pytest.raises(ValueError, match="unknown metric 'fb'; use 'mean', 'binary' or"):
        bootstrap_interval([fold], "fb")  # type: ignore[arg-type]
    for level in (0.0, 1.0, 95.0):
        with pytest.raises(ValueError, match=f"level is {level}"):
            bootstrap_interval([fold], "mean", level=level)


def test_four_folds_of_a_thousand_episodes_take_well_under_a_second() -> None:
    folds = [simulated(i, sizes=(50,) * 20) for i in range(4)]
    times = []
    for _ in range(3):
        start = time.process_time()
        bootstrap_interval(folds, "mean")
        times.append(time.process_time() - start)
    assert min(times) < 0.8


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


@pytest.mark.parametrize("ways", [1, 2])
def test_boundary_iou_is_a_mean_iou_of_other_pixels(ways: int) -> None:
    """Each way's band counts as a one-way episode of its own give the same score and, one way, the same influences."""
    rng, fold = np.random.RandomState(7), simulated(3, ways=ways)
    classes = np.asarray(fold.classes)
    bands = rng.randint(1, 90, (*classes.shape, 3))
    counted = FoldCounts(fold.confusion, fold.classes, fold.novel, boundary=bands)
    tp, fp, fn = (bands[..., i].ravel() for i in range(3))
    alone = FoldCounts(np.stack([0 * tp, fp, fn, tp], axis=1).reshape(-1, 2, 2), classes.reshape(-1, 1), fold.novel)
    wanted_score = mean_iou(alone.confusion, alone.classes, fold.novel)
    assert boundary_iou(bands, classes, fold.novel) == pytest.approx(wanted_score)
    found, wanted = fold_influence(counted, "boundary"), fold_influence(alone, "mean")
    np.testing.assert_allclose(found.value, wanted.value)
    np.testing.assert_allclose(found.change, wanted.change.reshape(-1, ways).sum(axis=1, keepdims=True), atol=1e-15)
    for metric, other in (("boundary", fold), ("something", counted)):
        with pytest.raises(ValueError, match="unknown metric"):
            fold_influence(other, metric)  # type: ignore[arg-type]
