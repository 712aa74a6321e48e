"""What names in a folder mean: which list is for training, what the label values are called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fsseg_bench.errors import UserError
from fsseg_bench.paths import regular

_TRAIN = ("trainaug", "train")
_TEST = ("val", "valid", "validation", "test")
_CLASS_FILES = ("classes.txt", "class_names.txt")
_NO_CLASS = {"__ignore__", "_background_", "background"}

Roles = tuple[tuple[str, ...], tuple[str, ...]]
"""Training lists and test lists."""


def list_roles(lists: Sequence[str]) -> Roles:
    """The lists for training and for testing: ``train`` and ``val`` or alike, else all lists for both.

    A year at the end of a name (``train2017``) does not matter.
    """
    by_name = {name.rstrip("0123456789"): name for name in lists}
    train = next((by_name[name] for name in _TRAIN if name in by_name), None)
    test = next((by_name[name] for name in _TEST if name in by_name), None)
    if train and test:
        return (train,), (test,)
    return tuple(lists), tuple(lists)


def voc_class_names(root: Path, largest: int) -> tuple[str, ...]:
    """Names of the label values 1 to ``largest`` and beyond, from ``classes.txt`` or ``class_names.txt``.

    These have one name a line, in the order of the label values. labelme's lines ``__ignore__`` and ``_background_``
    (and ``background``) are no classes and do not count. Without such a file: ``class-1``, ``class-2``, ...

    Raises:
        UserError: no mask shows anything, or the file has a name twice or fewer names than the masks have values.
    """
    if not largest:
        raise UserError(f"{root}: no mask shows any class: all pixels are 0 (background) or 255 (void)")
    path = next((root / name for name in _CLASS_FILES if (root / name).is_file()), None)
    if path is None:
        return tuple(f"class-{value}" for value in range(1, largest + 1))
    try:
        lines = [line.strip() for line in regular(path).read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: the names of the classes cannot be read: {error}") from None
    names = tuple(line for line in lines if line and line.lower() not in _NO_CLASS)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{path}: names {', '.join(twice)} more than once; each class needs a name of its own")
    if len(names) < largest:
        raise UserError(
            f"{path}: has {len(names)} names, but a mask has the label value {largest}; "
            "one name a line is needed, in the order of the label values from 1"
        )
    return names
