"""Control episodes: the queries of a table once more, with supports that a method should not, or should, be moved by.

All of a kind are drawn from streams that depend on the table alone, and from the table's own supports: their features
are computed for the table anyway. Only where a class has too few supports in the table are all of its images taken.

* ``wrong``: supports of another class of the fold, drawn uniformly, whether the query shows it or not; the truth stays
  the query's own class.
* ``absent``: supports of a class of the fold of which the query shows no pixel, drawn uniformly; the truth is nothing.
  Queries that show all classes of the fold are left out.
* ``empty``, ``whole``, ``shifted``: the episode's own supports with another mask (:data:`MASKS`).
* ``draw-1``, ``draw-2``, ...: other supports of the query's own class. The supports of a class are put into sets of K,
  no photo in two of them, and an episode gets different ones of these sets: several queries share a set, so that what
  supports do can be told from what they do to one query (:mod:`fsseg_bench.protocol.components`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.streams import below, distinct, stream
from fsseg_bench.protocol.table import Copies, EpisodeTable, once

MASKS = ("empty", "whole", "shifted")
"""No pixel; all but void ones; rolled down and to the right by half of the input's side, void pixels too."""
DRAWS = 4
"""Draws of supports unless it is said otherwise."""


@dataclass(frozen=True)
class Control:
    """Episodes of one kind."""

    name: str
    table: EpisodeTable
    """With the classes that the supports are of."""
    truth: tuple[tuple[int, ...], ...]
    """The classes that the queries' labels are of."""
    episodes: tuple[int, ...]
    """Which episodes of the run these are, ascending."""
    mask: str = ""
    """How the supports' masks are changed: one of :data:`MASKS`, or not at all."""

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of everything that its counts depend on besides model and images."""
        stated = f"{self.name}|{self.mask}|{self.truth}|{self.episodes}|{self.table.digest}"
        return hashlib.sha256(stated.encode()).hexdigest()


def make_controls(
    table: EpisodeTable,
    pairs: Mapping[int, Sequence[str]],
    shown: Mapping[str, frozenset[int]],
    copies: Copies,
    draws: int = DRAWS,
) -> tuple[Control, ...]:
    """All controls of a table, in the order of the module; one without an episode is left out.

    Args:
        table: of one-way episodes.
        pairs: the fold's classes to ids of the test images that show enough of them.
        shown: each query's classes of which it shows a pixel or more.
        copies: images that are the same photo.
        draws: how often supports are drawn again.

    Raises:
        UserError: several ways, one class in the fold, a class with too few images, or less than 2 draws.
    """
    if table.ways > 1:
        raise UserError(
            f"controls are of 1-way episodes, and this run is {table.ways}-way: name 1-way runs (--way 1, where "
            "there are some)"
        )
    if len(pairs) < 2:
        raise UserError(
            "a fold of one class has no supports of another class, so there is nothing to control with: give runs of a "
            "fold with several, or make folds that have them ('fsseg-bench data init --folds N' of one's own data)"
        )
    if draws < 2:
        raise UserError(f"--draws {draws}: at least 2 are needed to tell how much the supports matter")
    supports = _Supports(table, pairs, copies)
    own = tuple(range(len(table)))
    plain = [Control(mask, table, table.classes, own, mask) for mask in MASKS]
    found = (_wrong(supports), _absent(supports, shown), *plain, *_draws(supports, draws))
    return tuple(control for control in found if control is not None)


class _Supports:
    """The photos that supports of each class are drawn from."""

    def __init__(self, table: EpisodeTable, pairs: Mapping[int, Sequence[str]], copies: Copies) -> None:
        self.table, self.classes, self._copies = table, sorted(pairs), copies
        used: dict[int, list[str]] = {c: [] for c in pairs}
        for (c,), (images,) in zip(table.classes, table.supports, strict=True):
            used[c].extend(images)
        self._used = {c: list(once(images, copies).values()) for c, images in used.items()}
        self._all = {c: list(once(images, copies).values()) for c, images in pairs.items()}

    def photos(self, c: int, least: int) -> list[str]:
        """An image of each photo of class ``c``: of the supports, or where these are less than ``least`` of all."""
        return self._used[c] if len(self._used[c]) >= least else self._all[c]

    def free(self, images: Sequence[str], query: str) -> list[str]:
        """``images`` without those of the query's photo."""
        photo = self._copies.get(query, query)
        return [image for image in images if self._copies.get(image, image) != photo]

    def draw(self, i: int, c: int, *name: str) -> tuple[str, ...]:
        """K images of class ``c``, none of the photo of query ``i``."""
        shots = self.table.shots
        free = self.free(self.photos(c, shots + 1), self.table.queries[i])  # one of them may be the query
        if len(free) < shots:
            raise UserError(f"class {c} has {len(free)} images besides a query of another class; {shots} are needed")
        rng = stream("controls", self.table.digest, *name, "supports", i)
        return tuple(free[k] for k in distinct(rng, len(free), shots))


def _wrong(supports: _Supports) -> Control:
    table = supports.table
    others = [[c for c in supports.classes if c != own] for (own,) in table.classes]
    return _of_classes("wrong", supports, dict(enumerate(others)), table.classes)


def _absent(supports: _Supports, shown: Mapping[str, frozenset[int]]) -> Control | None:
    table = supports.table
    absent = {i: [c for c in supports.classes if c not in shown[query]] for i, query in enumerate(table.queries)}
    absent = {i: classes for i, classes in absent.items() if classes}
    return _of_classes("absent", supports, absent, None) if absent else None


def _of_classes(
    name: str, supports: _Supports, choices: Mapping[int, Sequence[int]], truth: tuple[tuple[int, ...], ...] | None
) -> Control:
    """Episodes with supports of one of the classes that each may have; without ``truth`` it is of the same class."""
    table = supports.table
    drawn: dict[int, int] = {}
    for i, classes in choices.items():
        drawn[i] = classes[below(stream("controls", table.digest, name, "class", i), len(classes))]
    made = EpisodeTable(
        tuple((c,) for c in drawn.values()),
        tuple(table.queries[i] for i in drawn),
        tuple((supports.draw(i, c, name),) for i, c in drawn.items()),
    )
    return Control(name, made, truth or made.classes, tuple(drawn))


def _draws(supports: _Supports, draws: int) -> Iterator[Control]:
    """Sets of supports, each used by several queries; an episode whose class has too few sets lacks the last draws."""
    table = supports.table
    sets = {c: _sets(supports, c, draws + 1) for c in supports.classes}
    rows: list[dict[int, tuple[str, ...]]] = [{} for _ in range(draws)]
    for i, ((c,), query) in enumerate(zip(table.classes, table.queries, strict=True)):
        free = [one for one in sets[c] if len(supports.free(one, query)) == len(one)]
        order = distinct(stream("controls", table.digest, "draws", i), len(free), min(draws, len(free)))
        for row, k in zip(rows, order, strict=False):
            row[i] = free[k]
    for number, row in enumerate(rows, start=1):
        if row:
            made = EpisodeTable(
                tuple(table.classes[i] for i in row),
                tuple(table.queries[i] for i in row),
                tuple((images,) for images in row.values()),
            )
            yield Control(f"draw-{number}", made, made.classes, tuple(row))


def _sets(supports: _Supports, c: int, least: int) -> list[tuple[str, ...]]:
    """The photos of a class in sets of K, ``least`` of them if there are as many; what is left over is in none."""
    shots = supports.table.shots
    photos = supports.photos(c, least * shots)
    order = distinct(stream("controls", supports.table.digest, "sets", c), len(photos), len(photos))
    return [tuple(photos[k] for k in order[j : j + shots]) for j in range(0, len(order) - shots + 1, shots)]
