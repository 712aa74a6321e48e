"""Draws the test episodes of a fold before any model exists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice

import numpy as np

from fsseg_bench.errors import UserError
from fsseg_bench.protocol import hsnet
from fsseg_bench.protocol.episode_spec import MOST_EPISODES
from fsseg_bench.protocol.pools import Pool
from fsseg_bench.protocol.queries import (
    Barred,
    Pair,
    by_image,
    cycled_queries,
    drawn_queries,
    each_image,
    each_pair,
    listed_pairs,
)
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.streams import stream
from fsseg_bench.protocol.table import NO_COPIES, Copies, Crops, EpisodeTable

__all__ = ["EpisodeTable", "sample_episodes"]

_MOST_NAMED = 5
_Row = tuple[tuple[int, ...], str, tuple[tuple[str, ...], ...]]


def sample_episodes(
    protocol: Protocol,
    fold: int,
    pairs: Mapping[int, Sequence[str]],
    way: int,
    shot: int,
    copies: Copies = NO_COPIES,
    order: Sequence[Pair] = (),
) -> EpisodeTable:
    """The protocol's episodes of one fold.

    With ``episodes.class_sampling`` "uniform", an episode's classes are drawn uniformly without repetition from the
    fold's held-out classes, the query uniformly from the first class's images, then each way's supports uniformly from
    its images that are not in the episode yet. A photo that a class has under several ids is drawn under the first of
    them, and never twice in an episode, whatever its ids; of crops, a photo is drawn first, then one of its crops that
    show the class. With ``episodes.support_replacement``, each support is drawn uniformly from all images of its class
    but the query, whatever was drawn before; the stream is the same and as many numbers are taken from it, so that
    classes and queries are those of the table without. The draws depend on the protocol's seed, the fold, N, K and the
    images alone; a table of fewer episodes is the beginning of a longer one.

    Several runs (``episodes.runs``, or a list of seeds) are one table, run by run: each is the table that its seed
    alone gives, and has the protocol's number of episodes.

    With "cycle" the fold's classes come in turn, as the protocol names them; with "each-pair" the query is each pair
    (class, image) in turn, with "each-image" each image that shows a class of the fold, with one of these drawn. When
    all were, they come again. With ``episodes.support_sampling`` "first" the supports of a class are always its first
    images by id, which are no queries of it. With ``episodes.sampler`` "hsnet" all this is drawn as
    :mod:`fsseg_bench.protocol.hsnet` says, from images in the order of the list files, or without these by id (whole
    numbers as numbers); copies are not looked at.

    Args:
        protocol: gives the held-out classes, the number of episodes and the seed.
        fold: one of the protocol's.
        pairs: class id to ids of the test images that show enough of the class, in any order.
        way: N, classes an episode.
        shot: K, supports a class.
        copies: images that are the same photo.
        order: the pairs in the order of list files, for "each-pair" and "each-image"; without it pairs come by class,
            as the protocol names them, and by image id as text, images by id.

    Raises:
        UserError: no such fold, N or K out of range, several ways where the protocol has one, a class with too few
            images, or a class that is no episode's first (the message says how many episodes would reach all).
    """
    protocol.check_fold(fold)
    protocol.check_episodes()
    novel = protocol.novel_classes(fold)
    if not 1 <= way <= len(novel):
        raise UserError(f"--way {way}: fold {fold} of {protocol.label} allows 1 to {len(novel)}")
    if way > 1 and (key := protocol.episodes.one_way):
        raise UserError(f"--way {way}: {protocol.label} has {key}, which makes episodes of 1 way; give --way 1")
    if shot < 1:
        raise UserError(f"--shot {shot}: at least 1 support a class is needed")
    if protocol.episodes.sampler == "hsnet":
        if isinstance(copies, Crops):
            raise UserError(
                f'{protocol.label}: episodes.sampler "hsnet" draws whole images, and data.crop makes several of one; '
                'use episodes.sampler = "own"'
            )
        copies = NO_COPIES  # its loaders know names alone, and every draw depends on how many there are
    pools = {c: Pool(pairs.get(c, ()), copies) for c in novel}
    _check_pools(protocol, pools, shot)
    rows: list[_Row] = []
    for seed in protocol.episodes.seeds:
        drawn = (_hsnet if protocol.episodes.sampler == "hsnet" else _own)(
            protocol, fold, seed, pools, way, shot, order
        )
        rows += _run(protocol, fold, *drawn)
    return EpisodeTable(*zip(*rows, strict=True))


def _run(protocol: Protocol, fold: int, draws: Iterator[_Row], count: int) -> list[_Row]:
    """The episodes of one run, which have all classes."""
    if count * len(protocol.episodes.seeds) > MOST_EPISODES:
        raise UserError(f"{protocol.label}: fold {fold} has {count:,} queries; at most {MOST_EPISODES:,} can be drawn")
    rows = list(islice(draws, count))
    if missing := set(protocol.novel_classes(fold)) - {classes[0] for classes, _, _ in rows}:
        raise _uncovered(protocol, fold, len(rows), missing, draws)
    return rows


def _own(
    protocol: Protocol, fold: int, seed: int, pools: Mapping[int, Pool], way: int, shot: int, order: Sequence[Pair]
) -> tuple[Iterator[_Row], int]:
    """The episodes of our own stream, without end, and how many the protocol wants."""
    rng = stream("episodes", seed, fold, way, shot)
    first = protocol.episodes.support_sampling == "first"
    barred = {c: pool.first(shot) for c, pool in pools.items()} if first else {}
    queries, count = _queries(rng, protocol, fold, pools, way, order, barred)
    return _draws(rng, protocol, pools, queries, shot), count


def _hsnet(
    protocol: Protocol, fold: int, seed: int, pools: Mapping[int, Pool], _way: int, shot: int, order: Sequence[Pair]
) -> tuple[Iterator[_Row], int]:
    """The same of HSNet's stream."""
    sampling, count = protocol.episodes.class_sampling, protocol.episodes.count_of(fold)
    rng = np.random.RandomState(seed)
    listed: dict[int, list[str]] = {}
    for c, image in order:
        listed.setdefault(c, []).append(image)
    images = {c: listed.get(c) or hsnet.by_number(pool.images) for c, pool in pools.items()}
    if sampling == "each-pair":
        pairs = listed_pairs(protocol, fold, pools, order, {})
        queries: Iterator[Pair] = cycle(pairs)
        count = count or len(pairs)
    else:
        queries = hsnet.draw_pairs(rng, protocol.fold_classes(fold), images, in_turn=sampling == "cycle")
    found = hsnet.episodes(rng, queries, images, shot)
    return (((c,), query, (supports,)) for c, query, supports in found), count


def _queries(
    rng: np.random.RandomState,
    protocol: Protocol,
    fold: int,
    pools: Mapping[int, Pool],
    way: int,
    order: Sequence[Pair],
    barred: Barred,
) -> tuple[Iterator[tuple[tuple[int, ...], str]], int]:
    """Classes and query of each episode without end; and how many the protocol wants."""
    count, sampling = protocol.episodes.count_of(fold), protocol.episodes.class_sampling
    if sampling == "uniform":
        return drawn_queries(rng, sorted(pools), pools, way, barred), count
    if sampling == "cycle":
        return cycled_queries(rng, protocol.fold_classes(fold), pools, barred), count
    pairs = listed_pairs(protocol, fold, pools, order, barred)
    if sampling == "each-pair":
        return each_pair(pairs), count or len(pairs)
    images = by_image(protocol, fold, pairs, listed=bool(order))
    return each_image(rng, images), count or len(images)


def _draws(
    rng: np.random.RandomState,
    protocol: Protocol,
    pools: Mapping[int, Pool],
    queries: Iterator[tuple[tuple[int, ...], str]],
    shot: int,
) -> Iterator[_Row]:
    """The episodes of ``queries`` with their supports, each from where the last one left the stream."""
    fixed = protocol.episodes.support_sampling == "first"
    replacement = protocol.episodes.support_replacement
    for classes, query in queries:
        used = [query]
        supports = []
        for c in classes:
            images = len(pools[c].photos)
            if fixed:
                supports.append(pools[c].first(shot))
                continue
            if images - len(pools[c].taken(used)) < (1 if replacement else shot):
                raise UserError(
                    f"{len(classes)}-way {shot}-shot: the {images} test images of class {protocol.class_name(c)!r} of "
                    f"{protocol.label} are too few, because other classes of an episode use some of them; "
                    "lower --way or --shot, or add images"
                )
            supports.append(pools[c].draw(rng, shot, used, replacement=replacement))
            if not replacement:  # else only the query is barred
                used.extend(supports[-1])
        yield classes, query, tuple(supports)


def _check_pools(protocol: Protocol, pools: Mapping[int, Pool], shot: int) -> None:
    needed = 2 if protocol.episodes.support_replacement else shot + 1
    short = {protocol.class_name(c): len(p.photos) for c, p in pools.items() if len(p.photos) < needed}
    if short:
        found = ", ".join(f"{name!r} has {count}" for name, count in short.items())
        data = protocol.data
        raise UserError(
            f"{protocol.label}: {shot}-shot episodes need {needed} test images of each held-out class, but "
            f"{found} (counted are images of {', '.join(data.test_list)} with at least "
            f"{data.min_object_pixels} pixels of the class); lower --shot or data.min_object_pixels, "
            "or add images"
        )


def _uncovered(protocol: Protocol, fold: int, count: int, missing: set[int], draws: Iterator[_Row]) -> UserError:
    """The error for classes that no episode has as its first; draws on until all are reached."""
    names = ", ".join(protocol.class_name(c) for c in sorted(missing)[:_MOST_NAMED])
    if len(missing) > _MOST_NAMED:
        names += f" and {len(missing) - _MOST_NAMED} more"
    needed, left = count, set(missing)
    while left:
        left.discard(next(draws)[0][0])
        needed += 1
    return UserError(
        f"{protocol.label}, fold {fold}: {count} episodes leave held-out classes without one ({names}), and "
        f"a class without an episode has no score; {needed} episodes reach every class (--episodes {needed})"
    )
