"""The episode table: test episodes as plain data, with a digest and a CSV form; further images of their classes."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from fsseg_bench.errors import UserError
from fsseg_bench.paths import regular
from fsseg_bench.protocol.streams import below, distinct, seed_of, stream
from fsseg_bench.storage.files import write_atomic

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Further = tuple[tuple[str, ...], ...]
"""N x U image ids: those of each way."""

Copies = Mapping[str, str]
"""Image ids whose photo an earlier id has, too, to that id; every other id is a photo of its own."""
NO_COPIES: Copies = MappingProxyType({})


class Crops(dict[str, str]):
    """The same of images that are crops of photos: each is a picture of its own, so that a class keeps all of them.

    Where a photo is drawn, one of its crops that show the class is drawn after it.
    """


_LABEL = re.compile("[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class EpisodeTable:
    """E episodes of N ways and K shots, in order.

    Raises:
        ValueError: no episode, or rows of different shapes.

    Example:
        >>> table = EpisodeTable(classes=((3,),), queries=("a",), supports=((("b", "c"),),))
        >>> table.ways, table.shots, table.images(0)
        (1, 2, ('a', 'b', 'c'))
        >>> print(table.text())
        class_1,query,support_1_1,support_1_2
        3,a,b,c
        <BLANKLINE>
    """

    classes: tuple[tuple[int, ...], ...]
    """E x N label values; the first way is the query's class."""
    queries: tuple[str, ...]
    """E image ids."""
    supports: tuple[tuple[tuple[str, ...], ...], ...]
    """E x N x K image ids."""

    def __post_init__(self) -> None:
        if not len(self.classes) == len(self.queries) == len(self.supports) > 0:
            raise ValueError("an episode table has one class set and one support set a query, and a query")
        rows = zip(self.classes, self.supports, strict=True)
        shapes = {(len(ways), tuple(len(images) for images in sets)) for ways, sets in rows}
        if len(shapes) != 1 or any(n < 1 or 0 in k or k != k[:1] * n for n, k in shapes):
            raise ValueError(f"episodes of different or empty shapes (ways, shots of each): {sorted(shapes)}")

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def ways(self) -> int:
        """N, the number of classes of each episode."""
        return len(self.classes[0])

    @property
    def shots(self) -> int:
        """K, the number of supports of each class."""
        return len(self.supports[0][0])

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the table's CSV text: equal digests mean the same episodes in the same order."""
        return hashlib.sha256(self.text().encode()).hexdigest()

    def seed(self, i: int) -> int:
        """A seed in [0, 2**63) for episode ``i`` that depends on its row's content alone."""
        return seed_of("episode", self.ways, self.shots, *self._row(i))

    def images(self, i: int) -> tuple[str, ...]:
        """The 1 + N*K image ids of episode ``i``: the query, then the supports way by way."""
        return (self.queries[i], *(image for images in self.supports[i] for image in images))

    @property
    def repeats(self) -> int:
        """In how many episodes an image is a support several times."""
        supports = (self.images(i)[1:] for i in range(len(self)))
        return sum(len(set(images)) < len(images) for images in supports)

    def head(self, count: int) -> EpisodeTable:
        """The first ``count`` episodes.

        Raises:
            UserError: ``count`` is below 1 or above the number of episodes.
        """
        if not 1 <= count <= len(self):
            raise UserError(f"{count} episodes asked for; the episode table has {len(self)}")
        return EpisodeTable(self.classes[:count], self.queries[:count], self.supports[:count])

    def frame(self) -> pd.DataFrame:
        """The columns of the CSV form, one row an episode; the index is the episode's number, from 0."""
        import pandas as pd

        rows = [self._row(i) for i in range(len(self))]
        return pd.DataFrame(rows, columns=column_names(self.ways, self.shots)).rename_axis(index="episode")

    def to_csv(self, path: str | Path) -> None:
        """Writes the table; the text is the one that the digest is taken of.

        Raises:
            UserError: the file cannot be written.
        """
        write_atomic(Path(path), self.text())

    @classmethod
    def from_csv(cls, path: str | Path) -> EpisodeTable:
        """Reads a table; :func:`~fsseg_bench.protocol.checked_episodes.check_episodes` compares it with the data.

        Raises:
            UserError: the file cannot be read, or as :meth:`from_text`.
        """
        return cls.from_text(read_text(Path(path)), path)

    @classmethod
    def from_text(cls, text: str, path: str | Path) -> EpisodeTable:
        """The table of a file's text; ``path`` is the file, for messages.

        Raises:
            UserError: wrong header, no episode, wrong number of columns, a class that is not a label value, an empty
                image id. Names the file and the line.
        """
        header, rows = _read(text, path)
        ways = sum(name.startswith("class_") for name in header)
        shots = sum(name.startswith("support_1_") for name in header)
        if not ways or not shots or header != column_names(ways, shots):
            raise UserError(
                f"{path}: line 1: the header is {','.join(header)!r}; it must be class_1 .. class_N, query, "
                f"support_1_1 .. support_N_K, for example {','.join(column_names(1, 1))!r}. "
                "`fsseg-bench episodes --import` reads other layouts"
            )
        if not rows:
            raise UserError(f"{path}: holds no episodes, only a header")
        for line, row in enumerate(rows, start=2):
            _check_cells(row, header, ways, f"{path}: line {line}")
        starts = range(ways + 1, len(header), shots)
        return cls(
            classes=tuple(tuple(map(int, row[:ways])) for row in rows),
            queries=tuple(row[ways] for row in rows),
            supports=tuple(tuple(tuple(row[s : s + shots]) for s in starts) for row in rows),
        )

    def _row(self, i: int) -> tuple[int | str, ...]:
        return (*self.classes[i], *self.images(i))

    def text(self) -> str:
        """The CSV text, which :attr:`digest` is taken of."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")  # csv's own ends of lines would change the digest
        writer.writerow(column_names(self.ways, self.shots))
        writer.writerows(self._row(i) for i in range(len(self)))
        return out.getvalue()


def once(images: Iterable[str], copies: Copies) -> dict[str, str]:
    """Photo to the first of ``images`` that shows it, in the order of the images."""
    found: dict[str, str] = {}
    for image in sorted(set(images)):
        found.setdefault(copies.get(image, image), image)
    return found


def choices(images: Iterable[str], copies: Copies) -> dict[str, tuple[str, ...]]:
    """Photo to those of ``images`` of which one is taken when the photo is drawn, in the order of the images: of crops
    all, else the first one."""
    if not isinstance(copies, Crops):
        return {photo: (image,) for photo, image in once(images, copies).items()}
    found: dict[str, list[str]] = {}
    for image in sorted(set(images)):
        found.setdefault(copies.get(image, image), []).append(image)
    return {photo: tuple(crops) for photo, crops in found.items()}


def one_of(rng: np.random.RandomState, images: Sequence[str], copies: Copies) -> str:
    """One of a photo's ``images`` (:func:`choices`): of crops drawn uniformly, which takes a number from the stream."""
    return images[below(rng, len(images))] if isinstance(copies, Crops) else images[0]


def further_images(
    seed: int,
    classes: Sequence[int],
    used: Sequence[str],
    pairs: Mapping[int, Sequence[str]],
    count: int,
    copies: Copies = NO_COPIES,
) -> Further:
    """``count`` images of each class, drawn uniformly from those whose photo is not in the episode.

    A class with fewer other images gives all of them, again and again until there are ``count``.

    Args:
        seed: the draws depend on it and the images alone.
        classes: the episode's N classes.
        used: the episode's images.
        pairs: class to ids of the images that show enough of it, in any order.
        count: U.
        copies: images that are the same photo; of these the first is drawn.

    Raises:
        UserError: a class has no other image.
    """
    barred = {copies.get(image, image) for image in used}
    drawn = []
    for c in classes:
        others = [images for photo, images in choices(pairs.get(c, ()), copies).items() if photo not in barred]
        if not others:
            raise UserError(
                f"class {c} has no image besides the episode's own, and the method looks at further images of each "
                "class; lower --shot, or add images"
            )
        rng = stream("unlabelled", seed, c)
        order = distinct(rng, len(others), min(count, len(others)))
        found = [one_of(rng, others[i], copies) for i in order]
        drawn.append(tuple(found[i % len(found)] for i in range(count)))
    return tuple(drawn)


def further_of_table(
    table: EpisodeTable, pairs: Mapping[int, Sequence[str]], count: int, copies: Copies = NO_COPIES
) -> tuple[Further, ...]:
    """For each test episode its further images; arguments and errors as :func:`further_images`."""
    return tuple(
        further_images(table.seed(i), table.classes[i], table.images(i), pairs, count, copies)
        for i in range(len(table))
    )


def column_names(ways: int, shots: int) -> list[str]:
    """The header of the CSV form."""
    numbers = range(1, ways + 1)
    supports = [f"support_{w}_{k}" for w in numbers for k in range(1, shots + 1)]
    return [*(f"class_{w}" for w in numbers), "query", *supports]


def read_text(path: Path) -> str:
    """The text of an episode file, line ends as they are.

    Raises:
        UserError: no such file, or it cannot be read or is not UTF-8.
    """
    try:
        return regular(path).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such episode file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not CSV text in UTF-8: {error}") from None


def _read(text: str, path: str | Path) -> tuple[list[str], list[list[str]]]:
    """The header and the rows; empty lines at the end of the file are left out."""
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise UserError(f"{path}: is not CSV text in UTF-8: {error}") from None
    while rows and not rows[-1]:
        rows.pop()
    return (rows[0], rows[1:]) if rows else ([], [])


def _check_cells(row: Sequence[str], header: Sequence[str], ways: int, where: str) -> None:
    if len(row) != len(header):
        raise UserError(f"{where}: has {len(row)} columns; the header names {len(header)}")
    for i, (name, cell) in enumerate(zip(header, row, strict=True)):
        if not cell.strip():
            raise UserError(f"{where}: {name} is empty")
        if i < ways and not _LABEL.fullmatch(cell):
            raise UserError(f"{where}: {name} is {cell!r}; it must be a label value, a whole number from 1")
