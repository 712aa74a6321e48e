"""Reads list files: one's own, and those that other authors publish."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from fsseg_bench.data.decode import IMAGE_SUFFIXES, read_text
from fsseg_bench.data.files import is_inside, spellings, suffix_of
from fsseg_bench.data.source import Source
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.data_spec import is_list_file

_PAIR = re.compile(r"(?P<image>.*\S)__(?P<class>\d{1,9})")
_FORMS = "an image id, 'image__class' with the class's label value, or 'image-path mask-path'"


Listed = dict[str, frozenset[int] | None]
"""Image ids of a list, sorted, to the classes that count in each, of an ``image__class`` list; None: all count."""


def read_list(source: Source, entry: str) -> Listed:
    """An entry of a protocol's ``train_list`` or ``test_list``: a name that ``source`` knows, or a list file.

    Raises:
        UserError: no such list, or as :func:`read_list_file`.
    """
    if is_list_file(entry):
        return read_list_file(source, Path(entry))
    return dict.fromkeys(source.ids(entry))


def read_list_file(source: Source, path: Path) -> Listed:
    """The images of a list file, and the pairs if it lists pairs.

    Each line is one of: an image id of ``source``; ``image__class`` (``2007_000032__01``), where the class is the
    label value, from 1; ``image-path mask-path`` (``JPEGImages/x.jpg SegmentationClassAug/x.png``), of which the
    image is taken and the mask is ignored: masks come from the data set. Of a path, the longest end that names an
    image of the data set counts. Empty lines are skipped.

    Raises:
        UserError: the file cannot be read or is empty, a line names no image of the data set or no class, or some
            lines name a class and others do not. Names file and line.
    """
    found: dict[str, set[int]] = {}
    bare = ""
    for where, image, class_id in _entries(source, path):
        found.setdefault(image, set())
        if class_id:
            found[image].add(class_id)
        elif not bare:
            bare = where
    if not found:
        raise UserError(f"{path}: the list is empty; each line must be {_FORMS}")
    if not any(found.values()):
        return dict.fromkeys(sorted(found))
    if bare:
        raise UserError(f"{bare}: names no class, but other lines do; a list restricts the pairs or it does not")
    return {image: frozenset(classes) for image, classes in sorted(found.items())}


def in_order(source: Source, entries: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """The lines of several lists in their order: each image and the class that is listed with it, 0 for all classes.

    The images of a list that is no file come by id, as text.

    Raises:
        UserError: as :func:`read_list`.
    """
    lines: list[tuple[str, int]] = []
    for entry in entries:
        if is_list_file(entry):
            lines += [(image, class_id) for _, image, class_id in _entries(source, Path(entry))]
        else:
            lines += [(image, 0) for image in source.ids(entry)]
    return tuple(lines)


def _entries(source: Source, path: Path) -> Iterator[tuple[str, str, int]]:
    """Of each line of a list file where it is, its image, and its class or 0."""
    for where, text in _lines(path):
        yield where, *_entry(source, text, where)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Where it is, and the text, of each line that is not empty."""
    for number, line in enumerate(read_text(path, "list file").splitlines(), start=1):
        if line.strip():
            yield f"{path}, line {number}", line.strip()


def _entry(source: Source, text: str, where: str) -> tuple[str, int]:
    """The image id of a line and its class, 0 for none. What is an image's name as it stands is never split."""
    if image := _image(source, text):
        return image, 0
    words = text.split()
    paths = words[:1] if len(words) == 2 and all(suffix_of(word) in IMAGE_SUFFIXES for word in words) else [text]
    if image := _of_path(source, paths[0]):
        return image, 0
    pair = _PAIR.fullmatch(text)
    if pair and (image := _image(source, pair["image"])):
        class_id = int(pair["class"])
        if not 1 <= class_id <= len(source.classes):
            raise UserError(f"{where}: {text!r}: class {class_id} is not a label value 1 to {len(source.classes)}")
        return image, class_id
    raise UserError(f"{where}: {text!r} names no image of {source.root}; a line must be {_FORMS}")


def _image(source: Source, text: str) -> str | None:
    """The id that ``text`` is in one of its spellings."""
    return next((name for name in spellings(text) if is_inside(name) and source.has_image(name)), None)


def _of_path(source: Source, text: str) -> str | None:
    """The id of the image that a path names by its longest end that is an id; None if there is none."""
    if suffix_of(text) not in IMAGE_SUFFIXES:
        return None
    for spelling in spellings(text):
        parts = PurePosixPath(spelling).with_suffix("").parts
        for start in range(len(parts)):
            name = "/".join(parts[start:])
            if is_inside(name) and source.has_image(name):
                return name
    return None
