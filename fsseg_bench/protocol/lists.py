"""Files of lists: those of images that a protocol names, and those of episodes that a run is given, one a fold."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

from fsseg_bench.errors import UserError
from fsseg_bench.paths import regular
from fsseg_bench.protocol.data_spec import LIST_KEYS, DataSpec, is_list_file

_FOLD, _FOLD_FROM_0 = "{fold}", "{fold-1}"
_AFTER_WORD = re.compile(r"(?i)((?:fold|split)[ _.=-]*)([0-9]+)(?![0-9])")
_NUMBER = re.compile(r"(?<![0-9])[0-9]+(?![0-9])")


def absolute_lists(entries: Iterable[str], folder: Path) -> list[str]:
    """``entries`` with the list files among them as absolute paths, relative ones taken from ``folder``."""
    return [str((folder / Path(e).expanduser()).absolute()) if is_list_file(e) else e for e in entries]


def locate_lists(data: DataSpec, folder: Path, where: Path) -> tuple[DataSpec, dict[str, str]]:
    """``data`` with absolute list files, and the SHA-256 (hex) of each one's bytes.

    Args:
        data: as the protocol file has it.
        folder: what relative list files are relative to: the folder of the protocol file.
        where: the protocol file, for messages.

    Raises:
        UserError: a list file cannot be read; names it and the key.
    """
    found = {key: tuple(absolute_lists(getattr(data, key), folder)) for key in LIST_KEYS}
    digests = {
        entry: _digest(Path(entry), f"{where}: data.{key}")
        for key, entries in found.items()
        for entry in entries
        if is_list_file(entry)
    }
    return dataclasses.replace(data, train_list=found["train_list"], test_list=found["test_list"]), digests


def _digest(path: Path, where: str) -> str:
    try:
        return hashlib.sha256(regular(path).read_bytes()).hexdigest()
    except FileNotFoundError:
        raise UserError(
            f"{where} names the list file {path}, which does not exist (an entry that ends in .txt is a file: "
            "relative to the protocol file, or with --set to the current folder)"
        ) from None
    except OSError as error:
        raise UserError(f"{where}: {path}: cannot be read: {error.strerror or error}") from None


def is_count(text: str) -> bool:
    """Whether ``--episodes`` is a number of episodes rather than a file."""
    return re.fullmatch(r"-?[0-9]{1,12}", text) is not None


def list_path(text: str, fold: int) -> Path:
    """The file of one fold: ``{fold}`` is its number, ``{fold-1}`` its number counted from 0."""
    return Path(text.replace(_FOLD, str(fold)).replace(_FOLD_FROM_0, str(fold - 1)))


def list_family(text: str, fold: int) -> str:
    """What the files of one experiment's folds have in common: the path, with the fold's number replaced.

    The number is that behind ``fold`` or ``split`` in the file's name, counted from 1 or from 0; else the only number
    in the name that is the fold; else that of a folder ``fold1``, ``fold_2``, ... that the file lies in. A path without
    such a number belongs to no other fold and is given back as it is, as is one in which the number stands as
    ``{fold}`` already. ``list_path(list_family(text, fold), fold)`` is the file.

    Args:
        text: as given to ``--episodes``.
        fold: the fold that the file was used on, from 1.
    """
    path = PurePath(text)
    if _FOLD in text or _FOLD_FROM_0 in text:
        return str(path)
    name = path.name
    behind_word = [match.span(2) for match in _AFTER_WORD.finditer(name)]
    places = behind_word or [match.span() for match in _NUMBER.finditer(name) if match[0] == str(fold)]
    if places:
        return str(path.with_name(_replaced(name, places, fold)))
    folder = path.parent.name
    if match := _AFTER_WORD.fullmatch(folder):
        return str(path.parent.with_name(_replaced(folder, [match.span(2)], fold)) / name)
    return str(path)


def _replaced(name: str, places: Sequence[tuple[int, int]], fold: int) -> str:
    """``name`` with its only number replaced; as it is where that is not the fold's or there are several."""
    words = {str(fold): _FOLD, str(fold - 1): _FOLD_FROM_0}
    start, stop = places[0]
    number = name[start:stop]
    return name if len(places) > 1 or number not in words else name[:start] + words[number] + name[stop:]
