"""Each convention against loops over episodes in plain numbers, and by hand on two episodes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.conventions import CONVENTIONS, RUNS, Convention, FoldPixels
from fsseg_bench.protocol.scoring import binary_iou, mean_iou
from fsseg_bench.protocol.statistics import Metric


def convention(name: str, metric: Metric = "mean") -> Convention:
    (found,) = (c for c in CONVENTIONS if c.name == name and c.metric == metric)
    return found


def fold(cells: Sequence[Sequence[int]], void: Sequence[Sequence[int]], classes: Sequence[int]) -> FoldPixels:
    """One-way episodes, with counts as (true background, false alarms, misses, hits); native ones are doubled."""
    table = np.array(cells).reshape(-1, 2, 2)
    at_void = np.array(void)
    return FoldPixels(
        np.array(classes)[:, None],
        tuple(sorted(set(classes))),
        {"input": table, "native": 2 * table + 1},
        {"input": at_void, "native": 2 * at_void},
        "input",
    )


# two episodes of one class, one of another
HAND = fold([[70, 10, 5, 15], [80, 0, 10, 10], [50, 20, 0, 30]], [[1, 2], [3, 4], [5, 6]], [7, 7, 9])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("this protocol", (25 / 50 + 30 / 50) / 2),
        ("other size", (52 / 106 + 61 / 103) / 2),  # 2 n + 1 of every cell: 31 + 21 hits, and so on
        ("void is background", (25 / 56 + 30 / 56) / 2),  # 2 + 4 and 6 false alarms more
        (
            "void is foreground",
            ((25 + 6) / (50 + 10) + (30 + 6) / (50 + 11)) / 2,
        ),  # hits, and as many misses as were not
        ("mean of episodes", ((15 / 30 + 10 / 20) / 2 + 30 / 50) / 2),
        ("first run alone", 15 / 30 / 2),  # the first episode alone; class 9 is 0
        (
            "mean of runs, absent is 0",
            (15 / 30 / 2 + 10 / 20 / 2 + 30 / 50 / 2) / 3,
        ),  # three episodes, three runs
        ("mean of runs, absent left out", (15 / 30 + 10 / 20 + 30 / 50) / 3),
    ],
)
def test_mean_iou_by_hand(name: str, expected: float) -> None:
    assert convention(name).score([HAND]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("this protocol", (55 / 100 + 200 / 245) / 2),
        ("void is background", (55 / 112 + 209 / 266) / 2),  # 12 false alarms and 9 right ones more
        ("foreground alone", 55 / 100),
        ("all folds pooled", (55 / 100 + 200 / 245) / 2),
    ],
)
def test_binary_iou_by_hand(name: str, expected: float) -> None:
    assert convention(name, "binary").score([HAND]) == pytest.approx(expected)


def test_pooling_over_folds_is_no_mean_over_folds() -> None:
    other = fold([[10, 0, 0, 90]], [[0, 0]], [3])
    pooled = (145 / 190 + 210 / 255) / 2
    assert convention("all folds pooled", "binary").score([HAND, other]) == pytest.approx(pooled)
    mean = ((55 / 100 + 200 / 245) / 2 + 1.0) / 2
    assert convention("this protocol", "binary").score([HAND, other]) == pytest.approx(mean)


def test_empty_targets_make_false_alarms_vanish() -> None:
    episodes = fold([[70, 10, 5, 15], [60, 40, 0, 0]], [[0, 0], [0, 0]], [7, 7])
    assert convention("empty targets left out").score([episodes]) == pytest.approx(15 / 30)
    assert convention("this protocol").score([episodes]) == pytest.approx(15 / 70)


def several_ways() -> FoldPixels:
    rng = np.random.RandomState(0)
    count, classes = 40, np.array([rng.permutation(4)[:2] + 1 for _ in range(40)])
    cells = rng.randint(0, 50, (count, 3, 3))
    cells[::5, 1] = 0  # the query does not show its first way
    void = rng.randint(0, 9, (count, 3))
    return FoldPixels(
        classes, (1, 2, 3, 4), {"input": cells, "native": cells}, {"input": void, "native": void}, "native"
    )


def loop(pixels: FoldPixels, name: str) -> float:
    """Mean-IoU by loops over episodes, ways and cells."""
    runs = {"mean of runs, absent is 0": RUNS, "mean of runs, absent left out": RUNS}.get(name, 1)
    length = len(pixels.classes) // runs
    scores = []
    for run in range(runs):
        totals = {c: [0, 0] for c in pixels.novel}
        ious: dict[int, list[float]] = {c: [] for c in pixels.novel}
        for e in range(run * length, (run + 1) * length):
            cells = pixels.cells["native"][e].tolist()
            void = pixels.void["native"][e].tolist() if pixels.void else []
            for predicted in range(3):
                if name == "void is background":
                    cells[0][predicted] += void[predicted]
                if name == "void is foreground":
                    cells[1][predicted] += void[predicted]
            for way, c in enumerate(pixels.classes[e].tolist(), start=1):
                hit = cells[way][way]
                labelled = sum(cells[way])
                union = labelled + sum(cells[other][way] for other in range(3)) - hit
                if name == "empty targets left out" and labelled == 0:
                    continue
                totals[c][0] += hit
                totals[c][1] += union
                ious[c].append(hit / union)
        if name == "mean of episodes":
            scores.append(sum(sum(one) / len(one) for one in ious.values()) / 4)
        else:
            scores.append(sum(hit / union for hit, union in totals.values()) / 4)
    return sum(scores) / runs


@pytest.mark.parametrize(
    "name", [c.name for c in CONVENTIONS if c.metric == "mean" and c.name not in {"first run alone"}]
)
def test_of_several_ways_each_equals_a_loop(name: str) -> None:
    pixels = several_ways()
    assert convention(name).score([pixels]) == pytest.approx(loop(pixels, name))


def test_confused_ways_count_twice() -> None:
    cells = np.array([[[50, 1, 2], [3, 20, 4], [5, 6, 30]]])
    pixels = FoldPixels(np.array([[1, 2]]), (1, 2), {"input": cells, "native": cells}, None, "input")
    foreground = 50 / (50 + 1 + 2 + 3 + 5 + 2 * (4 + 6))
    assert convention("confusions twice", "binary").score([pixels]) == pytest.approx((foreground + 50 / 61) / 2)
    assert convention("void is background").score([pixels]) is None


def test_the_first_of_each_metric_is_what_tables_print() -> None:
    pixels = several_ways()
    cells = pixels.cells["native"]
    assert convention("this protocol").score([pixels]) == mean_iou(cells, pixels.classes, pixels.novel)
    assert convention("this protocol", "binary").score([pixels]) == binary_iou(cells)
    assert next(c.name for c in CONVENTIONS if c.metric == "mean") == "this protocol"


def test_a_class_without_an_episode_is_refused_by_the_protocol_and_scored_by_others() -> None:
    pixels = HAND._replace(novel=(7, 9, 11))
    with pytest.raises(UserError, match="11"):
        convention("this protocol").score([pixels])
    zero, left_out = (convention(f"mean of runs, absent {how}").score([pixels]) for how in ("is 0", "left out"))
    assert zero == pytest.approx((15 / 30 + 10 / 20 + 30 / 50) / 9)
    assert left_out == pytest.approx((15 / 30 + 10 / 20 + 30 / 50) / 3)
    assert not math.isnan(zero or 0)


def test_of_a_protocol_with_several_runs_its_own_count() -> None:
    pixels = several_ways()._replace(runs=4)
    cells = pixels.cells["native"]
    four = [mean_iou(cells[i : i + 10], pixels.classes[i : i + 10], pixels.novel) for i in (0, 10, 20, 30)]
    assert convention("this protocol").score([pixels]) == pytest.approx(sum(four) / 4)
    assert convention("mean of runs, absent is 0").score([pixels]) == pytest.approx(sum(four) / 4)
    assert convention("first run alone").score([pixels]) == pytest.approx(four[0])
    halves = [binary_iou(cells[i : i + 10]) for i in (0, 10, 20, 30)]
    assert convention("this protocol", "binary").score([pixels]) == pytest.approx(sum(halves) / 4)


@pytest.mark.parametrize(
    "one",
    [c for c in CONVENTIONS if "run" not in c.name and "void" not in c.name],
    ids=lambda c: f"{c.name}, {c.metric}",
)
def test_no_other_rule_pools_what_the_protocol_averages(one: Convention) -> None:
    """Each run's score alone, then the mean: a difference to this protocol is the rule's, not that of pooling runs."""
    pixels = several_ways()
    parts = [slice(i, i + 10) for i in (0, 10, 20, 30)]
    alone = [
        pixels._replace(classes=pixels.classes[p], cells={k: v[p] for k, v in pixels.cells.items()}, void=None)
        for p in parts
    ]
    expected = sum(one.score([run, run]) or 0 for run in alone) / 4
    assert one.score([pixels._replace(runs=4)] * 2) == pytest.approx(expected, rel=1e-12)
