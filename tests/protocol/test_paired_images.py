"""Differences over images and episodes: against the estimate of one score, loops, and each other."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.image_variance import ONE_IMAGE
from fsseg_bench.protocol.images import EpisodeImages
from fsseg_bench.protocol.intervals import Score, image_estimates
from fsseg_bench.protocol.paired import ALIKE, Difference, overall_differences, overall_scores, paired_by_images
from fsseg_bench.protocol.scoring import class_iou
from fsseg_bench.protocol.statistics import FoldCounts, Metric, averaged, class_influence, difference, fold_influence
from fsseg_bench.protocol.table import EpisodeTable
from tests.protocol.test_image_variance import METRICS, Naive, naive_estimate
from tests.support.pairs import episode_table, pair, score


def sides(
    seed: int, sizes: tuple[int, ...] = (20, 25, 15), *, ways: int = 1, noise: int = 0, gain: float = 0.1
) -> tuple[FoldCounts, FoldCounts, EpisodeTable]:
    both = pair(seed, sizes, ways=ways, noise=noise, gain=gain)
    table = episode_table(np.asarray(both[0].classes), images=6, shots=2, seed=seed)
    a, b = (replace(side, images=EpisodeImages.of(table)) for side in both)
    return a, b, table


def check(found: Difference, values: tuple[float, float], expected: tuple[float, int, float]) -> None:
    error, df, lasting = expected
    assert (found.baseline, found.other) == pytest.approx(values, abs=1e-14)
    assert (found.error, found.df, found.lasting) == pytest.approx((error, df, lasting), rel=1e-9)
    half = stats.t.ppf(0.975, df) * error
    assert (found.low, found.high) == pytest.approx(
        (max(-1, found.value - half), min(1, found.value + half)), abs=1e-12
    )
    assert found.p == pytest.approx(2 * stats.t.sf(abs(found.value) / error, df), rel=1e-9)
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


@pytest.mark.parametrize("ways", [1, 2])
def test_folds_classes_and_their_mean_against_loops(ways: int) -> None:
    pairs = [sides(i, ways=ways) for i in range(2)]
    result = paired_by_images([[a] for a, _, _ in pairs], [[b] for _, b, _ in pairs])
    for metric in METRICS:
        naive = []
        for found, (a, b, table) in zip(result.scores[metric].folds, pairs, strict=True):
            naive.append(Naive(table, difference(fold_influence(a, metric), fold_influence(b, metric))))
            check(found, (score(a, metric), score(b, metric)), naive_estimate(naive[-1:]))
        means = tuple(float(np.mean([score(p[side], metric) for p in pairs])) for side in (0, 1))
        check(result.scores[metric].overall, means, naive_estimate(naive))
    for classes, (a, b, table) in zip(result.classes, pairs, strict=True):
        assert list(classes) == list(a.novel)
        ious = [class_iou(side.confusion, side.classes, side.novel) for side in (a, b)]
        apart = difference(class_influence(a), class_influence(b))
        for i, found in enumerate(classes.values()):
            check(found, (ious[0][i], ious[1][i]), naive_estimate([Naive(table, apart, i)]))


def test_several_seeds_are_averaged() -> None:
    (a0, b0, table), (a1, b1, _) = sides(0), sides(0, noise=1)
    found = paired_by_images([[a0, a1]], [[b0, b1]]).scores["mean"].overall
    means = tuple((score(x, "mean") + score(y, "mean")) / 2 for x, y in ((a0, a1), (b0, b1)))
    parts = [difference(fold_influence(a, "mean"), fold_influence(b, "mean")) for a, b in ((a0, b0), (a1, b1))]
    mean = replace(parts[0], change=(parts[0].change + parts[1].change) / 2, mass=(parts[0].mass + parts[1].mass) / 2)
    check(found, means, naive_estimate([Naive(table, mean)]))
    once, twice = (paired_by_images([[a0] * n], [[b0] * n]).scores["mean"].overall for n in (1, 2))
    assert (twice.error, twice.p, twice.df) == pytest.approx((once.error, once.p, once.df), rel=1e-9)


def test_the_direction_does_not_matter_for_p() -> None:
    a, b, _ = sides(2)
    there, back = (paired_by_images([[x]], [[y]]).scores["mean"].overall for x, y in ((a, b), (b, a)))
    assert back.p == pytest.approx(there.p)
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low), abs=1e-12)


def test_a_paired_difference_is_narrower_than_its_sides() -> None:
    """The other method is the baseline with a tenth of the misses turned into hits."""
    a, _, _ = sides(3)
    cells = np.array(a.confusion)
    moved = cells[:, 1, 0] // 10
    cells[:, 1, 0] -= moved
    cells[:, 1, 1] += moved
    b = replace(a, confusion=cells)
    found = paired_by_images([[a]], [[b]]).scores["mean"].overall
    assert 0 < found.low < found.value < found.high
    error = naive_estimate([Naive(sides(3)[2], fold_influence(a, "mean"))])[0]
    assert found.error < error / 3


def test_other_levels() -> None:
    a, b, _ = sides(1)
    wide, narrow = (paired_by_images([[a]], [[b]], level=level).scores["mean"].overall for level in (0.99, 0.5))
    ratio = (wide.high - wide.low) / (narrow.high - narrow.low)
    assert ratio == pytest.approx(stats.t.ppf(0.995, wide.df) / stats.t.ppf(0.75, wide.df))


# Where nothing can be said


def test_equal_methods_differ_by_nothing() -> None:
    a, _, _ = sides(0)
    result = paired_by_images([[a]], [[a]])
    for found in (result.scores["mean"].overall, result.scores["binary"].folds[0], *result.classes[0].values()):
        assert (found.value, found.p, found.unknown) == (0, 1, ALIKE)
        assert found.low is found.high is found.error is None


def test_a_difference_that_never_varies_has_no_p_value() -> None:
    classes = [[1], [2]] * 6
    table = episode_table(classes, images=4)
    a, b = (
        FoldCounts([[[60, 10], [30 - hits, hits]]] * 12, classes, [1, 2], EpisodeImages.of(table)) for hits in (10, 20)
    )
    found = paired_by_images([[a]], [[b]]).scores["mean"].overall
    assert found.value > 0.1
    assert found.low is found.high is found.p is None
    assert "nothing varies" in found.unknown


def test_a_class_with_one_query_image_has_no_difference() -> None:
    a, b = pair(0, (4, 5))
    table = EpisodeTable(
        tuple((c,) for c in (1,) * 4 + (2,) * 5), (*"abcd", *"xxxxx"), tuple(((s,),) for s in "bcdayzyzy")
    )
    a, b = (replace(side, images=EpisodeImages.of(table)) for side in (a, b))
    result = paired_by_images([[a]], [[b]])
    assert result.scores["mean"].overall.unknown == result.classes[0][2].unknown == ONE_IMAGE
    assert result.scores["mean"].overall.p is None
    assert math.isfinite(result.classes[0][1].p)


def test_what_cannot_be_paired() -> None:
    a, b, _ = sides(0)
    c, _, _ = sides(1, (20, 25, 16))
    for first, second in (([[a]], [[c]]), ([[a], [a]], [[b]]), ([[a]], [[b, b]]), ([[]], [[]])):
        with pytest.raises(ValueError, match="same folds, seeds and episodes"):
            paired_by_images(first, second)
    with pytest.raises(ValueError, match="0 folds"):
        paired_by_images([], [])
    with pytest.raises(ValueError, match="images of the episodes are not known"):
        paired_by_images([[replace(a, images=None)]], [[b]])
    with pytest.raises(ValueError, match="level is 95"):
        paired_by_images([[a]], [[b]], level=95)
    with pytest.raises(UserError, match="no episode of class 9"):
        paired_by_images([[replace(a, novel=[*a.novel, 9])]], [[replace(b, novel=[*b.novel, 9])]])


def numbers(found: object) -> dict[str, float]:
    return {name: value for name, value in vars(found).items() if name != "unknown"}


@pytest.mark.parametrize("metric", METRICS)
def test_many_pairs_at_once_are_the_pairs_one_by_one(metric: Metric) -> None:
    folds = [sides(i) for i in range(3)]
    third = [pair(i, (20, 25, 15), noise=9)[1] for i in range(3)]
    three = [
        [[a] for a, _, _ in folds],
        [[b] for _, b, _ in folds],
        [[replace(c, images=EpisodeImages.of(table))] for c, (_, _, table) in zip(third, folds, strict=True)],
    ]
    wanted = [(0, 1), (2, 1), (0, 2)]
    for found, (a, b) in zip(overall_differences(three, wanted, metric), wanted, strict=True):
        expected = paired_by_images(three[a], three[b]).scores[metric].overall
        assert numbers(found) == pytest.approx(numbers(expected), rel=1e-9)
    for found, side in zip(overall_scores(three, metric), three, strict=True):
        (alone,) = image_estimates([Score([fold[0] for fold in side], metric)])
        assert numbers(found) == pytest.approx(numbers(alone), rel=1e-9)
    assert overall_differences(three, [], metric) == []


def test_trainings_are_averaged_and_their_numbers_may_differ() -> None:
    a, b, table = sides(0)
    again = replace(pair(0, (20, 25, 15), noise=9)[1], images=EpisodeImages.of(table))
    (found,) = overall_differences([[[a]], [[b, again]]], [(0, 1)], "mean")
    apart = [difference(fold_influence(a, "mean"), fold_influence(side, "mean")) for side in (b, again)]
    naive = naive_estimate([Naive(table, averaged(apart))])
    check(found, (score(a, "mean"), (score(b, "mean") + score(again, "mean")) / 2), naive)
    with pytest.raises(ValueError, match="same folds"):
        overall_differences([[[a]], [[b], [b]]], [(0, 1)], "mean")
