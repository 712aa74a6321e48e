"""The episodes that HSNet's family draws: its loaders' calls of numpy's global generator, one for one.

HSNet, and what descends from its loaders (VAT, PATNet, Matcher, GF-SAM, SCCNet, INSID3, ...), seed numpy's global
generator right before the test loop and draw by ``np.random.choice(pool, 1, replace=False)[0]``: the first element of a
whole permutation of the pool. How far the generator moves depends on the pool's length, so that one image more or less
changes all later episodes. An episode draws its class (where none is given), its query (where none is given) and its
supports, of which the query is thrown away and drawn again; one support may come twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle

import numpy as np

Row = tuple[int, str, tuple[str, ...]]
"""Class, query and supports of an episode."""


def draw(rng: np.random.RandomState, count: int) -> int:
    """A position among ``count``, as ``np.random.choice(count, 1, replace=False)[0]`` draws it.

    Example:
        >>> rng = np.random.RandomState(0)
        >>> [draw(rng, 10) + 1 for _ in range(6)]
        [3, 4, 3, 7, 6, 2]
    """
    return int(rng.permutation(count)[0])


def by_number(images: Sequence[str]) -> list[str]:
    """Images by id as text; where all names within the class's folder are whole numbers, by these.

    FSS-1000's loader walks sorted files (1, 10, 2, ...) and draws supports from ``range(1, 11)``.
    """
    names = [image.rpartition("/")[2] for image in images]
    if all(name.isascii() and name.isdigit() for name in names):
        return sorted(images, key=lambda image: (int(image.rpartition("/")[2]), image))
    return sorted(images)


def draw_pairs(
    rng: np.random.RandomState, classes: Sequence[int], pools: Mapping[int, Sequence[str]], *, in_turn: bool
) -> Iterator[tuple[int, str]]:
    """A class, drawn or (``in_turn``) the next one, and a query of it, without end (COCO's loader; LVIS', PATNet's)."""
    turns = cycle(classes)
    while True:
        c = next(turns) if in_turn else classes[draw(rng, len(classes))]
        yield c, pools[c][draw(rng, len(pools[c]))]


def episodes(
    rng: np.random.RandomState, pairs: Iterator[tuple[int, str]], pools: Mapping[int, Sequence[str]], shot: int
) -> Iterator[Row]:
    """The pairs (class, query) with K supports each.

    Args:
        rng: numpy's legacy generator, ``RandomState(seed)`` at the first episode.
        pairs: given ones (loaders of PASCAL, FSS-1000, iSAID), or those of :func:`draw_pairs` from the same ``rng``.
        pools: class to at least two images, in the order of the loader.
        shot: K.
    """
    for c, query in pairs:
        supports: list[str] = []
        while len(supports) < shot:
            image = pools[c][draw(rng, len(pools[c]))]
            if image != query:
                supports.append(image)
        yield c, query, tuple(supports)
