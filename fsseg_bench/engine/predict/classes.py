"""Classes as users name them: a label value, a name, or both."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fsseg_bench.conventions import VOID
from fsseg_bench.data.own.names import class_file, voc_class_names
from fsseg_bench.engine.predict.supports import AnyMask, is_box, label_values
from fsseg_bench.errors import UserError, unknown
from fsseg_bench.protocol.spec import Protocol

OBJECT = "object"
"""The name of a class that has none."""


class Labelled(NamedTuple):
    """A class with its value in the masks of its supports."""

    name: str
    value: int | None
    """None: the masks are binary."""


def classes_of_masks(given: Sequence[str], masks: Sequence[AnyMask]) -> list[Labelled]:
    """The classes of supports that are given as files.

    Each is ``NAME=VALUE``, a label value, or a name in the ``classes.txt`` beside the masks (or in the folder above
    them). A single name without such a file is that of the object in binary masks or boxes.

    Raises:
        UserError: a name is in no such file, a value is not in 1..255, a class is given twice, or a box is of several.
    """
    if not given:
        return [Labelled(OBJECT, None)]
    names = _names_beside(masks)
    found = [_labelled(text, names) for text in given]
    if len(found) > 1 and any(map(is_box, masks)):
        raise UserError("a box shows one class; give one --class, or masks with label values")
    if len(found) == 1 and not found[0].value and not names and all(_is_binary(mask) for mask in masks):
        return found
    for one in found:
        if one.value is None:
            if names:
                raise unknown("class", one.name, names, where="--class")
            raise UserError(
                f"--class {one.name}: which value of the masks is it? No classes.txt lies beside them; give "
                f"--class {one.name}=VALUE"
            )
    return _different(found)


def classes_of_protocol(given: Sequence[str], protocol: Protocol) -> list[Labelled]:
    """The classes of a protocol, each by its name or label value.

    Raises:
        UserError: no class is given, the protocol does not have one, or one is given twice.
    """
    if not given:
        raise UserError(f"--class is needed beside --dataset; {protocol.label} has {', '.join(protocol.classes)}")
    numbers = {str(protocol.class_id(name)): name for name in protocol.classes}
    # a Mac may have spelt a folder's accents as letters of their own, which looks the same and is typed otherwise
    spelt = {unicodedata.normalize("NFC", name): name for name in protocol.classes}
    found = []
    for text in given:
        name = text if text in protocol.classes else spelt.get(unicodedata.normalize("NFC", text), numbers.get(text))
        if name is None:
            raise unknown("class", text, protocol.classes, where=f"--class, {protocol.label}")
        found.append(Labelled(name, protocol.class_id(name)))
    return _different(found)


def _labelled(text: str, names: Sequence[str]) -> Labelled:
    name, equals, value = text.rpartition("=")
    if not equals:
        if text in names:
            return Labelled(text, names.index(text) + 1)
        if not text.isdecimal():
            return Labelled(text, None)
        value, name = text, ""
    if not value.isdecimal() or not 1 <= int(value) <= VOID:
        raise UserError(f"--class {text}: a label value is a whole number from 1 to {VOID}")
    number = int(value)
    return Labelled(name or (names[number - 1] if number <= len(names) else str(number)), number)


def _different(found: list[Labelled]) -> list[Labelled]:
    for column in zip(*found, strict=True):
        if twice := [entry for entry in column if column.count(entry) > 1]:
            raise UserError(f"--class: {twice[0]} is given twice")
    return found


def _names_beside(masks: Sequence[AnyMask]) -> tuple[str, ...]:
    """The names in the classes.txt that belongs to the masks; none where there is no such file."""
    for mask in masks:
        if isinstance(mask, str | Path):
            folder = Path(mask).expanduser().absolute().parent
            for place in (folder, folder.parent):
                if class_file(place):
                    return voc_class_names(place, 1)
    return ()


def _is_binary(mask: AnyMask) -> bool:
    """Whether a mask can be read as a binary one; what holds no label values is left to that reader."""
    try:
        return is_box(mask) or len(label_values(mask)) <= 1
    except UserError:
        return True
