"""The file that names the classes of label masks and, as CVAT writes it, their colours."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fsseg_bench.data.decode import opened, read_text
from fsseg_bench.data.sources.voc import VocSource, color_value
from fsseg_bench.errors import UserError

NAMES = ("classes.txt", "class_names.txt")
_LABELMAP = "labelmap.txt"
_COLORS = (_LABELMAP, "label_colors.txt", "colors.txt", *NAMES)
_IGNORED = "__ignore__"
_BACKGROUND = ("_background_", "background", "__background__", "back ground", "bg")
_NUMBERED = re.compile(r"(?P<number>\d+)(?:\s*[:.,;)=-]\s*|\s+)(?P<name>\S.*)")
_VOID_NAMES = (_IGNORED, "ignored", "ignore", "void", "unlabeled", "unlabelled")
_BLACK, _VOC_VOID = "0,0,0", "224,224,192"
_CHANNELS = r"[(\[]?(?P<r>\d{1,3})[\s,;]+(?P<g>\d{1,3})[\s,;]+(?P<b>\d{1,3})[)\]]?"
_LINES = (
    rf"(?P<name>[^:]*):{_CHANNELS}(:.*)?",  # CVAT's name:red,green,blue:parts:actions
    rf"(?P<name>.*[^\s,;=])[\s,;=]+{_CHANNELS}",
    rf"{_CHANNELS}[\s,;=:]+(?P<name>\S.*)",
    rf"(?P<name>){_CHANNELS}",
)


@dataclass(frozen=True)
class Entry:
    """A line of such a file."""

    line: int
    name: str
    """Empty where the line has a colour alone."""
    color: str
    """``"red,green,blue"``; empty where the line has none."""

    @property
    def background(self) -> bool:
        """Whether it is no class, but what is left."""
        return self.name.lower() in _BACKGROUND


@dataclass(frozen=True)
class Coloured:
    """Classes that masks show in colours."""

    path: Path
    """The file that says so."""
    names: tuple[str, ...]
    colors: tuple[str, ...]
    """One for each name, as ``data.colors`` has them."""


def class_file(folder: Path) -> Path | None:
    """The file in ``folder`` that names the classes; None where there is none."""
    return next((folder / name for name in (*NAMES, _LABELMAP) if (folder / name).is_file()), None)


def class_names(path: Path) -> tuple[str, ...]:
    """Names of the label values from 1.

    The lines ``__ignore__`` and ``background`` (or alike), in this order before all others, are no classes; label
    values before the names are left out.

    Raises:
        UserError: the file is missing, or one of these lines is behind a class, or the numbers do not begin with 1: the
            value of each class behind it would be in doubt.
    """
    entries = _without_numbers([entry for entry in _entries(path) if entry.name], path)
    if entries and entries[0].name.lower() == _IGNORED:
        entries = entries[1:]
    if entries and entries[0].background:
        entries = entries[1:]
    for entry in entries:
        if entry.background or entry.name.lower() == _IGNORED:
            raise UserError(
                f"{path}: line {entry.line} is {entry.name!r}, which may only be the first: the "
                "background is the label value 0, and the names stand in the order of the values from 1. Look at a "
                "mask: if its values count the classes without the background, make it the first line; if they count "
                "all lines from 0, renumber the masks, for 0 is then a class"
            )
    return tuple(entry.name for entry in entries)


def _without_numbers(entries: list[Entry], path: Path) -> list[Entry]:
    """The names without the label values before them, where each line has its own: ``0 background``, ``1: cup``.

    Raises:
        UserError: the values begin with 0, and that is no background.
    """
    matches = [_NUMBERED.fullmatch(entry.name) for entry in entries]
    numbered = [match for match in matches if match]
    values = [int(match["number"]) for match in numbered]
    names = {match["name"] for match in numbered}  # "1 euro" and "2 euro" are names as they stand
    if values[:1] not in ([0], [1]) or values != list(range(values[0], values[0] + len(entries))):
        return entries
    if len(names) < len(entries):
        return entries
    plain = [dataclasses.replace(e, name=match["name"]) for e, match in zip(entries, numbered, strict=True)]
    if values[0] == 1 or plain[0].background:
        return plain
    raise UserError(
        f"{path}: numbers the classes from 0 ({entries[0].name!r}); label values of classes begin with 1, 0 is "
        "the background. Number the lines as the masks do, or leave the numbers out"
    )


def coloured_classes(source: VocSource, images: Sequence[str]) -> Coloured | None:
    """The classes by colour, where a file in the folder has colours and the masks of ``images`` are not all grey.

    The place of the background in the file does not matter then.

    Raises:
        UserError: the colours cannot be used, or there are more classes than colours.
    """
    for path in (source.root / name for name in _COLORS):
        entries = _entries(path) if path.is_file() else []
        if any(entry.color for entry in entries):
            break
    else:
        return None
    if not any(_shows_colours(source.mask_path(image)) for image in images):
        return None
    if not all(entry.name for entry in entries):
        entries = _with_names(source.root, path, entries)
    classes = []
    for entry in entries:
        if entry.background and entry.color != _BLACK:
            raise UserError(
                f"{path}: line {entry.line} gives the background the colour {entry.color or 'of nothing'}; it must be "
                f"black ({_BLACK}), here and in the masks"
            )
        if entry.background or (entry.color in {_VOC_VOID, ""} and entry.name.lower() in _VOID_NAMES):
            continue
        if not color_value(entry.color):
            raise UserError(
                f"{path}: line {entry.line}: the class {entry.name!r} has {entry.color or 'no colour'}; each class "
                "needs a colour of its own, as name:red,green,blue with 0 to 255 each, and black is the background"
            )
        classes.append(entry)
    for what, values in (("name", [e.name for e in classes]), ("colour", [e.color for e in classes])):
        if twice := sorted({value for value in values if values.count(value) > 1}):
            raise UserError(f"{path}: has the {what} {twice[0]} more than once; each class needs one of its own")
    return Coloured(path, tuple(e.name for e in classes), tuple(e.color for e in classes))


def _entries(path: Path) -> list[Entry]:
    """The lines of the file that are not empty; with colours only where each has one."""
    lines = [(n, line.strip()) for n, line in enumerate(read_text(path, "names of the classes").splitlines(), start=1)]
    lines = [(n, line) for n, line in lines if line]
    said = [(n, line) for n, line in lines if not line.startswith("#")]  # in a list of names alone, # begins a name
    if path.name == _LABELMAP or (said and all(_match(line) for _, line in said)):
        return [_entry(n, line) for n, line in said]
    return [Entry(n, line, "") for n, line in lines]


def _entry(number: int, line: str) -> Entry:
    if (match := _match(line)) is None:
        return Entry(number, line.partition(":")[0].strip(), "")
    return Entry(number, match["name"].strip(), ",".join(str(int(match[channel])) for channel in "rgb"))


def _match(line: str) -> re.Match[str] | None:
    return next((match for pattern in _LINES if (match := re.fullmatch(pattern, line))), None)


def _with_names(root: Path, path: Path, colors: Sequence[Entry]) -> list[Entry]:
    """Colours alone, with the names of the other file in the same order."""
    other = class_file(root)
    names = [entry for entry in _entries(other) if entry.name] if other is not None else []
    if len(names) != len(colors):
        raise UserError(
            f"{path}: has {len(colors)} colours, but {other or root / NAMES[0]} {len(names)} names; each line needs "
            "its other half, or write name:red,green,blue in one file, labelmap.txt"
        )
    return [Entry(entry.line, named.name, entry.color) for entry, named in zip(colors, names, strict=True)]


def _shows_colours(path: Path) -> bool:
    """Whether a mask is a picture with a palette or colours."""
    if path.suffix == ".mat":
        return False
    with opened(path, "mask") as file:
        return file.mode in {"P", "RGB", "RGBA"}


def voc_class_names(root: Path, largest: int) -> tuple[str, ...]:
    """Names of the label values 1 to ``largest`` and beyond, from ``classes.txt`` or the like.

    These have one name a line, in the order of the label values; see :func:`fsseg_bench.data.own.names.class_names`.
    Without such a file: ``class-1``, ``class-2``, ...

    Raises:
        UserError: no mask shows anything, or the file has a name twice, fewer names than the masks have values, or the
            background behind a class.
    """
    if not largest:
        raise UserError(f"{root}: no mask shows any class: all pixels are 0 (background) or 255 (void)")
    path = class_file(root)
    if path is None:
        return tuple(f"class-{value}" for value in range(1, largest + 1))
    names = class_names(path)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{path}: names {', '.join(twice)} more than once; each class needs a name of its own")
    if len(names) < largest:
        raise UserError(
            f"{path}: has {len(names)} names, but a mask has the label value {largest}; "
            "one name a line is needed, in the order of the label values from 1"
        )
    return names
