"""How often 95 % intervals hold the score, or the difference, that new images would have; the simulation is seeded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fsseg_bench.protocol.intervals import Score, bootstrap_intervals, image_estimates
from fsseg_bench.protocol.paired import paired_by_images
from fsseg_bench.protocol.statistics import FoldCounts
from tests.support.crossed import World

pytestmark = pytest.mark.slow

REPEATS = 250
LEAST = {15: 0.82, 40: 0.88, 100: 0.88, 400: 0.88}
MOST = 0.98
EVERY = [(images, shots) for images in LEAST for shots in (1, 5)]


@pytest.mark.parametrize(("images", "shots"), EVERY)
@pytest.mark.parametrize("world", [World(), World(support=1.0, roles=0.6)], ids=["plain", "strong supports"])
def test_scores(images: int, shots: int, world: World) -> None:
    """In the second world good queries are good supports, and the latter matter as much as the former."""
    world = replace(world, images=images, shots=shots)
    rng, truth = np.random.default_rng([images, shots]), world.truth()
    found = image_estimates([Score(world.draw(rng), "mean") for _ in range(REPEATS)])
    held = np.mean([abs(each.value - truth) <= each.half_width() for each in found])
    assert LEAST[images] <= held <= MOST


@pytest.mark.parametrize(("images", "shots"), EVERY)
def test_differences_and_false_alarms(images: int, shots: int) -> None:
    for gain in (0.0, 0.3):
        world = World(images=images, shots=shots, gains=(0.0, gain), gain_varies=0.4)
        rng, truth = np.random.default_rng([images, shots, 1]), world.truth(1) - world.truth(0)
        found = []
        for _ in range(REPEATS):
            baseline, other = world.draw(rng)
            found.append(paired_by_images([[baseline]], [[other]]).scores["mean"].overall)
        held = np.mean([each.low <= truth <= each.high for each in found])
        assert LEAST[images] <= held <= MOST
        rejected = np.mean([each.p <= 0.05 for each in found])
        assert rejected <= 0.08 if gain == 0 else rejected > 0.5


@pytest.mark.parametrize(("images", "most"), [(15, 0.55), (40, 0.75)])
def test_intervals_over_episodes_alone_do_not(images: int, most: float) -> None:
    """Why they are not the default."""
    world = World(images=images)
    rng, truth, held = np.random.default_rng(images), world.truth(), 0
    for i in range(100):
        (interval,) = bootstrap_intervals([Score(world.draw(rng), "mean")], resamples=300, seed=i)
        held += interval.low <= truth <= interval.high
    assert held / 100 <= most


def test_many_folds() -> None:
    """The mean of four folds, each of its own images."""
    world = World(classes=3, images=40, episodes=100)
    rng, truth = np.random.default_rng(4), world.truth()
    found = []
    for _ in range(150):
        folds = [replace_names(fold, i) for i in range(4) for fold in world.draw(rng)]
        found += image_estimates([Score(folds, "mean")])
    assert 0.88 <= np.mean([abs(each.value - truth) <= each.half_width() for each in found]) <= MOST


def replace_names(fold: FoldCounts, number: int) -> FoldCounts:
    images = replace(fold.images, names=tuple(f"{number}: {name}" for name in fold.images.names))
    return replace(fold, images=images)
