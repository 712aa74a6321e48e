"""Paired differences over episodes and their p-values, against loops, scipy and simulations."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.paired_episodes import NOTHING_VARIES, paired_by_episodes
from fsseg_bench.protocol.scoring import class_iou
from fsseg_bench.protocol.statistics import FoldCounts, Metric
from tests.support.bootstrap import difference_interval
from tests.support.fresh import python
from tests.support.pairs import joined, pair, score, shifted, swap

METRICS: tuple[Metric, ...] = ("mean", "binary")


# Values and intervals


@pytest.mark.parametrize("ways", [1, 2])
def test_observed_scores_are_those_of_the_scoring(ways: int) -> None:
    pairs = [pair(i, ways=ways) for i in range(3)]
    result = paired_by_episodes([[a] for a, _ in pairs], [[b] for _, b in pairs], resamples=50)
    for metric in METRICS:
        found = result.scores[metric]
        for fold, (a, b) in zip(found.folds, pairs, strict=True):
            assert (fold.baseline, fold.other) == pytest.approx((score(a, metric), score(b, metric)), abs=1e-14)
            assert fold.value == fold.other - fold.baseline
        means = [np.mean([score(side, metric) for side in sides]) for sides in zip(*pairs, strict=True)]
        assert (found.overall.baseline, found.overall.other) == pytest.approx(means, abs=1e-14)
    for classes, (a, b) in zip(result.classes, pairs, strict=True):
        assert list(classes) == list(a.novel)
        for side, name in ((a, "baseline"), (b, "other")):
            expected = class_iou(side.confusion, side.classes, side.novel)
            assert [getattr(d, name) for d in classes.values()] == pytest.approx(expected.tolist(), abs=1e-14)


def test_intervals_are_those_of_the_paired_bootstrap() -> None:
    pairs = [pair(i) for i in range(3)]
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    result = paired_by_episodes([[a] for a in first], [[b] for b in second], resamples=400, seed=3, level=0.9)
    for metric in METRICS:
        expected = difference_interval(second, first, metric, resamples=400, seed=3, level=0.9)
        overall = result.scores[metric].overall
        assert (overall.low, overall.high) == pytest.approx(expected[:2], abs=1e-12)
        own = difference_interval(second[:1], first[:1], metric, resamples=400, seed=3, level=0.9)
        fold = result.scores[metric].folds[0]
        assert (fold.low, fold.high) == pytest.approx(own[:2], abs=1e-12)


def test_a_class_is_a_fold_of_its_own() -> None:
    """The interval and the error of a class against resampling its episodes one by one."""
    a, b = pair(5)
    rows = np.flatnonzero(np.asarray(a.classes)[:, 0] == a.novel[1])
    rng = np.random.default_rng(0)
    values = []
    for _ in range(4000):
        drawn = rng.choice(rows, len(rows))
        ious = []
        for side in (a, b):
            cells = np.asarray(side.confusion)[drawn].sum(axis=0)
            ious.append(cells[1, 1] / (cells[1, 1] + cells[0, 1] + cells[1, 0]))
        values.append(ious[1] - ious[0])
    found = paired_by_episodes([[a]], [[b]]).classes[0][a.novel[1]]
    width = found.high - found.low
    assert [found.low, found.high] == pytest.approx(np.quantile(values, [0.025, 0.975]).tolist(), abs=width / 12)
    assert found.error == pytest.approx(np.std(values, ddof=1), rel=0.06)


def test_several_seeds_are_averaged_scores() -> None:
    (a0, b0), (a1, b1) = pair(0), pair(0, noise=1)
    result = paired_by_episodes([[a0, a1]], [[b0, b1]], resamples=60)
    for metric in METRICS:
        found = result.scores[metric].overall
        assert found.baseline == pytest.approx((score(a0, metric) + score(a1, metric)) / 2, abs=1e-14)
        assert found.other == pytest.approx((score(b0, metric) + score(b1, metric)) / 2, abs=1e-14)
    once, twice = (paired_by_episodes([[a0] * n], [[b0] * n], resamples=60) for n in (1, 2))
    assert twice.scores["mean"].overall == once.scores["mean"].overall


@pytest.mark.slow
def test_intervals_hold_the_true_difference_about_95_times_in_100() -> None:
    """Small samples (60 episodes a class) against the difference of all 40,000 that they are drawn from."""
    everything = pair(99, sizes=(20_000, 20_000))
    members = [np.flatnonzero(np.asarray(everything[0].classes)[:, 0] == c) for c in everything[0].novel]
    rng, held, repeats = np.random.RandomState(7), dict.fromkeys(METRICS, 0), 500
    truth = {metric: score(everything[1], metric) - score(everything[0], metric) for metric in METRICS}
    for i in range(repeats):
        rows = np.concatenate([m[rng.randint(0, len(m), 60)] for m in members])
        a, b = (joined(side, rows) for side in everything)
        result = paired_by_episodes([[a]], [[b]], resamples=500, seed=i)
        for metric in METRICS:
            found = result.scores[metric].overall
            held[metric] += found.low <= truth[metric] <= found.high
    assert all(0.92 <= held[metric] / repeats <= 0.98 for metric in METRICS), held


# p-values


def exact_p(baseline: Sequence[FoldCounts], other: Sequence[FoldCounts], metric: str) -> float:
    """Every way to swap every episode, one by one."""

    def difference(swaps: Sequence[Sequence[bool]]) -> float:
        values = []
        for a, b, own in zip(baseline, other, swaps, strict=True):
            first, second = swap(a, b, np.array(own))
            values.append(score(second, metric) - score(first, metric))
        return float(np.mean(values))

    counts = [len(np.asarray(fold.classes)) for fold in baseline]
    observed = abs(difference([[False] * n for n in counts]))
    extreme = total = 0
    for flat in itertools.product([False, True], repeat=sum(counts)):
        parts, start = [], 0
        for n in counts:
            parts.append(flat[start : start + n])
            start += n
        extreme += abs(difference(parts)) >= observed - 1e-12
        total += 1
    return extreme / total


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("ways", [1, 2])
def test_p_values_of_two_folds_equal_full_enumeration(metric: Metric, ways: int) -> None:
    pairs = [shifted(i, sizes=(3, 2), ways=ways) for i in (11, 12)]
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    found = paired_by_episodes([[a] for a in first], [[b] for b in second], resamples=20_000).scores[metric]
    for difference, expected in (
        (found.overall, exact_p(first, second, metric)),
        (found.folds[1], exact_p(first[1:], second[1:], metric)),
    ):
        assert 0.003 < expected < 0.9
        assert difference.p == pytest.approx(expected, abs=4 * (expected / 20_000) ** 0.5 + 1e-4)


@pytest.mark.parametrize("metric", METRICS)
def test_p_values_equal_scipys_permutation_test(metric: Metric) -> None:
    a, b = shifted(4, sizes=(5, 4))
    numbers = np.arange(9)
    both = [np.asarray(a.confusion), np.asarray(b.confusion)]

    def statistic(first: np.ndarray, second: np.ndarray) -> float:
        """Samples are episode numbers, 100 added for the counts of the other method."""
        sides = [np.array([both[int(x) // 100][int(x) % 100] for x in drawn]) for drawn in (first, second)]
        values = [score(FoldCounts(cells, a.classes, a.novel), metric) for cells in sides]
        return values[1] - values[0]

    reference = stats.permutation_test(
        (numbers, numbers + 100), statistic, permutation_type="samples", vectorized=False, n_resamples=np.inf
    )
    found = paired_by_episodes([[a]], [[b]], resamples=20_000).scores[metric].overall
    assert 0.01 < reference.pvalue < 0.9
    assert found.p == pytest.approx(reference.pvalue, abs=4 * (reference.pvalue / 20_000) ** 0.5 + 1e-4)


def test_the_smallest_p_counts_the_observed_resample() -> None:
    a, b = pair(0, gain=0.5)
    found = paired_by_episodes([[a]], [[b]], resamples=99).scores["mean"].overall
    assert found.p == 1 / 100


def test_equal_methods_differ_by_nothing() -> None:
    a, _ = pair(0)
    result = paired_by_episodes([[a], [a]], [[a], [a]], resamples=100)
    for scores in result.scores.values():
        assert (scores.overall.value, scores.overall.p) == (0, 1)
        assert (scores.overall.low, scores.overall.high, scores.overall.error) == (None, None, None)
        assert scores.overall.unknown == NOTHING_VARIES


def test_the_direction_does_not_matter_for_p() -> None:
    a, b = pair(2)
    there = paired_by_episodes([[a]], [[b]], resamples=300).scores["mean"].overall
    back = paired_by_episodes([[b]], [[a]], resamples=300).scores["mean"].overall
    assert back.p == there.p
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low), abs=1e-12)


@pytest.mark.slow
def test_under_the_null_one_test_in_twenty_rejects() -> None:
    """Both sides have the same distribution on every episode; classes and folds differ."""
    repeats, rejected = 600, 0
    for i in range(repeats):
        pairs = [pair(2 * i + k, sizes=(12, 8), gain=0.0) for k in range(2)]
        p = paired_by_episodes([[a] for a, _ in pairs], [[b] for _, b in pairs], resamples=199, seed=i).scores["mean"]
        rejected += p.overall.p <= 0.05
    assert 0.03 <= rejected / repeats <= 0.075


# Seeds and arguments


def test_a_seed_gives_a_result() -> None:
    a, b = pair(3, gain=0.02)
    once, again, other = (paired_by_episodes([[a]], [[b]], resamples=200, seed=s) for s in (1, 1, 2))
    assert once == again
    assert once.scores["mean"].overall != other.scores["mean"].overall


def test_more_resamples_than_fit_at_a_time_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = pair(3)
    whole = paired_by_episodes([[a]], [[b]], resamples=100)
    monkeypatch.setattr("fsseg_bench.protocol.paired_episodes._CELLS", 7 * len(np.asarray(a.classes)))
    assert paired_by_episodes([[a]], [[b]], resamples=100) == whole


def test_other_episodes_cannot_be_paired() -> None:
    (a, b), (c, _) = pair(0), pair(1, sizes=(40, 60, 26))
    for first, second in (([[a]], [[c]]), ([[a], [a]], [[b]]), ([[a]], [[b, b]]), ([[]], [[]]), ([[a, c]], [[b, b]])):
        with pytest.raises(ValueError, match="same folds, seeds and episodes"):
            paired_by_episodes(first, second)
    with pytest.raises(ValueError, match="0 folds"):
        paired_by_episodes([], [])
    with pytest.raises(ValueError, match="0 resamples"):
        paired_by_episodes([[a]], [[b]], resamples=0)


def test_a_class_without_an_episode_has_no_difference() -> None:
    a, b = (FoldCounts(x.confusion, x.classes, [*x.novel, 9]) for x in pair(0))
    with pytest.raises(UserError, match="no episode of class 9"):
        paired_by_episodes([[a]], [[b]])


def test_it_needs_neither_torch_nor_scipy() -> None:
    code = "import sys, fsseg_bench.protocol.paired_episodes\nprint({'torch', 'scipy'} & set(sys.modules))"
    assert python(code).strip() == "set()"
