"""Draws the test episodes of a fold before any model exists, and checks those that a file brings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.streams import below, distinct, stream
from fsseg_bench.protocol.table import NO_COPIES, Copies, EpisodeTable, once

__all__ = ["EpisodeTable", "check_episodes", "sample_episodes"]

_Row = tuple[tuple[int, ...], str, tuple[tuple[str, ...], ...]]


def sample_episodes(
    protocol: Protocol,
    fold: int,
    pairs: Mapping[int, Sequence[str]],
    way: int,
    shot: int,
    copies: Copies = NO_COPIES,
) -> EpisodeTable:
    """The protocol's episodes of one fold.

    An episode's classes are drawn uniformly without repetition from the fold's held-out classes, the query
    uniformly from the first class's images, then each way's supports uniformly from its images that are not
    in the episode yet. A photo that a class has under several ids is drawn under the first of them, and never twice
    in an episode, whatever its ids. With ``episodes.support_replacement``, each support is drawn uniformly from all
    images of its class but the query, whatever was drawn before; the stream is the same and as many numbers are taken
    from it, so that classes and queries are those of the table without. The draws depend on the protocol's seed, the
    fold, N, K and the images alone; a table of fewer episodes is the beginning of a longer one.

    Args:
        protocol: gives the held-out classes, the number of episodes and the seed.
        fold: one of the protocol's.
        pairs: class id to ids of the test images that show enough of the class, in any order.
        way: N, classes an episode.
        shot: K, supports a class.
        copies: images that are the same photo.

    Raises:
        UserError: no such fold, N or K out of range, a class with too few images, or a class that is no
            episode's first (the message says how many episodes would reach all).
    """
    protocol.check_fold(fold)
    novel = protocol.novel_classes(fold)
    if not 1 <= way <= len(novel):
        raise UserError(f"--way {way}: fold {fold} of {protocol.label} allows 1 to {len(novel)}")
    if shot < 1:
        raise UserError(f"--shot {shot}: at least 1 support a class is needed")
    pools = {c: _Pool(pairs.get(c, ()), copies) for c in novel}
    _check_pools(protocol, pools, shot)
    draws = _draws(stream("episodes", protocol.episodes.seed, fold, way, shot), protocol, pools, way, shot)
    rows = list(islice(draws, protocol.episodes.count))
    missing = set(novel) - {classes[0] for classes, _, _ in rows}
    if missing:
        raise _uncovered(protocol, fold, len(rows), missing, draws)
    classes, queries, supports = zip(*rows, strict=True)
    return EpisodeTable(classes, queries, supports)


def check_episodes(
    table: EpisodeTable,
    pairs: Mapping[int, Sequence[str]],
    novel: Sequence[int],
    way: int,
    shot: int,
    where: str | Path,
    *,
    support_replacement: bool = False,
    lines: Sequence[int] | None = None,
    copies: Copies = NO_COPIES,
) -> None:
    """Compares a table that was read from a file with the data it is to be used on.

    Args:
        table: the episodes, as :meth:`EpisodeTable.from_csv` gives them.
        pairs: class id to ids of the test images that show enough of the class.
        novel: the fold's held-out classes.
        way: N of the run.
        shot: K of the run.
        where: the file, for the messages.
        support_replacement: whether an image may be a support several times, as in the protocol.
        lines: the episodes' lines in the file, from 1; None: the table's own form, whose first row is line 2.
        copies: images that are the same photo.

    Raises:
        UserError: another N or K, a class that is not held out or twice in an episode, an image that the
            index does not have for its class, a query among its supports, repeated supports unless they may be, a
            held-out class that is no episode's first. Names the file and the line.
    """
    if (table.ways, table.shots) != (way, shot):
        raise UserError(
            f"{where}: the episodes are {table.ways}-way {table.shots}-shot, "
            f"the run is {way}-way {shot}-shot; change --way and --shot, or use another file"
        )
    known = {c: frozenset(pairs.get(c, ())) for c in novel}
    for i in range(len(table)):
        line = f"{where}: line {i + 2 if lines is None else lines[i]}"
        _check_row(table, i, known, support_replacement, copies, line)
    missing = set(novel) - {classes[0] for classes in table.classes}
    if missing:
        raise UserError(
            f"{where}: no episode has one of the held-out classes {_listing(missing)} as its class_1, and a "
            "class without an episode has no score; add episodes of them"
        )


class _Pool:
    """The images of one class in canonical order, each photo once."""

    def __init__(self, images: Iterable[str], copies: Copies) -> None:
        photos = once(images, copies)
        self.images = list(photos.values())  # a draw is a position: the index may list the images in any order
        self._position = {photo: i for i, photo in enumerate(photos)}
        self._copies = copies

    def taken(self, used: Iterable[str]) -> list[int]:
        """The positions of the images whose photo is in ``used``, ascending."""
        photos = (self._copies.get(image, image) for image in used)
        return sorted(self._position[photo] for photo in photos if photo in self._position)

    def draw(
        self, rng: np.random.RandomState, count: int, used: Sequence[str], *, replacement: bool = False
    ) -> tuple[str, ...]:
        """``count`` images that are not in ``used``, uniformly: different ones, or each drawn from all of them."""
        taken = self.taken(used)
        free = len(self.images) - len(taken)
        drawn = [below(rng, free) for _ in range(count)] if replacement else distinct(rng, free, count)
        return tuple(self.images[_skip(i, taken)] for i in drawn)


def _skip(i: int, taken: Sequence[int]) -> int:
    """The ``i``-th position, from 0, among those that are not in the ascending ``taken``."""
    for position in taken:
        if i >= position:
            i += 1
    return i


def _draws(
    rng: np.random.RandomState, protocol: Protocol, pools: Mapping[int, _Pool], way: int, shot: int
) -> Iterator[_Row]:
    """Episodes without end, each from where the last one left the stream."""
    novel = sorted(pools)
    replacement = protocol.episodes.support_replacement
    while True:
        classes = tuple(novel[i] for i in distinct(rng, len(novel), way))
        (query,) = pools[classes[0]].draw(rng, 1, ())
        used = [query]
        supports = []
        for c in classes:
            images = len(pools[c].images)
            if images - len(pools[c].taken(used)) < (1 if replacement else shot):
                raise UserError(
                    f"{way}-way {shot}-shot: the {images} test images of class {protocol.class_name(c)!r} of "
                    f"{protocol.label} are too few, because other classes of an episode use some of them; "
                    "lower --way or --shot, or add images"
                )
            supports.append(pools[c].draw(rng, shot, used, replacement=replacement))
            if not replacement:  # else only the query is barred
                used.extend(supports[-1])
        yield classes, query, tuple(supports)


def _check_pools(protocol: Protocol, pools: Mapping[int, _Pool], shot: int) -> None:
    needed = 2 if protocol.episodes.support_replacement else shot + 1
    short = {protocol.class_name(c): len(p.images) for c, p in pools.items() if len(p.images) < needed}
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
    names = ", ".join(protocol.class_name(c) for c in sorted(missing))
    needed, left = count, set(missing)
    while left:
        left.discard(next(draws)[0][0])
        needed += 1
    return UserError(
        f"{protocol.label}, fold {fold}: {count} episodes leave held-out classes without one ({names}), and "
        f"a class without an episode has no score; {needed} episodes reach every class (--episodes {needed})"
    )


def _check_row(
    table: EpisodeTable,
    i: int,
    known: Mapping[int, frozenset[str]],
    support_replacement: bool,
    copies: Copies,
    where: str,
) -> None:
    classes, query = table.classes[i], table.queries[i]
    for c in classes:
        if c not in known:
            raise UserError(
                f"{where}: class {c} is not held out in this fold; held out: {_listing(known)} (each fold has a list "
                "of its own: --episodes 'NAME-{fold}.csv' names all)"
            )
    if len(set(classes)) < len(classes):
        raise UserError(f"{where}: an episode's classes must differ; found {', '.join(map(str, classes))}")
    for c, images in zip((classes[0], *classes), ((query,), *table.supports[i]), strict=True):
        for image in images:
            if image not in known[c]:
                raise UserError(
                    f"{where}: image {image!r} is not in the index: no test image of that name has enough "
                    f"pixels of class {c} (the protocol's data.test_list and data.min_object_pixels decide)"
                )
    supports = table.images(i)[1:]
    if query in supports:
        raise UserError(f"{where}: the query {query!r} is among the supports")
    photos = [copies.get(image, image) for image in (query, *supports)]
    if photos[0] in photos[1:]:
        same = supports[photos.index(photos[0], 1) - 1]
        raise UserError(f"{where}: the support {same!r} is the photo of the query {query!r}: their files are the same")
    twice = sorted({image for image, photo in zip(supports, photos[1:], strict=True) if photos.count(photo) > 1})
    if twice and not support_replacement:
        raise UserError(
            f"{where}: the supports must differ; more than once: {', '.join(twice)}. Lists that were drawn with "
            "replacement need --set protocol.episodes.support_replacement=true, which is a protocol of its own"
        )


def _listing(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
