"""The two-way variance: against loops over episodes and images, recomputed scores, and resampled images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from fsseg_bench.protocol.image_variance import NOTHING_VARIES, ONE_IMAGE, Estimate, estimates, image_effects
from fsseg_bench.protocol.images import EpisodeImages
from fsseg_bench.protocol.intervals import Score, class_estimates, image_estimates
from fsseg_bench.protocol.scoring import binary_iou, mean_iou
from fsseg_bench.protocol.statistics import FoldCounts, Influence, Metric, class_influence, fold_influence
from fsseg_bench.protocol.table import EpisodeTable
from tests.support.crossed import World
from tests.support.pairs import episode_table, pair

METRICS: tuple[Metric, ...] = ("mean", "binary")


def known(fold: FoldCounts, *, images: int = 5, shots: int = 1, seed: int = 0) -> tuple[FoldCounts, EpisodeTable]:
    """The fold with made-up images, and their table."""
    table = episode_table(np.asarray(fold.classes), images=images, shots=shots, seed=seed)
    return FoldCounts(fold.confusion, fold.classes, fold.novel, EpisodeImages.of(table)), table


def fold_of(
    seed: int, sizes: Sequence[int] = (25, 30, 20), *, ways: int = 1, shots: int = 1
) -> tuple[FoldCounts, EpisodeTable]:
    return known(pair(seed, sizes, ways=ways)[0], images=4 + ways * shots, shots=shots, seed=seed)


# The definition, episode by episode


class Naive:
    """One score of one fold, straight from the formulas of the module, with lists, sets and dictionaries."""

    def __init__(self, table: EpisodeTable, influence: Influence, column: int = 0) -> None:
        self.table, self.count = table, len(table)
        first = [ways[0] for ways in table.classes]
        raw, mass = influence.change[:, column].tolist(), influence.mass[:, column].tolist()
        self.u = []
        for e in range(self.count):
            stratum = [raw[d] for d in range(self.count) if first[d] == first[e]]
            self.u.append(raw[e] - sum(stratum) / len(stratum))
        self.query: dict[str, float] = {}
        self.support: dict[str, float] = {}
        self.weight: dict[str, float] = {}
        self.chance = 0.0
        self.strata = 0
        for c in sorted(set(first)):
            members = [e for e in range(self.count) if first[e] == c]
            images = {table.queries[e] for e in members}
            total = sum(mass[e] for e in members)
            self.strata += total > 0
            for image in images:
                own = [e for e in members if table.queries[e] == image]
                part = sum(mass[e] for e in own)
                effect = sum(self.u[e] for e in own) / (1 - (part / total if total else 0))
                self.query[image] = self.query.get(image, 0) + effect * math.sqrt((len(images) - 1) / len(images))
                self.weight[image] = self.weight.get(image, 0) + part
        for c in sorted({c for ways in table.classes for c in ways}):
            members = {e: table.supports[e][ways.index(c)] for e, ways in enumerate(table.classes) if c in ways}
            images = {image for own in members.values() for image in own}
            for image in images:
                inside = [e for e, own in members.items() if image in own]
                outside = [e for e in members if e not in inside and table.queries[e] != image]
                if not outside:
                    continue
                factor = math.sqrt((len(images) - 1) / len(images))
                weights = dict.fromkeys(inside, factor) | {e: -factor * len(inside) / len(outside) for e in outside}
                self.support[image] = self.support.get(image, 0) + sum(w * self.u[e] for e, w in weights.items())
                self.chance += sum((w * self.u[e]) ** 2 for e, w in weights.items())


def naive_estimate(parts: Sequence[Naive]) -> tuple[float, int, float]:
    """Standard error, degrees of freedom and the lasting part, of the mean over folds."""
    many = len(parts)
    images = {image for part in parts for image in (*part.query, *part.support)}
    query = {i: sum(part.query.get(i, 0) for part in parts) / many for i in images}
    both = {i: query[i] + sum(part.support.get(i, 0) for part in parts) / many for i in images}
    weight = {i: sum(part.weight.get(i, 0) for part in parts) / many for i in images}
    alike = sum(u**2 for part in parts for u in part.u) / many**2
    crossed = sum(v**2 for v in both.values()) - sum(part.chance for part in parts) / many**2
    variance = max(sum(v**2 for v in query.values()), crossed, alike)
    df = sum(w**2 for w in weight.values()) ** 2 / sum(w**4 for w in weight.values()) - sum(p.strata for p in parts)
    return math.sqrt(variance), max(1, math.floor(df)), math.sqrt(variance - alike)


@pytest.mark.parametrize(("ways", "shots"), [(1, 1), (1, 3), (2, 1), (3, 2)])
def test_one_fold_against_loops(ways: int, shots: int) -> None:
    fold, table = fold_of(1, ways=ways, shots=shots)
    for metric in METRICS:
        (found,) = image_estimates([Score([fold], metric)])
        expected = naive_estimate([Naive(table, fold_influence(fold, metric))])
        assert (found.error, found.df, found.lasting) == pytest.approx(expected, rel=1e-9)
    of_classes = class_estimates(fold)
    assert list(of_classes) == list(fold.novel)
    for i, found in enumerate(of_classes.values()):
        expected = naive_estimate([Naive(table, class_influence(fold), i)])
        assert (found.error, found.df, found.lasting) == pytest.approx(expected, rel=1e-9)


def test_folds_that_share_images_against_loops() -> None:
    """Classes of the made-up tables are the same in all folds, and so are the images."""
    folds, tables = zip(*(fold_of(i, (12 + i, 15, 9)) for i in range(3)), strict=True)
    for metric in METRICS:
        (found,) = image_estimates([Score(folds, metric)])
        expected = naive_estimate([Naive(t, fold_influence(f, metric)) for t, f in zip(tables, folds, strict=True)])
        assert (found.error, found.df, found.lasting) == pytest.approx(expected, rel=1e-9)
        alone = [image_estimates([Score([fold], metric)])[0].error for fold in folds]
        assert found.error != pytest.approx(math.hypot(*alone) / 3, rel=1e-3), "folds are not independent here"


# What it estimates


def test_scores_computed_together_equal_those_computed_alone() -> None:
    """To the last digit: a number does not depend on what else is in a table."""
    (first, _), (other, _), (third, _) = fold_of(0), fold_of(1), fold_of(2)
    again = FoldCounts(third.confusion, first.classes, first.novel, first.images)
    scores = [Score(folds, metric) for folds in ([first], [again], [other, first]) for metric in ("mean", "binary")]
    assert image_estimates(scores) == [image_estimates([score])[0] for score in scores]


def test_the_part_of_the_queries_is_a_jackknife() -> None:
    """Each query image is left out in turn, and the score computed anew."""
    fold, table = known(pair(3, (30, 25))[0], images=7)
    effects = image_effects(fold.images, fold_influence(fold, "mean"))
    whole = mean_iou(fold.confusion, fold.classes, fold.novel)
    for number, name in enumerate(fold.images.names):
        rows = [e for e in range(len(table)) if table.queries[e] != name]
        if len(rows) == len(table):
            assert effects.query[number, 0] == 0
            continue
        without = mean_iou(np.asarray(fold.confusion)[rows], np.asarray(fold.classes)[rows], fold.novel)
        n = len({table.queries[e] for e in range(len(table)) if table.queries[e][0] == name[0]})
        assert effects.query[number, 0] == pytest.approx((whole - without) * math.sqrt((n - 1) / n), abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.slow
def test_it_is_the_variance_over_simulated_folds(metric: Metric) -> None:
    """The mean of the estimates against the variance of 600 scores, each of new images."""
    world = World(classes=3, images=40, episodes=80, shots=2, support=0.8, roles=0.5)
    rng = np.random.default_rng(3)
    found = [image_estimates([Score(world.draw(rng), metric)])[0] for _ in range(600)]
    true = np.std([each.value for each in found], ddof=1)
    assert math.sqrt(np.mean([each.error**2 for each in found])) == pytest.approx(true, rel=0.1)


def test_resampled_images_vary_alike() -> None:
    """The pigeonhole bootstrap (Owen 2007): an episode weighs the product of its images' counts.

    Its variance is too large by what episodes add on their own, so the estimate lies between the bootstrap over query
    images and this one.
    """
    world = World(classes=4, images=60, episodes=400, query=1.0, support=0.8, noise=0.1)
    (fold,) = world.draw(np.random.default_rng(5))
    (found,) = image_estimates([Score([fold], "mean")])
    rng, images = np.random.default_rng(6), fold.images
    cells, first = np.asarray(fold.confusion), np.asarray(fold.classes)[:, 0]
    scores: dict[str, list[float]] = {"queries": [], "both": []}
    for _ in range(1500):
        drawn = np.concatenate([np.bincount(rng.integers(0, 60, 60), minlength=60) for _ in range(4)])
        for kind, weights in (
            ("queries", drawn[images.queries]),
            ("both", drawn[images.queries] * drawn[images.supports[:, 0, 0]]),
        ):
            hits, union = (weights * part for part in (cells[:, 1, 1], cells[:, 1, 1] + cells[:, 1, 0]))
            scores[kind].append(np.mean([hits[first == c].sum() / union[first == c].sum() for c in fold.novel]))
    low, high = (np.std(scores[kind]) for kind in ("queries", "both"))
    assert 0.95 * low < found.error < 1.05 * high
    assert found.error / (0.5 * (low + high)) == pytest.approx(1, abs=0.15)


def test_episodes_that_share_no_image_are_independent_ones() -> None:
    """Then the standard error is the textbook one of a ratio (delta method), a little wider for the jackknife."""
    fold, _ = pair(2, (40, 40))
    count = len(np.asarray(fold.classes))
    names = [f"q{i}" for i in range(count)], [((f"s{i}",),) for i in range(count)]
    table = EpisodeTable(tuple(map(tuple, np.asarray(fold.classes).tolist())), tuple(names[0]), tuple(names[1]))
    own = FoldCounts(fold.confusion, fold.classes, fold.novel, EpisodeImages.of(table))
    (found,) = image_estimates([Score([own], "mean")])
    cells = np.asarray(fold.confusion)
    variance = 0.0
    for c in fold.novel:
        mine = cells[np.asarray(fold.classes)[:, 0] == c]
        hits, union = mine[:, 1, 1], mine[:, 1, 1] + mine[:, 0, 1] + mine[:, 1, 0]
        residuals = hits - hits.sum() / union.sum() * union
        variance += stats.sem(residuals) ** 2 / union.mean() ** 2 / len(fold.novel) ** 2
    assert found.error == pytest.approx(math.sqrt(variance), rel=0.06)
    assert found.error > math.sqrt(variance)


def test_many_episodes_of_the_same_images_leave_an_error() -> None:
    """Ten times the episodes: the error goes down to its lasting part and no further."""
    rng = np.random.default_rng(1)
    few, many = (
        [image_estimates([Score(World(images=40, episodes=e).draw(rng), "mean")])[0] for _ in range(25)]
        for e in (100, 1000)
    )
    lasting, after = (
        math.sqrt(np.mean([getattr(e, part) ** 2 for e in own])) for part, own in (("lasting", few), ("error", many))
    )
    assert after == pytest.approx(lasting, rel=0.1)


# Where nothing can be said


def constant(images: EpisodeImages | None = None) -> FoldCounts:
    cells = [[[60, 10], [10, 20]]] * 8
    classes = [[1], [2]] * 4
    return FoldCounts(cells, classes, [1, 2], images or EpisodeImages.of(episode_table(classes, images=4)))


def test_counts_that_never_vary() -> None:
    for metric in METRICS:
        (found,) = image_estimates([Score([constant()], metric)])
        assert (found.unknown, found.interval()) == (NOTHING_VARIES, None)
        assert math.isnan(found.error)
        assert math.isnan(found.p())


def test_a_class_with_one_query_image() -> None:
    """Class 2 has several episodes of one image: of that class nothing is known, nor of a mean with it."""
    rng = np.random.RandomState(0)
    classes = [[1]] * 6 + [[2]] * 4
    table = EpisodeTable(
        tuple(map(tuple, classes)),
        (*"abcdef", *"xxxx"),
        tuple(((s,),) for s in (*"bcdefa", *"yzyz")),
    )
    fold = FoldCounts(rng.randint(1, 90, (10, 2, 2)), classes, [1, 2], EpisodeImages.of(table))
    for metric in METRICS:
        (found,) = image_estimates([Score([fold], metric)])
        assert (found.unknown, found.interval()) == (ONE_IMAGE, None)
    of_classes = class_estimates(fold)
    assert of_classes[2].unknown == ONE_IMAGE
    assert of_classes[1].unknown == ""
    assert 0 < of_classes[1].error < 1
    (mean,) = image_estimates([Score([fold, constant()], "mean")])
    assert mean.unknown == ONE_IMAGE


def test_one_episode_a_class() -> None:
    fold = FoldCounts(
        [[[9, 1], [1, 9]], [[8, 2], [1, 9]]], [[1], [2]], [1, 2], EpisodeImages.of(episode_table([[1], [2]]))
    )
    assert image_estimates([Score([fold], "mean")])[0].unknown == ONE_IMAGE


def test_a_class_whose_pixels_are_all_on_one_image() -> None:
    """The other query of class 1 has neither label nor prediction."""
    cells = [[[90, 0], [5, 5]], [[100, 0], [0, 0]], [[80, 5], [5, 10]], [[70, 5], [5, 20]]]
    table = EpisodeTable(((1,), (1,), (2,), (2,)), tuple("abcd"), tuple(((s,),) for s in "badc"))
    fold = FoldCounts(cells, table.classes, [1, 2], EpisodeImages.of(table))
    assert image_estimates([Score([fold], "mean")])[0].unknown == ONE_IMAGE
    (pooled,) = image_estimates([Score([fold], "binary")])
    assert math.isfinite(pooled.error) or pooled.unknown


def test_every_image_but_the_query_is_a_support() -> None:
    """K = n - 1: supports cannot be told from their class, and only queries are seen to vary."""
    fold, table = known(pair(4, (30, 30))[0], images=4, shots=3)
    effects = image_effects(fold.images, fold_influence(fold, "mean"))
    assert not effects.support.any()
    assert effects.chance == 0
    (found,) = image_estimates([Score([fold], "mean")])
    assert found.error == pytest.approx(naive_estimate([Naive(table, fold_influence(fold, "mean"))])[0])


@pytest.mark.parametrize("seed", range(40))
def test_there_is_never_nonsense(seed: int) -> None:
    """Tiny folds of all kinds, with empty unions: an interval in order around the score, or a reason."""
    rng = np.random.RandomState(seed)
    ways, shots, images = rng.randint(1, 3), rng.randint(1, 3), rng.randint(2, 5)
    classes = [rng.permutation(3)[:ways] + 1 for _ in range(rng.randint(3, 25))]
    classes += [[c, *[d for d in (1, 2, 3) if d != c][: ways - 1]] for c in (1, 2, 3)]
    cells = rng.randint(0, 40, (len(classes), ways + 1, ways + 1)) * rng.randint(0, 2, (len(classes), 1, 1))
    cells[-3:] += 1
    fold = FoldCounts(
        cells, classes, [1, 2, 3], EpisodeImages.of(episode_table(classes, images=images + shots, shots=shots))
    )
    for found in (*image_estimates([Score([fold], m) for m in METRICS]), *class_estimates(fold).values()):
        interval = found.interval()
        assert (interval is None) == bool(found.unknown)
        if interval is not None:
            assert 0 <= interval.low <= found.value <= interval.high <= 1
            assert 0 < interval.half <= 1
            assert 0 <= found.lasting <= found.error
            assert 0 <= found.p() <= 1


# Intervals and p-values


def test_an_interval_is_cut_off_and_its_half_width_is_not() -> None:
    found = Estimate(0.97, 0.02, 0.0, 30)
    half = 0.02 * stats.t.ppf(0.975, 30)
    assert found.interval() == pytest.approx((0.97 - half, 1.0, half))
    assert Estimate(0.5, 0.2, 0.0, 1).interval() == (0, 1, 1)
    with pytest.raises(ValueError, match="level is 95"):
        found.interval(95)


def test_interval_and_p_value_agree() -> None:
    for df in (1, 4, 60):
        edge = stats.t.ppf(0.975, df) * 0.01
        for value, rejected in ((edge * 1.0001, True), (edge * 0.9999, False), (-edge * 1.0001, True)):
            found = Estimate(value, 0.01, 0.0, df)
            assert (found.p() < 0.05) == rejected == (abs(value) > found.half_width())
            assert found.p() == pytest.approx(2 * stats.t.sf(abs(value) / 0.01, df), rel=1e-9)


def test_episodes_of_another_number() -> None:
    fold, _ = fold_of(0)
    with pytest.raises(ValueError, match="75 episodes were counted, images are known of 3"):
        image_effects(fold.images.some(range(3)), fold_influence(fold, "mean"))
    assert len(estimates([(fold.images, image_effects(fold.images, class_influence(fold)))])) == 3
    assert binary_iou(fold.confusion) == image_estimates([Score([fold], "binary")])[0].value
