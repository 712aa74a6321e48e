"""Simulated folds whose episodes share images, with the score that new images would have.

Each class has n images with a random size, a random difficulty as a query and a random quality as a support; an episode
is a query, K supports and noise. All are normal on the logit of the episode's IoU, so the score over infinitely many
images and episodes is known. Everything is drawn at once with numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fsseg_bench.protocol.images import EpisodeImages
from fsseg_bench.protocol.statistics import FoldCounts

PIXELS = 50_000
_BASES = (-0.5, 0.0, 0.4, 0.8, 1.2)
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(60)


@dataclass(frozen=True)
class World:
    """Where folds are drawn from."""

    classes: int = 5
    images: int = 40
    """Of each class."""
    episodes: int = 200
    """Of each class."""
    shots: int = 1
    query: float = 1.0
    """Standard deviation of the difficulty as a query."""
    support: float = 0.5
    """Of the quality as a support."""
    roles: float = 0.0
    """Correlation of the two in one image."""
    noise: float = 0.5
    """Of an episode."""
    size: float = 0.7
    """Of the logarithm of an object's size."""
    large_is_easy: float = 0.3
    """Correlation of size and difficulty."""
    gains: tuple[float, ...] = (0.0,)
    """On the logit, of each method."""
    gain_varies: float = 0.0
    """Standard deviation of each method's gain over query images and over support images; half of it over episodes."""

    def truth(self, method: int = 0) -> float:
        """The mean-IoU over new images."""
        own = self.gain_varies**2
        spread = self.query**2 + self.noise**2 + own * 1.25 + (self.support**2 + own) / self.shots
        shift = self.gains[method] + self.large_is_easy * self.size * self.query  # larger objects weigh more
        ious = [
            np.average(_iou(base + shift + np.sqrt(spread) * _NODES), weights=_WEIGHTS)
            for base in np.resize(_BASES, self.classes)
        ]
        return float(np.mean(ious))

    def draw(self, rng: np.random.Generator) -> tuple[FoldCounts, ...]:
        """The fold as each method is counted on it, over the same episodes."""
        c, n, e, k = self.classes, self.images, self.episodes, self.shots
        z = rng.standard_normal((3, c, n))
        size = np.exp(self.size * z[0])
        hard = self.query * (self.large_is_easy * z[0] + np.sqrt(1 - self.large_is_easy**2) * z[1])
        good = self.support * (self.roles * z[1] + np.sqrt(1 - self.roles**2) * z[2])
        queries = rng.integers(0, n, (c, e))
        keys = rng.random((c, e, n))
        np.put_along_axis(keys, queries[..., None], 2.0, axis=-1)  # never among the smallest
        supports = np.argpartition(keys, k - 1, axis=-1)[..., :k]
        own = np.arange(c)[:, None]
        base = np.resize(_BASES, c)[:, None] + self.noise * rng.standard_normal((c, e))
        logit = base + hard[own, queries] + good[own[..., None], supports].mean(axis=-1)
        union = np.round(1000 * size[own, queries]).astype(np.int64)
        labels = np.repeat(np.arange(1, c + 1), e)[:, None]
        offset = n * np.arange(c)[:, None]
        images = EpisodeImages(
            tuple(f"image {i}" for i in range(c * n)),
            labels,
            (queries + offset).ravel(),
            (supports + offset[..., None]).reshape(c * e, 1, k),
        )
        folds = []
        for gain in self.gains:
            mine = self.gain_varies * rng.standard_normal((2, c, n))
            extra = mine[0][own, queries] + mine[1][own[..., None], supports].mean(axis=-1)
            extra = extra + gain + self.gain_varies / 2 * rng.standard_normal((c, e))
            folds.append(_fold(np.round(union * _iou(logit + extra)).astype(np.int64), union, labels, images))
        return tuple(folds)


def _iou(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))


def _fold(hits: np.ndarray, union: np.ndarray, labels: np.ndarray, images: EpisodeImages) -> FoldCounts:
    """Every wrong pixel is a missed one."""
    hits, union = hits.ravel(), union.ravel()
    cells = np.zeros((len(hits), 2, 2), np.int64)
    cells[:, 1, 1], cells[:, 1, 0], cells[:, 0, 0] = hits, union - hits, PIXELS
    return FoldCounts(cells, labels, sorted(set(labels.ravel().tolist())), images)
