"""Which images the episodes of a fold share, as numbers: what statistics over images need of an episode table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fsseg_bench.conventions import Float64, Int64
from fsseg_bench.protocol.table import EpisodeTable

_FEW = 30
_SHOWN = 6


@dataclass(frozen=True, eq=False)
class EpisodeImages:
    """The images of E episodes of N ways and K shots."""

    names: tuple[str, ...]
    """The image ids, each once."""
    classes: Int64
    """(E, N) label values; the first way is the query's class."""
    queries: Int64
    """(E,) positions in ``names``."""
    supports: Int64
    """(E, N, K) positions in ``names``."""

    @classmethod
    def of(cls, table: EpisodeTable) -> EpisodeImages:
        """Those of a table."""
        rows = [table.images(i) for i in range(len(table))]
        names = tuple(dict.fromkeys(image for row in rows for image in row))
        number = {name: i for i, name in enumerate(names)}
        numbers = np.array([[number[image] for image in row] for row in rows], np.int64)
        shape = (len(table), table.ways, table.shots)
        return cls(names, np.array(table.classes, np.int64), numbers[:, 0], numbers[:, 1:].reshape(shape))

    def some(self, episodes: npt.ArrayLike) -> EpisodeImages:
        """Those of some episodes, by their numbers."""
        numbers = np.asarray(episodes, np.intp)
        return EpisodeImages(self.names, self.classes[numbers], self.queries[numbers], self.supports[numbers])

    @cached_property
    def numbers(self) -> Numbers:
        """How many images and different episodes there are."""
        queries, supports = np.unique(self.queries), np.unique(self.supports)
        rows = np.concatenate(
            [self.classes, self.queries[:, None], self.supports.reshape(len(self.queries), -1)], axis=1
        )
        return Numbers(
            len(queries), len(supports), len(np.union1d(queries, supports)), len(np.unique(rows, axis=0)), len(rows)
        )

    @cached_property
    def of_class(self) -> dict[int, int]:
        """How many images show each class, by label value, as its queries or its supports."""
        ways = self.classes.shape[1]
        queries = np.stack([self.classes[:, 0], self.queries], axis=1)
        supports = [
            np.stack(np.broadcast_arrays(self.classes[:, w, None], self.supports[:, w]), axis=-1).reshape(-1, 2)
            for w in range(ways)
        ]
        pairs = np.unique(np.concatenate([queries, *supports]), axis=0)
        labels, counts = np.unique(pairs[:, 0], return_counts=True)
        return dict(zip(labels.tolist(), counts.tolist(), strict=True))

    @cached_property
    def sharing(self) -> Sharing:
        """Which episodes share an image."""
        return Sharing(self.classes, self.queries, self.supports)


class Numbers(NamedTuple):
    """How much there is to learn from."""

    queries: int
    """Different query images."""
    supports: int
    """Different support images."""
    images: int
    """Different images; most are queries in some episodes and supports in others."""
    different: int
    """Different episodes."""
    episodes: int
    """Episodes, repetitions included."""


class Sharing:
    """Groups of episodes that share an image in one role; all sums of the two-way variance run over these groups.

    A *query group* holds the episodes of one query image and one stratum, the class of the query. A *support group*
    holds the episodes that have one image among the supports of one class.
    """

    def __init__(self, classes: Int64, queries: Int64, supports: Int64) -> None:
        episodes, ways = classes.shape
        labels, ways_of = np.unique(classes, return_inverse=True)
        ways_of = ways_of.reshape(episodes, ways)
        self.classes = len(labels)
        """How many there are."""
        self.strata = ways_of[:, 0]
        """(E,) the stratum of each episode, 0..C-1."""
        self.way_classes, self.way_episodes = ways_of.ravel(), np.repeat(np.arange(episodes), ways)
        """(E N,) class and episode of each way."""

        groups, self.query_group = np.unique(queries * self.classes + self.strata, return_inverse=True)
        self.query_image, self.query_stratum = np.divmod(groups, self.classes)
        """(Q,) of each query group; ``query_group`` (E,) is the group of each episode."""
        self.images_of_stratum = np.bincount(self.query_stratum, minlength=self.classes)
        """(C,) different query images."""

        members = supports * self.classes + ways_of[:, :, None]
        numbers = np.arange(episodes)[:, None, None]
        # A support that is in an episode twice counts once: the question is whether the episode depends on the image.
        pairs = np.unique(np.stack(np.broadcast_arrays(members, numbers), axis=-1).reshape(-1, 2), axis=0)
        groups, self.support_group = np.unique(pairs[:, 0], return_inverse=True)
        self.support_episode = pairs[:, 1]
        """(P,) episode, and ``support_group`` the group, of each pair of an episode and one of its supports."""
        self.support_image, self.support_class = np.divmod(groups, self.classes)
        """(S,) of each support group."""
        self.supports_of_class = np.bincount(self.support_class, minlength=self.classes)
        """(C,) different support images."""

        # The query as a support of each way's class: a group where it is a support of that class in other episodes.
        wanted = np.repeat(queries, ways) * self.classes + self.way_classes
        position = np.minimum(np.searchsorted(groups, wanted), len(groups) - 1)  # searchsorted may point past the end
        found = groups[position] == wanted
        self.barred_group, self.barred_episode = position[found], self.way_episodes[found]
        """(B,) group and episode of each pair where the group's image is the query, so that it cannot be a support."""
        possible = np.bincount(self.way_classes, minlength=self.classes)[self.support_class]
        possible = possible - np.bincount(self.barred_group, minlength=len(groups))
        self.share: Float64 = np.bincount(self.support_group) / possible
        """(S,) in how many of the episodes where a group's image could be a support it is one; in (0, 1]."""


def few_images(images: EpisodeImages, names: Mapping[int, str]) -> list[str]:
    """What to say of episodes that repeat one another, or whose classes (``names`` by label value) have few images."""
    numbers, said = images.numbers, []
    if numbers.different < numbers.episodes:
        said.append(f"only {numbers.different:,} of {numbers.episodes:,} episodes are different")
    few = {c: count for c, count in images.of_class.items() if count < _FEW}
    if few:
        listing = ", ".join(f"{names.get(c, c)} {count}" for c, count in sorted(few.items())[:_SHOWN])
        more = f" and {len(few) - _SHOWN} more" if len(few) > _SHOWN else ""
        said.append(
            f"under {_FEW} test images of a class ({listing}{more}): intervals are somewhat narrow with so few images"
        )
    return said


def few_in_folds(folds: Mapping[str, EpisodeImages]) -> list[str]:
    """What :func:`few_images` says, as one sentence for several folds, by what each is called."""
    numbers = {name: images.numbers for name, images in folds.items()}
    again = [f"{n.different:,} of {n.episodes:,} ({name})" for name, n in numbers.items() if n.different < n.episodes]
    few = []
    for name, images in folds.items():
        if own := sorted(count for count in images.of_class.values() if count < _FEW):
            counts = f"{own[0]} to {own[-1]}" if own[0] < own[-1] else str(own[0])
            few.append(f"{len(own)} classes of {name} ({counts})" if len(own) > 1 else f"1 class of {name} ({counts})")
    said = [f"Not all episodes are different: {', '.join(again)}."] if again else []
    if few:
        said.append(f"Intervals are somewhat narrow with under {_FEW} test images of a class, as in {', '.join(few)}.")
    return said


@lru_cache(maxsize=256)
def common_numbers(folds: tuple[EpisodeImages, ...]) -> tuple[int, tuple[npt.NDArray[np.intp], ...]]:
    """How many different images several folds have, and for each fold the number of each of its ``names``.

    Folds share images: one that shows classes of two folds is in both.
    """
    if len(folds) == 1:
        return len(folds[0].names), (np.arange(len(folds[0].names)),)
    number: dict[str, int] = {}
    for fold in folds:
        for name in fold.names:
            number.setdefault(name, len(number))
    return len(number), tuple(np.array([number[name] for name in fold.names], np.intp) for fold in folds)


def sums(groups: npt.NDArray[np.intp], values: Float64, count: int) -> Float64:
    """(count, T): ``values`` (n, T) summed by ``groups`` (n,)."""
    width = values.shape[1]
    if width == 1:
        return np.bincount(groups, values[:, 0], count).astype(np.float64)[:, None]
    cells = (groups[:, None] * width + np.arange(width)).ravel()  # all in one go; each cell adds in the same order
    return np.bincount(cells, values.ravel(), count * width).astype(np.float64).reshape(count, width)
