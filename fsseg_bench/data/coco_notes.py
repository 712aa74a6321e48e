"""What was left out of an instance file, or read otherwise than as it is written: collected and put into words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from fsseg_bench.data.cachefile import Arrays

NOWHERE = -1
"""The image number of a note on the whole file."""
_SHOWN = 3
_LONGEST = 24
_CLASSES = 8


class Kind(IntEnum):
    """What is said of an annotation, or of a category. The values are kept in the cache."""

    NO_OUTLINE = 0
    NO_PIXEL = 1
    PARTS = 2
    FORM = 3
    FLAG = 4
    CROWD = 5
    CATEGORY = 6
    NO_BOX = 7
    OUTSIDE = 8


_WORDS = {
    Kind.NO_OUTLINE: "without an outline (a box alone, or less than three points): left out",
    Kind.NO_PIXEL: "that cover no pixel of their image: left out",
    Kind.NO_BOX: "of objects whose box has no pixel of the image: left out (data.crop)",
    Kind.OUTSIDE: "that cover no pixel of their object's box: left out (data.crop)",
    Kind.PARTS: "with polygons of less than three points beside others: drawn without these",
    Kind.FORM: "in a form that COCO does not have (a flat polygon, points one by one, run lengths in a list): read",
    Kind.FLAG: "with an iscrowd that is not the number 0 or 1 (text, true, false, null): read as 0 or 1",
}
_CROWDS = {
    "void": 'with iscrowd 1, crowd regions: void, no objects (data.crowds = "object" makes them objects)',
    "object": "with iscrowd 1, crowd regions: objects like all others (data.crowds)",
}


class Note(NamedTuple):
    """One thing to say."""

    kind: Kind
    image: int
    """The number of the image, :data:`NOWHERE` for the file."""
    category: int
    name: str
    """The id of the annotation, as text; of a category that is left out its name."""


class Notes(list[Note]):
    """The notes on one file."""

    def add(self, kind: Kind, image: int, category: int, name: Any) -> None:
        """One more; a long ``name`` is cut."""
        self.append(Note(kind, image, category, str(name).encode(errors="replace").decode()[:_LONGEST]))

    def to_arrays(self) -> Arrays:
        """Arrays for the cache: ``notes`` (n, 3) kind, image and category; ``note_names`` (n,)."""
        rows = np.array([note[:3] for note in self], dtype=np.int64).reshape(-1, 3)
        return {"notes": rows, "note_names": np.array([note.name for note in self], dtype=np.str_)}

    @classmethod
    def of_arrays(cls, arrays: Arrays) -> Notes:
        """The notes that :meth:`to_arrays` gave."""
        rows = zip(arrays["notes"].tolist(), arrays["note_names"].tolist(), strict=True)
        return cls(Note(Kind(kind), image, category, name) for (kind, image, category), name in rows)


def sentences(notes: Iterable[Note], class_of: dict[int, str], crowds: str) -> list[str]:
    """A sentence for each kind of note on the categories of ``class_of``, with counts by class and the first ids."""
    notes = list(notes)
    found = [
        f"category {note.category} ({note.name}) has no annotation and the same name as another, and is left out"
        for note in notes
        if note.kind is Kind.CATEGORY
    ]
    for kind, words in (*_WORDS.items(), (Kind.CROWD, _CROWDS[crowds])):
        some = [note for note in notes if note.kind is kind and note.category in class_of]
        if some:
            count = f"{len(some):,} annotation{'s' if len(some) > 1 else ''}"
            first = ", ".join(note.name for note in some[:_SHOWN]) + (", ..." if len(some) > _SHOWN else "")
            ids = f"id{'s' if len(some) > 1 else ''} {first}"
            by_class = Counter(class_of[note.category] for note in some)
            found.append(f"{count} {words}; {counted(by_class)} ({ids})")
    return found


def counted(counts: Counter[str]) -> str:
    """``"cup 3, dog 1"``: the largest first, and only some of many."""
    rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    shown = ", ".join(f"{name} {count:,}" for name, count in rows[:_CLASSES])
    return shown + (f", and {len(rows) - _CLASSES} more" if len(rows) > _CLASSES else "")
