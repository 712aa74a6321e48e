"""Simulated counts of two methods on the same episodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fsseg_bench.protocol.scoring import binary_iou, mean_iou
from fsseg_bench.protocol.statistics import FoldCounts
from fsseg_bench.protocol.table import EpisodeTable
from tests.support.runs import write_run

Ints = npt.NDArray[np.int64]


def pair(
    seed: int, sizes: Sequence[int] = (40, 60, 25), *, ways: int = 1, gain: float = 0.1, noise: int = 0
) -> tuple[FoldCounts, FoldCounts]:
    """A baseline and another method that turns on average ``gain`` of an episode's misses into hits.

    ``gain`` 0: both sides have the same distribution. ``noise`` gives other counts for the same episodes.
    """
    rng = np.random.RandomState(seed)
    novel = list(range(1, len(sizes) + 1))
    classes = []
    for c, size in zip(novel, sizes, strict=True):
        for _ in range(size):
            others = [o for o in rng.permutation(novel).tolist() if o != c]
            classes.append([c, *others[: ways - 1]])
    rng = np.random.RandomState([seed, noise])
    sides = tuple(np.stack([_cells(rng, row, ways) for row in classes]) for _ in range(2))
    for way in range(1, ways + 1):
        won = (gain * rng.random_sample(len(classes)) * 2 * sides[1][:, way, 0]).astype(np.int64)
        sides[1][:, way, 0] -= won
        sides[1][:, way, way] += won
    first, second = (FoldCounts(cells, np.array(classes), novel) for cells in sides)
    return first, second


def score(fold: FoldCounts, metric: str) -> float:
    """mean-IoU or binary-IoU, of the scoring."""
    return mean_iou(fold.confusion, fold.classes, fold.novel) if metric == "mean" else binary_iou(fold.confusion)


def _cells(rng: np.random.RandomState, row: Sequence[int], ways: int) -> Ints:
    """The confusion matrix of one episode; objects and difficulty depend on the class."""
    cells = rng.randint(1, 400, (ways + 1, ways + 1))
    cells[0, 0] += rng.randint(2000, 9000)
    for way, c in enumerate(row, start=1):
        hits = int(rng.beta(2 + c, 3) * rng.randint(300, 3000))
        cells[way, way] += hits
        cells[way, 0] += rng.randint(100, 1500)
    return np.asarray(cells, np.int64)


def shifted(seed: int, sizes: Sequence[int], *, ways: int = 1) -> tuple[FoldCounts, FoldCounts]:
    """A pair whose p-values are neither tiny nor near 1."""
    return pair(seed, sizes, ways=ways, gain=0.3)


def swap(first: FoldCounts, second: FoldCounts, chosen: npt.NDArray[np.bool_]) -> tuple[FoldCounts, FoldCounts]:
    """The two sides with the ``chosen`` episodes exchanged."""
    a, b = np.asarray(first.confusion), np.asarray(second.confusion)
    here = chosen[:, None, None]
    return (
        FoldCounts(np.where(here, b, a), first.classes, first.novel),
        FoldCounts(np.where(here, a, b), second.classes, second.novel),
    )


def joined(fold: FoldCounts, rows: npt.NDArray[np.intp]) -> FoldCounts:
    """The episodes ``rows``."""
    return FoldCounts(np.asarray(fold.confusion)[rows], np.asarray(fold.classes)[rows], fold.novel)


def write_fold(
    root: Path, fold: FoldCounts, number: int, *, native: FoldCounts | None = None, images: int = 0, **changes: Any
) -> Path:
    """Writes the record of a finished run with the counts of ``fold``; its classes become those of fold ``number``.

    With ``images`` the record knows its episodes: they are drawn from so many images a class.
    """
    shift = 100 * number
    table = episode_table(np.asarray(fold.classes) + shift, images=images, seed=number) if images else None
    episodes = [
        ([int(c) + shift for c in row], np.asarray(cells).ravel().tolist())
        for row, cells in zip(np.asarray(fold.classes), np.asarray(fold.confusion), strict=True)
    ]
    return write_run(
        root,
        episodes,
        native=None if native is None else [np.asarray(c).ravel().tolist() for c in np.asarray(native.confusion)],
        table=table,
        fold=number,
        novel=[c + shift for c in fold.novel],
        class_names={str(c + shift): f"class {c + shift}" for c in fold.novel},
        **(changes if images else {"episode_digest": f"{number:x}" * 64, **changes}),
    )


def write_pair(root: Path, folds: Sequence[int] = (1, 2, 3, 4), **changes: Any) -> list[tuple[FoldCounts, FoldCounts]]:
    """Records of ``baseline`` and ``biopt`` on ``folds``, as by :func:`write_fold`; gives their counts."""
    pairs = [pair(fold, sizes=(12, 9)) for fold in folds]
    for fold, sides in zip(folds, pairs, strict=True):
        for method, side in zip(("baseline", "biopt"), sides, strict=True):
            write_fold(root, side, fold, method=method, **changes)
    return pairs


def episode_table(classes: Sequence[Sequence[int]], *, images: int = 6, shots: int = 1, seed: int = 0) -> EpisodeTable:
    """Episodes of these ways whose query and supports are drawn from ``images`` images a class, without repetition."""
    rng = np.random.RandomState(seed)
    ways = tuple(tuple(int(c) for c in row) for row in classes)
    queries, supports = [], []
    for row in ways:
        drawn = {c: [f"{c}/{i}" for i in rng.permutation(images)[: shots + 1]] for c in row}
        queries.append(drawn[row[0]].pop())
        supports.append(tuple(tuple(drawn[c][:shots]) for c in row))
    return EpisodeTable(ways, tuple(queries), tuple(supports))
