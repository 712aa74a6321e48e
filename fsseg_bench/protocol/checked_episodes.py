"""Checks episodes that a file brings against the data that they are to be used on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.table import NO_COPIES, Copies, Crops, EpisodeTable


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
        what = "of the photo of" if isinstance(copies, Crops) else "the photo of"
        raise UserError(f"{where}: the support {same!r} is {what} the query {query!r}: their files are the same")
    twice = sorted({image for image, photo in zip(supports, photos[1:], strict=True) if photos.count(photo) > 1})
    if twice and not support_replacement:
        raise UserError(
            f"{where}: the supports must differ; more than once: {', '.join(twice)}. Lists that were drawn with "
            "replacement need --set protocol.episodes.support_replacement=true, which is a protocol of its own"
        )


def _listing(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
