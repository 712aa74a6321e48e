"""The classes and the query of each episode: drawn, or in an order that the protocol gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle

import numpy as np

from fsseg_bench.protocol.pools import Pool
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.streams import below, distinct

Pair = tuple[int, str]
"""A class and an image that shows it."""
Barred = Mapping[int, Sequence[str]]
"""Class to images that are no queries of it."""


def drawn_queries(
    rng: np.random.RandomState, novel: Sequence[int], pools: Mapping[int, Pool], way: int, barred: Barred
) -> Iterator[tuple[tuple[int, ...], str]]:
    """N classes, uniformly from ``novel`` without repetition, and a query, uniformly from the first one's images."""
    while True:
        classes = tuple(novel[i] for i in distinct(rng, len(novel), way))
        (query,) = pools[classes[0]].draw(rng, 1, barred.get(classes[0], ()))
        yield classes, query


def cycled_queries(
    rng: np.random.RandomState, own: Sequence[int], pools: Mapping[int, Pool], barred: Barred
) -> Iterator[tuple[tuple[int, ...], str]]:
    """The classes in turn, each with a query drawn uniformly from its images."""
    for c in cycle(own):
        (query,) = pools[c].draw(rng, 1, barred.get(c, ()))
        yield (c,), query


def listed_pairs(
    protocol: Protocol, fold: int, pools: Mapping[int, Pool], order: Sequence[Pair], barred: Barred
) -> list[Pair]:
    """All pairs that are queries: in the given ``order``, or if there is none by the class's place in the fold and the
    image's id as text. Of a photo with several ids the pair of the first one is there."""
    own = {c: pool.without(barred.get(c, ())) for c, pool in pools.items()}
    every = order or [(c, image) for c in protocol.fold_classes(fold) for image in pools[c].images]
    return [(c, image) for c, image in every if image in own[c]]


def by_image(protocol: Protocol, fold: int, pairs: Sequence[Pair], *, listed: bool) -> list[tuple[str, list[int]]]:
    """Each image of ``pairs`` with its classes as the fold names them; images ``listed`` as their first pairs are, else
    by id as text."""
    place = {c: i for i, c in enumerate(protocol.fold_classes(fold))}
    shown: dict[str, list[int]] = {}
    for c, image in pairs:
        shown.setdefault(image, []).append(c)
    order = shown if listed else sorted(shown)
    return [(image, sorted(shown[image], key=place.__getitem__)) for image in order]


def each_pair(pairs: Sequence[Pair]) -> Iterator[tuple[tuple[int, ...], str]]:
    """Each pair in turn, again and again."""
    for c, image in cycle(pairs):
        yield (c,), image


def each_image(
    rng: np.random.RandomState, images: Sequence[tuple[str, list[int]]]
) -> Iterator[tuple[tuple[int, ...], str]]:
    """Each image in turn, again and again, with a class drawn uniformly from those that it shows.

    A number is drawn for an image of one class, too, so that the stream depends on the number of episodes alone.
    """
    for image, classes in cycle(images):
        yield (classes[below(rng, len(classes))],), image
