"""docs/statistics.md: every figure of its worked example, recomputed from the table printed there."""

from __future__ import annotations

import itertools
import re
import statistics

import numpy as np
import pytest

from fsseg_bench.protocol.paired import paired_result
from fsseg_bench.protocol.scoring import binary_iou, class_iou, mean_iou
from fsseg_bench.protocol.significance import episodes_needed, holm, resolvable, seed_spread
from fsseg_bench.protocol.statistics import FoldCounts, bootstrap_interval
from tests.support.fresh import ROOT
from tests.support.pairs import swap

PAGE = " ".join((ROOT / "docs" / "statistics.md").read_text(encoding="utf-8").split("## A worked example")[1].split())
CLASSES = {"cat": 1, "dog": 2}


@pytest.fixture(scope="module")
def sides() -> tuple[FoldCounts, FoldCounts]:
    """Baseline and other, as the table on the page has them."""
    rows = re.findall(r"\| (\d) \| (cat|dog) \|((?: \d+ \|){6})", PAGE)
    assert [row[0] for row in rows] == list("123456")
    numbers = np.array([[int(n) for n in re.findall(r"\d+", row[2])] for row in rows])
    classes = [[CLASSES[row[1]]] for row in rows]

    def side(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> FoldCounts:
        return FoldCounts(np.stack([100 - tp - fp - fn, fp, fn, tp], axis=1).reshape(-1, 2, 2), classes, [1, 2])

    return side(*numbers[:, :3].T), side(*numbers[:, 3:].T)


def percent(value: float) -> str:
    return f"{100 * value:.2f}"


def told(text: str) -> None:
    assert text in PAGE


def test_scores(sides: tuple[FoldCounts, FoldCounts]) -> None:
    for side, name in zip(sides, ("the baseline", "the other"), strict=True):
        cats, dogs = class_iou(side.confusion, side.classes, [1, 2])
        mean = mean_iou(side.confusion, side.classes, [1, 2])
        section = PAGE.split(f"**mean-IoU of {name}.**")[1].split("**")[0]
        assert [percent(x) for x in (cats, dogs, mean)] == re.findall(r"\d+\.\d\d", section)
    baseline, other = (binary_iou(side.confusion) for side in sides)
    section = PAGE.split("**binary-IoU of the baseline.**")[1].split("**")[0]
    assert re.findall(r"(?:[Mm]ean:?) (\d+\.\d\d)", section) == [percent(baseline), percent(other)]
    for side in sides:
        cells = np.asarray(side.confusion).sum(axis=0)
        for hits, wrong in ((cells[1, 1], cells[0, 1] + cells[1, 0]), (cells[0, 0], cells[0, 1] + cells[1, 0])):
            assert percent(hits / (hits + wrong)) in section


def test_intervals_and_difference(sides: tuple[FoldCounts, FoldCounts]) -> None:
    (a_low, a_high), (b_low, b_high) = (bootstrap_interval([side], "mean") for side in sides)
    told(f"mean-IoU is {percent(a_low)} to {percent(a_high)} %, the other's {percent(b_low)} to {percent(b_high)} %")
    result = paired_result([[sides[0]]], [[sides[1]]])
    found = result.scores["mean"].overall
    told(f"{percent(found.other)} - {percent(found.baseline)} = +{percent(found.value)} points")
    told(f"paired interval +{percent(found.low)} to +{percent(found.high)}")
    cats, dogs = result.classes[0][1], result.classes[0][2]
    told(f"For cats +{percent(cats.value)}, for dogs +{percent(dogs.value)}")


def test_p_value(sides: tuple[FoldCounts, FoldCounts]) -> None:
    found = paired_result([[sides[0]]], [[sides[1]]]).scores["mean"].overall
    differences = []
    for chosen in itertools.product([False, True], repeat=6):
        a, b = swap(*sides, np.array(chosen))
        differences.append(mean_iou(b.confusion, b.classes, [1, 2]) - mean_iou(a.confusion, a.classes, [1, 2]))
    extreme = sum(abs(d) >= found.value - 1e-12 for d in differences)
    told(f"Of the {len(differences)} ways to swap or not to swap six episodes, {extreme} give a difference of at least")
    told(f"at least {percent(found.value)} points")
    told(f"the exact p is {extreme} / {len(differences)} = {extreme / len(differences):.3f}")
    told(f"The 10,000 random ways give p = {found.p:.3f}")
    told(f"with p-values {found.p:.3f}, 0.010 and 0.040")
    first, second, third = holm([round(found.p, 3), 0.010, 0.040])
    told(f"the corrected ones would be {first:.3f}, {second:.3f} and {third:.3f}")


def test_power_and_seeds(sides: tuple[FoldCounts, FoldCounts]) -> None:
    error = 100 * paired_result([[sides[0]]], [[sides[1]]]).scores["mean"].overall.error
    found = resolvable(error)
    told(f"The standard error of the difference is {error:.2f} points with 6 episodes")
    told(f"{found / error:.2f} of these, {found:.2f} points, can be resolved")
    exact = 6 * (found / 5) ** 2
    told(f"6 * ({found:.2f} / 5)^2 = {exact:.1f}, that is {episodes_needed(error, 6, 5.0)} episodes")
    spread = seed_spread([58.48, 56.10, 57.40])
    told(f"scored 58.48, 56.10 and 57.40, their mean would be {spread.mean:.2f} ± {spread.deviation:.2f}")
    assert spread.deviation == pytest.approx(statistics.stdev([58.48, 56.10, 57.40]))
