"""docs/explanation/statistics.md: every figure of its worked example, recomputed from the table printed there."""

from __future__ import annotations

import math
import re
import statistics

import numpy as np
import pytest
from scipy import stats

from fsseg_bench.protocol.image_variance import image_effects
from fsseg_bench.protocol.images import EpisodeImages
from fsseg_bench.protocol.paired import Difference, paired_by_images
from fsseg_bench.protocol.paired_episodes import paired_by_episodes
from fsseg_bench.protocol.scoring import binary_iou, class_iou, mean_iou
from fsseg_bench.protocol.significance import Detection, holm, seed_spread
from fsseg_bench.protocol.statistics import FoldCounts, difference, fold_influence
from fsseg_bench.protocol.table import EpisodeTable
from tests.support.fresh import ROOT

_TEXT = (ROOT / "docs" / "explanation" / "statistics.md").read_text(encoding="utf-8")
PAGE = " ".join(_TEXT.split("## A worked example")[1].split())
CLASSES = {"cat": 1, "dog": 2}
ROWS = re.findall(r"\| (\d) \| (cat|dog) \| (\w) \| (\w) \|((?: \d+ \|){6}) ([+-]\d\.\d{3}) \|", PAGE)


@pytest.fixture(scope="module")
def sides() -> tuple[FoldCounts, FoldCounts]:
    """Baseline and other, as the table on the page has them."""
    assert [row[0] for row in ROWS] == list("12345678")
    numbers = np.array([[int(n) for n in re.findall(r"\d+", row[4])] for row in ROWS])
    ways = tuple((CLASSES[row[1]],) for row in ROWS)
    table = EpisodeTable(ways, tuple(row[2] for row in ROWS), tuple(((row[3],),) for row in ROWS))

    def side(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> FoldCounts:
        cells = np.stack([100 - tp - fp - fn, fp, fn, tp], axis=1).reshape(-1, 2, 2)
        return FoldCounts(cells, ways, [1, 2], EpisodeImages.of(table))

    return side(*numbers[:, :3].T), side(*numbers[:, 3:].T)


@pytest.fixture(scope="module")
def found(sides: tuple[FoldCounts, FoldCounts]) -> Difference:
    """The difference in mean-IoU."""
    return paired_by_images([[sides[0]]], [[sides[1]]]).scores["mean"].overall


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


def test_influences(sides: tuple[FoldCounts, FoldCounts], found: Difference) -> None:
    told(f"{percent(found.other)} - {percent(found.baseline)} = +{percent(found.value)} points")
    influence = difference(*(fold_influence(side, "mean") for side in sides))
    assert [f"{100 * u:+.3f}" for u in influence.change[:, 0]] == [row[5] for row in ROWS]
    first = []
    for side, text in zip(sides, ("(20 - 0.4474 * 50) / 190 / 2", "(30 - 0.5833 * 50) / 180 / 2"), strict=True):
        cells, iou = np.asarray(side.confusion), class_iou(side.confusion, side.classes, [1, 2])[0]
        union = [c[1, 1] + c[0, 1] + c[1, 0] for c in cells[:4]]
        first.append((cells[0, 1, 1] - iou * union[0]) / sum(union) / 2)
        assert f"({cells[0, 1, 1]} - {iou:.4f} * {union[0]}) / {sum(union)} / 2" == text
        told(f"{text} = {100 * first[-1]:+.3f}")
    told(f"their difference is {100 * (first[1] - first[0]):+.3f}")


def test_effects_of_images(sides: tuple[FoldCounts, FoldCounts], found: Difference) -> None:
    """With the numbers of the table's last column alone."""
    u = {int(row[0]): float(row[5]) for row in ROWS}
    shares = [(50 + 50) / 190, (50 + 50) / 180]
    told(f"the mean of both, is {50 * sum(shares):.1f} %")
    q = (u[1] + u[2]) / (1 - sum(shares) / 2) * math.sqrt(2 / 3)
    told(f"q = (0.855 - 0.461) / (1 - {sum(shares) / 2:.3f}) * sqrt(2 / 3) = {q:+.2f}")
    told(f"s = 1 * (-0.967 - 0.573) * sqrt(2 / 3) = {(u[3] - u[4]) * math.sqrt(2 / 3):+.2f}")
    effects = image_effects(sides[0].images, difference(*(fold_influence(side, "mean") for side in sides)))
    rows = re.findall(r"\| ([A-F]) \| ([+-]\d\.\d{3}) \| ([+-]\d\.\d{3}) \| (0\.\d{3}) \|", PAGE)
    assert [row[0] for row in rows] == list("ABCDEF")
    columns = 100 * effects.query, 100 * effects.support, effects.mass
    for name, *printed in rows:
        place = sides[0].images.names.index(name)
        assert [float(x) for x in printed] == pytest.approx([c[place, 0] for c in columns], abs=6e-4)
    both, alone = (
        sum(f(float(row[1]), float(row[2])) ** 2 for row in rows) for f in (lambda q, s: q + s, lambda q, _: q)
    )
    told(f"The squares of q + s add up to {both:.2f}, of which chance alone puts {1e4 * float(effects.chance[0]):.2f}")
    told(f"The squares of q add up to {alone:.2f}, those of the influences to {sum(x**2 for x in u.values()):.2f}")
    told(f"the standard error is {math.sqrt(alone):.2f} points")
    assert 100 * found.error == pytest.approx(math.sqrt(alone), abs=2e-3)
    weights = [float(row[3]) ** 2 for row in rows]
    df = sum(weights) ** 2 / sum(w**2 for w in weights) - 2
    told(f"(sum of w^2)^2 / (sum of w^4) - 2 = {df:.2f}, so {found.df} degrees of freedom")
    assert found.df == math.floor(df)


def test_interval_and_p_value(sides: tuple[FoldCounts, FoldCounts], found: Difference) -> None:
    quantile = stats.t.ppf(0.975, found.df)
    told(f"a t quantile of {quantile:.2f}: {quantile:.2f} * {percent(found.error)} = {percent(quantile * found.error)}")
    told(f"the interval is {percent(found.low)} to +{percent(found.high)}")
    alone = paired_by_episodes([[sides[0]]], [[sides[1]]]).scores["mean"].overall
    told(f"Over episodes alone it would be +{percent(alone.low)} to +{percent(alone.high)}")
    told(f"The difference is {found.value / found.error:.2f} standard errors: p = {found.p:.3f}")
    assert found.p == pytest.approx(2 * stats.t.sf(found.value / found.error, found.df))
    told(f"Over episodes alone p = {alone.p:.3f}")
    told(f"with p-values {found.p:.3f}, 0.010 and 0.040")
    first, second, third = holm([round(found.p, 3), 0.010, 0.040])
    told(f"the corrected ones would be {first:.3f}, {second:.3f} and {third:.3f}")


def test_power_and_seeds(found: Difference) -> None:
    error, lasting = 100 * found.error, 100 * found.lasting
    q = stats.t.ppf(0.975, 2) + stats.t.ppf(0.8, 2)
    assert Detection(df=2).resolvable(error) == pytest.approx(q * error)
    told(f"With 2 degrees of freedom q is {q:.2f}: {q * error:.2f} points can be resolved")
    told(f"Of the squared error {error**2:.2f}, the part {error**2 - lasting**2:.2f} falls")
    told(f"and {lasting**2:.2f} stays: with any number of episodes of these images, {q * lasting:.2f} points")
    exact = 8 * (error**2 - lasting**2) / ((15 / q) ** 2 - lasting**2)
    needed = Detection(df=2).episodes_needed(error, 8, 15, lasting=lasting)
    told(f"takes 8 * 7.43 / ((15 / {q:.2f})^2 - {lasting**2:.2f}) = {exact:.1f}, that is {needed} episodes")
    assert Detection(df=2).episodes_needed(error, 8, 10, lasting=lasting) is None
    told(f"for 10 points no number suffices, but {Detection(df=2).images_needed(error, 3, 10)} images a class")
    told(f"3 * ({q * error:.2f} / 10)^2 = {3 * (q * error / 10) ** 2:.1f}")
    spread = seed_spread([58.58, 56.10, 57.40])
    told(f"scored 58.58, 56.10 and 57.40, their mean would be {spread.mean:.2f} ± {spread.deviation:.2f}")
    assert spread.deviation == pytest.approx(statistics.stdev([58.58, 56.10, 57.40]))
