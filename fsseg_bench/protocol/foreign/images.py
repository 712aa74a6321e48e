"""Image names of other tools as the data set's ids."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.table import Copies

_SUFFIX = re.compile(r"(?i)\.(?:jpe?g|png)")
_PAIR = re.compile(r"(?P<image>.*\S)__(?P<class>[0-9]{1,9})")
_KINDS = {
    "backslash": r"backslashes became slashes in",
    "suffix": "removed the suffix of",
    "folder": "removed the folders before",
    "class": "removed the class behind",
    "completed": "completed",
}


@dataclass(frozen=True)
class TestImages:
    """The test images of the data that a list is to be used on."""

    __test__ = False  # no test of pytest's

    ids: frozenset[str]
    pairs: Mapping[int, Mapping[int, Sequence[str]]]
    """Fold to held-out class to the images that show enough of it."""
    copies: Copies = field(default_factory=dict)
    """Images that are the same photo."""

    def shows(self, image: str, class_id: int, fold: int) -> bool:
        """Whether an image shows enough of a held-out class."""
        return (fold, class_id, image) in self._shown

    @cached_property
    def _shown(self) -> frozenset[tuple[int, int, str]]:
        return frozenset((fold, c, i) for fold, pairs in self.pairs.items() for c, ids in pairs.items() for i in ids)

    @cached_property
    def by_name(self) -> Mapping[str, Sequence[str]]:
        """Ids by their last part."""
        found: dict[str, list[str]] = defaultdict(list)
        for image in sorted(self.ids):
            found[image.rpartition("/")[2]].append(image)
        return found

    @cached_property
    def by_number(self) -> Mapping[int, Sequence[str]]:
        """Ids by the number that they end in; empty unless each ends in one, behind a sign or a letter."""
        found: dict[int, list[str]] = defaultdict(list)
        for image in sorted(self.ids):
            match = re.search(r"[^0-9]([0-9]{1,18})$", image)
            if match is None:
                return {}
            found[int(match[1])].append(image)
        return found


class Names:
    """Turns names into ids, and keeps account of what that took."""

    def __init__(self, protocol: Protocol, images: TestImages | None) -> None:
        """Without images of the data, names are changed as the ids of the protocol's source suggest."""
        self._protocol = protocol
        self._images = images
        self._made: dict[tuple[str, int], tuple[str, tuple[str, ...]]] = {}

    def is_image(self, text: str) -> bool:
        """Whether a text is known to name an image, whatever the class."""
        if self._images is None:
            return False
        plain = _without_suffix(text.replace("\\", "/"))
        found = _end_among(plain, self._images.ids)
        return text in self._images.ids or (found is not None and not re.search(r"[;|,\s]", plain.removesuffix(found)))

    def id_of(self, text: str, class_id: int, where: str) -> str:
        """The id that a name in an episode's ``class_id`` stands for; a name that fits none is left as it is.

        Raises:
            UserError: it stands for several.
        """
        key = text, class_id
        if key not in self._made:
            self._made[key] = self._looked_up(text, class_id, where)
        return self._made[key][0]

    def notes(self, used: Iterable[tuple[str, int]]) -> list[str]:
        """What was changed in ``used``, the pairs of name and class of all cells, with an example each."""
        counts: Counter[str] = Counter()
        examples: dict[str, str] = {}
        for key in used:
            made, kinds = self._made[key]
            for kind in kinds:
                counts[kind] += 1
                examples.setdefault(kind, f"{key[0]} is {made}")
        return [
            f"{words} {counts[kind]:,} image names ({examples[kind]})" for kind, words in _KINDS.items() if counts[kind]
        ]

    def _looked_up(self, text: str, class_id: int, where: str) -> tuple[str, tuple[str, ...]]:
        kinds = []
        if self._images is not None and text in self._images.ids:
            return text, ()
        name = text.replace("\\", "/")
        if name != text:
            kinds.append("backslash")
        plain = _without_suffix(name)
        if plain != name:
            kinds.append("suffix")
        if self._images is None:
            found, kind = self._guessed(plain, class_id)
        else:
            found, kind = self._known(plain, class_id, self._images, where)
        return found, (*kinds, *([kind] if kind else []))

    def _known(self, name: str, class_id: int, images: TestImages, where: str) -> tuple[str, str]:
        """The id of a name without suffix, and the kind of change that it takes."""
        if found := _end_among(name, images.ids):
            return found, "folder" if found != name else ""
        pair = _PAIR.fullmatch(name)
        if pair and (found := _end_among(pair["image"], images.ids)):
            return found, "class"
        folder = self._protocol.class_name(class_id)
        parts = name.split("/")
        of_class = f"{folder}/{parts[-1]}"  # cat/images/001 is cat/001
        if of_class in images.ids and folder in {*parts[:-1], *([folder] if len(parts) == 1 else [])}:
            return of_class, "completed"
        if len(parts) > 1:
            return name, ""
        fitting = images.by_name.get(name, ())
        if not fitting and self._protocol.data.kind.numbered and re.fullmatch("[0-9]{1,18}", name):
            fitting = images.by_number.get(int(name), ())
        if len(fitting) > 1:
            raise UserError(
                f"{where}: image {name!r} may be {' or '.join(fitting[:3])}; write the whole ids into the file"
            )
        return (fitting[0], "completed") if fitting else (name, "")

    def _guessed(self, name: str, class_id: int) -> tuple[str, str]:
        """The same by the form that the data source's ids have."""
        found = self._protocol.data.kind.id_of_name(name, self._protocol.class_name(class_id))
        if found == name:
            return name, ""
        parts, kept = PurePosixPath(name).parts, PurePosixPath(found).parts
        return found, "folder" if parts[-len(kept) :] == kept else "completed"


def _without_suffix(name: str) -> str:
    stem, suffix = name[: name.rfind(".")], name[name.rfind(".") :]
    return stem if "." in name and stem and _SUFFIX.fullmatch(suffix) else name


def _end_among(name: str, ids: frozenset[str]) -> str | None:
    """The longest end of a path that is an id; None: there is none, or what is before it names an image as well."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    for start in range(len(parts)):
        if (end := "/".join(parts[start:])) in ids:
            before = re.split(r"[;|,\s/]+", "/".join(parts[:start]))
            several = any(part in ids or _without_suffix(part) != part for part in before)
            return None if several else end
    return None
