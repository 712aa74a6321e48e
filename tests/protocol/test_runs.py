"""Several runs in one table: what is drawn, what scores and intervals mean, by hand and against simulation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.episodes import sample_episodes
from fsseg_bench.protocol.images import EpisodeImages
from fsseg_bench.protocol.intervals import (
    Score,
    bootstrap_intervals,
    class_estimates,
    class_intervals,
    image_estimates,
)
from fsseg_bench.protocol.load import load_protocol, replace_episodes
from fsseg_bench.protocol.paired import paired_by_images
from fsseg_bench.protocol.paired_episodes import paired_by_episodes
from fsseg_bench.protocol.scoring import binary_iou, class_iou, mean_iou, runs_of
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.statistics import FoldCounts, Metric, class_influence, fold_influence
from fsseg_bench.protocol.table import EpisodeTable
from tests.support.protocol_text import changed, refused, write

PASCAL = load_protocol("pascal5i")
PAIRS = {c: [f"c{c}/{i}" for i in range(9)] for c in range(1, 6)}


def protocol_of(**values: Any) -> Protocol:
    return dataclasses.replace(PASCAL, episodes=dataclasses.replace(PASCAL.episodes, count=30, **values))


# What is drawn


@pytest.mark.parametrize("more", [{}, {"sampler": "hsnet", "support_replacement": True, "class_sampling": "cycle"}])
def test_runs_are_the_tables_of_their_seeds(more: dict[str, Any]) -> None:
    alone = [sample_episodes(protocol_of(seed=seed, **more), 1, PAIRS, 1, 2) for seed in (7, 8, 9)]
    table = sample_episodes(protocol_of(seed=7, runs=3, **more), 1, PAIRS, 1, 2)
    assert table == joined(alone)
    named = sample_episodes(protocol_of(seed=(9, 7), **more), 1, PAIRS, 1, 2)
    assert named == joined([alone[2], alone[0]])
    assert len(sample_episodes(replace_episodes(protocol_of(seed=7, runs=3), 25), 1, PAIRS, 1, 2)) == 75


def joined(tables: Sequence[EpisodeTable]) -> EpisodeTable:
    return EpisodeTable(
        tuple(row for table in tables for row in table.classes),
        tuple(row for table in tables for row in table.queries),
        tuple(row for table in tables for row in table.supports),
    )


def test_each_run_has_all_classes() -> None:
    with pytest.raises(UserError, match=r"3 episodes leave held-out classes without one"):
        sample_episodes(replace_episodes(protocol_of(runs=9), 3), 1, PAIRS, 1, 1)


@pytest.mark.parametrize(
    ("seed", "more", "message"),
    [
        ("[1, 2]", "runs = 2", "episodes.runs is 2; a list of seeds says how many there are"),
        ("[1, 1]", "", "episodes.seed is [1, 1]; it must be 1 to 1000 different numbers, or one"),
        ("[]", "", "episodes.seed is []; it must be 1 to 1000 different numbers, or one"),
        ("1", "runs = 0", "episodes.runs is 0; it must be at least 1"),
    ],
)
def test_what_is_refused(tmp_path: Path, seed: str, more: str, message: str) -> None:
    text = changed("seed = 11", f"seed = {seed}\n{more}")
    assert refused(tmp_path, text).startswith(message)


def test_digests_and_labels(tmp_path: Path) -> None:
    plain = load_protocol(write(tmp_path))
    assert load_protocol(write(tmp_path, changed("seed = 11", "seed = 11\nruns = 1"))).digest == plain.digest
    assert load_protocol(write(tmp_path), {"episodes.runs": "5"}).label == "own[episodes.runs=5]"
    given = load_protocol(write(tmp_path), {"episodes.seed": "11,12"})
    assert (given.label, given.episodes.seeds) == ("own[episodes.seed=11,12]", (11, 12))


# Scores by hand

HAND = [
    [[50, 10], [5, 35]],  # class 7, 35 / 50
    [[60, 0], [20, 20]],  # class 9, 20 / 40
    [[80, 0], [0, 20]],  # second run: class 7, 20 / 20
    [[70, 20], [5, 5]],  # class 9, 5 / 30
]
WAYS = [[7], [9], [7], [9]]


def test_scores_by_hand() -> None:
    assert class_iou(HAND, WAYS, (7, 9), 2).tolist() == pytest.approx([(0.7 + 1) / 2, (0.5 + 1 / 6) / 2])
    assert mean_iou(HAND, WAYS, (7, 9), 2) == pytest.approx((0.7 + 0.5 + 1 + 1 / 6) / 4)
    first = (55 / 90 + 110 / 145) / 2
    second = (25 / 50 + 150 / 175) / 2
    assert binary_iou(HAND, 2) == pytest.approx((first + second) / 2)
    fold = FoldCounts(HAND, WAYS, (7, 9), runs=2)
    assert fold_influence(fold, "mean").value == pytest.approx([(0.7 + 0.5 + 1 + 1 / 6) / 4])
    assert fold_influence(fold, "binary").value == pytest.approx([(first + second) / 2])
    assert class_influence(fold).value == pytest.approx([0.85, 1 / 3])


def test_runs_without_a_score() -> None:
    assert mean_iou(HAND[:3], WAYS[:3], (7, 9)) > 0
    for score in (
        lambda: mean_iou(HAND[:2] + HAND[2:3] * 2, [[7], [9], [7], [7]], (7, 9), 2),
        lambda: fold_influence(FoldCounts(HAND[:2] + HAND[2:3] * 2, [[7], [9], [7], [7]], (7, 9), runs=2), "mean"),
    ):
        with pytest.raises(UserError, match="no episode of class 9"):
            score()
    with pytest.raises(ValueError, match="4 episodes are no 3 runs of equal length"):
        mean_iou(HAND, WAYS, (7, 9), 3)
    assert runs_of(4, 2) == [slice(0, 2), slice(2, 4)]


# Influences and intervals


def made_up(rng: np.random.RandomState, runs: int, each: int, images: int, ways: int = 1) -> FoldCounts:
    """Counts of R runs over the same images of three classes: hard queries, poor supports, and noise."""
    hard, poor = rng.normal(size=(2, 4, images))
    rows = []
    for _ in range(runs):
        for i in range(each):
            first = 1 + i % 3
            classes = [first, *(c for c in (1, 2, 3) if c != first)][:ways]
            query, support = rng.randint(images), rng.randint(images)
            support += support == query
            support %= images
            rows.append((classes, query, support, hard[first, query] + poor[first, support] + rng.normal(scale=0.5)))
    cells = np.zeros((len(rows), ways + 1, ways + 1), np.int64)
    for k, (_, query, _, quality) in enumerate(rows):
        size = 200 + 20 * query
        right = int(size / (1 + np.exp(-quality)))
        cells[k, 1, 1], cells[k, 1, 0] = right, size - right
        cells[k, 0, 1] = int(0.3 * (size - right))
        cells[k, 0, 0] = 1500 - size
        if ways > 1:
            cells[k, 2, 2], cells[k, 0, 2] = 40, 10 + query
    table = EpisodeTable(
        tuple(tuple(row[0]) for row in rows),
        tuple(f"{row[0][0]}-{row[1]}" for row in rows),
        tuple(tuple((f"{c}-{row[2]}",) for c in row[0]) for row in rows),
    )
    return FoldCounts(cells, np.array([row[0] for row in rows]), (1, 2, 3), EpisodeImages.of(table), runs)


def score_of(fold: FoldCounts, metric: Metric, cells: Any) -> float:
    return binary_iou(cells, fold.runs) if metric == "binary" else mean_iou(cells, fold.classes, (1, 2, 3), fold.runs)


@pytest.mark.parametrize("ways", [1, 2])
@pytest.mark.parametrize("metric", ["mean", "binary"])
def test_an_influence_is_the_derivative_of_the_score(metric: Metric, ways: int) -> None:
    """An episode that is there 1 % more moves the score by 1 % of its influence."""
    fold = made_up(np.random.RandomState(3), 3, 9, 6, ways)
    found = fold_influence(fold, metric)
    before = score_of(fold, metric, fold.confusion)
    assert found.value[0] == pytest.approx(before)
    cells = np.asarray(fold.confusion) * 10_000
    for e in (0, 8, 9, 25):
        more = cells.copy()
        more[e] = more[e] * 10_001 // 10_000
        assert (score_of(fold, metric, more) - before) * 10_000 == pytest.approx(found.change[e, 0], rel=1e-3, abs=1e-7)
    assert found.mass.sum() == pytest.approx(1)
    assert found.change.sum() == pytest.approx(0, abs=1e-12)


def test_influences_of_classes() -> None:
    fold = made_up(np.random.RandomState(3), 3, 9, 6)
    found, whole = class_influence(fold), fold_influence(fold, "mean")
    assert found.value == pytest.approx(class_iou(fold.confusion, fold.classes, (1, 2, 3), 3))
    assert found.change.mean(axis=1) == pytest.approx(whole.change[:, 0])
    assert found.mass.sum(axis=0) == pytest.approx(np.ones(3))


def test_one_run_is_as_without() -> None:
    fold = made_up(np.random.RandomState(1), 1, 30, 8)
    again = FoldCounts(fold.confusion, fold.classes, fold.novel, fold.images)
    assert bootstrap_intervals([Score([fold], "mean")]) == bootstrap_intervals([Score([again], "mean")])
    assert image_estimates([Score([fold], "binary")]) == image_estimates([Score([again], "binary")])


def test_an_interval_over_episodes_is_that_of_a_naive_bootstrap() -> None:
    """Episodes are drawn anew within each class of each run, and the score is computed from scratch."""
    fold = made_up(np.random.RandomState(5), 3, 12, 8)
    cells, classes = np.asarray(fold.confusion), np.asarray(fold.classes)
    rng = np.random.RandomState(11)
    drawn: dict[str, list[float]] = {"mean": [], "binary": []}
    of_class = []
    strata = [np.flatnonzero((classes[:, 0] == c) & (np.arange(36) // 12 == r)) for r in range(3) for c in (1, 2, 3)]
    for _ in range(3000):
        again = np.empty(36, np.intp)
        for own in strata:
            again[own] = rng.choice(own, len(own))
        drawn["mean"].append(mean_iou(cells[again], classes[again], (1, 2, 3), 3))
        drawn["binary"].append(binary_iou(cells[again], 3))
        of_class.append(class_iou(cells[again], classes[again], (1, 2, 3), 3)[1])
    metrics: tuple[Metric, ...] = ("mean", "binary")
    for metric, found in zip(metrics, bootstrap_intervals([Score([fold], m) for m in metrics]), strict=True):
        low, high = np.quantile(drawn[metric], [0.025, 0.975])
        assert (found.low, found.high) == pytest.approx((low, high), abs=0.08 * (high - low))
    (classwise,) = class_intervals([fold])
    low, high = np.quantile(of_class, [0.025, 0.975])
    assert (classwise[2].low, classwise[2].high) == pytest.approx((low, high), abs=0.08 * (high - low))


def test_five_runs_of_the_same_images_say_little_more_than_one() -> None:
    """Runs share their images: the error shrinks far less than that of independent episodes."""
    one, five = [], []
    for seed in range(12):
        fold = made_up(np.random.RandomState(seed), 5, 60, 12)
        part = slice(0, 60)
        assert fold.images is not None
        first = FoldCounts(fold.confusion[part], fold.classes[part], (1, 2, 3), fold.images.some(range(60)))  # type: ignore[index]
        one.append(image_estimates([Score([first], "mean")])[0].error)
        five.append(image_estimates([Score([fold], "mean")])[0].error)
    assert 0.75 < np.mean(five) / np.mean(one) < 1.02
    assert set(class_estimates(fold)) == {1, 2, 3}


@pytest.mark.slow
def test_intervals_over_images_hold_the_score_of_all_images() -> None:
    """The true score is that of a very long run over very many images of the same kind."""
    held = 0.0
    many = [made_up(np.random.RandomState(10**4 + i), 1, 3000, 900) for i in range(4)]
    truth = np.mean([mean_iou(fold.confusion, fold.classes, (1, 2, 3)) for fold in many])
    for seed in range(200):
        fold = made_up(np.random.RandomState(seed), 3, 90, 30)
        found = image_estimates([Score([fold], "mean")])[0].interval()
        assert found is not None
        held += found.low <= truth <= found.high
    assert 0.88 < held / 200 < 0.99


def test_paired_intervals() -> None:
    """Both ways agree with the difference of the scores; the episodes' interval with a naive paired bootstrap."""
    fold = made_up(np.random.RandomState(2), 3, 12, 8)
    cells, classes = np.asarray(fold.confusion), np.asarray(fold.classes)
    better = cells.copy()
    better[:, 1, 1] += better[:, 1, 0] // 3
    better[:, 1, 0] -= better[:, 1, 0] // 3
    other = FoldCounts(better, classes, fold.novel, fold.images, 3)
    value = mean_iou(better, classes, (1, 2, 3), 3) - mean_iou(cells, classes, (1, 2, 3), 3)
    crossed = paired_by_images([[fold]], [[other]])
    alone = paired_by_episodes([[fold]], [[other]], resamples=2000)
    for found in (crossed, alone):
        assert found.scores["mean"].overall.value == pytest.approx(value)
        expected = binary_iou(better, 3) - binary_iou(cells, 3)
        assert found.scores["binary"].overall.value == pytest.approx(expected)
        ious = class_iou(better, classes, (1, 2, 3), 3) - class_iou(cells, classes, (1, 2, 3), 3)
        assert [found.classes[0][c].value for c in (1, 2, 3)] == pytest.approx(ious.tolist())
    rng, drawn = np.random.RandomState(0), []
    for _ in range(2000):
        again = np.empty(36, np.intp)
        for r in range(3):
            for c in (1, 2, 3):
                own = np.flatnonzero((classes[:, 0] == c) & (np.arange(36) // 12 == r))
                again[own] = rng.choice(own, len(own))
        ways = classes[again]
        drawn.append(mean_iou(better[again], ways, (1, 2, 3), 3) - mean_iou(cells[again], ways, (1, 2, 3), 3))
    assert alone.scores["mean"].overall.error == pytest.approx(np.std(drawn), rel=0.1)
    with pytest.raises(ValueError, match="same folds, seeds and episodes"):
        paired_by_images([[fold]], [[FoldCounts(better, classes, fold.novel, fold.images)]])
