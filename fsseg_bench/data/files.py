"""Which files of a folder are data, and which file a name stands for: the one place that knows how names may vary."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote

from fsseg_bench.data.decode import IMAGE_SUFFIXES
from fsseg_bench.errors import UserError
from fsseg_bench.paths import one_line, storable

MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
"""Suffixes, in small letters, of files that keep each value of a mask."""
_OF_SYSTEMS = {"thumbs.db", "desktop.ini", "__macosx", "@eadir"}
_SHOWN = 3


def is_hidden(name: str) -> bool:
    """Whether a file or folder is the system's: its name begins with a dot, or is ``Thumbs.db`` or the like."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def suffix_of(name: str) -> str:
    """The suffix of a file's name in small letters, with its dot."""
    return PurePosixPath(name).suffix.lower()


def shown(names: Collection[object]) -> str:
    """How many, and the first three: ``5 (a, b, c, ...)``."""
    first = ", ".join(str(name) for _, name in zip(range(_SHOWN), names, strict=False))
    return f"{len(names):,} ({first}{', ...' if len(names) > _SHOWN else ''})"


class _Names(NamedTuple):
    """What lies in a folder, hidden names apart."""

    names: tuple[str, ...]
    """Sorted; folders are among them."""
    stems: Mapping[str, tuple[str, ...]]
    composed: Mapping[str, tuple[str, ...]]
    """The same by the stem's composed form (NFC)."""
    hidden: tuple[str, ...]


def _names(folder: Path) -> _Names:
    try:
        return _listed(folder, folder.stat().st_mtime_ns)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL character
        return _Names((), {}, {}, ())
    except OSError as error:
        raise UserError(f"{folder}: cannot be looked into: {error.strerror or error}") from None


@lru_cache(maxsize=4096)
def _listed(folder: Path, changed: int) -> _Names:
    """``changed`` is the folder's time: a file that came or went is seen."""
    found = sorted(path.name for path in folder.iterdir())
    names = tuple(name for name in found if not is_hidden(name))
    stems: dict[str, tuple[str, ...]] = {}
    composed: dict[str, tuple[str, ...]] = {}
    for name in names:
        stem = PurePosixPath(name).stem
        stems[stem] = (*stems.get(stem, ()), name)
        form = unicodedata.normalize("NFC", stem)
        composed[form] = (*composed.get(form, ()), name)
    return _Names(names, stems, composed, tuple(name for name in found if is_hidden(name)))


def data_files(folder: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> list[Path]:
    """The data files of a folder, sorted by name: those with one of ``suffixes`` (in small letters), in any case.

    Hidden names are none; links whose file is gone are: whoever opens them says so. No such folder: none.

    Raises:
        UserError: the folder cannot be looked into, or a name is not UTF-8.
    """
    names = [name for name in _names(folder).names if suffix_of(name) in suffixes]
    for name in names:
        check_name(folder / name)
    return [folder / name for name in names]


def check_name(path: Path) -> None:
    """Refuses a name that is not UTF-8 or has a line break: no list, protocol or record can hold it.

    Raises:
        UserError: shows the bytes that are not, as ``caf\\xe9.jpg``.
    """
    if not storable(str(path)):
        raise UserError(
            f"{path}: the name is not UTF-8, so that no list or record can hold it; rename it (a folder of names in "
            "Latin-1: convmv -f latin1 -t utf8 -r --notest FOLDER)"
        )
    if not one_line(path.name):
        raise UserError(f"{str(path)!r}: the name has a line break or another control character; rename the file")


def folders_in(folder: Path) -> list[Path]:
    """The folders in ``folder``, hidden ones apart, sorted by name.

    Raises:
        UserError: ``folder`` cannot be looked into.
    """
    return [path for name in _names(folder).names if (path := folder / name).is_dir()]


def check_links(folder: Path) -> None:
    """Refuses links that lead nowhere, in ``folder`` and the folders in it; images are looked at when they are read.

    Raises:
        UserError: there is one; names it. Or a folder cannot be looked into.
    """
    for place in (folder, *folders_in(folder)):
        for path in (place / name for name in _names(place).names if suffix_of(name) not in IMAGE_SUFFIXES):
            if path.is_symlink() and not path.exists():
                raise UserError(
                    f"{path}: is a link to {path.readlink()}, which is not there; let it lead to where the data are "
                    "now, or take it away"
                )


def passed_over(folder: Path, suffixes: Collection[str]) -> tuple[list[str], list[str]]:
    """Names in ``folder`` that are no data: the system's hidden ones, and files with other suffixes."""
    names = _names(folder)
    others = [name for name in names.names if suffix_of(name) not in suffixes and not (folder / name).is_dir()]
    return list(names.hidden), others


def exact_file(folder: Path, stem: str, suffixes: Collection[str]) -> Path | None:
    """The file with this very stem (which may begin with folders) and one of ``suffixes`` in any case; None: no such.

    Raises:
        UserError: several files have the stem; names them.
    """
    return _only(folder / stem, stem, _names((folder / stem).parent).stems, suffixes)


def find_file(folder: Path, stem: str, suffixes: Collection[str]) -> Path | None:
    """As :func:`exact_file`; without such a file, the one that another of the stem's :func:`spellings` names.

    Raises:
        UserError: several files have the stem; names them.
    """
    for spelling in spellings(stem):
        names = _names((folder / spelling).parent)
        form = unicodedata.normalize("NFC", spelling)
        for text, stems in ((spelling, names.stems), (form, names.composed)):
            if found := _only(folder / spelling, text, stems, suffixes):
                return found
    return None


def _only(path: Path, stem: str, stems: Mapping[str, tuple[str, ...]], suffixes: Collection[str]) -> Path | None:
    last = stem.rpartition("/")[2]
    if last in {"", ".", ".."}:
        return None  # a folder
    found = [name for name in stems.get(last, ()) if suffix_of(name) in suffixes]
    if len(found) > 1:
        raise UserError(
            f"{path.parent / found[0]} and {found[1]} have the same name but for the suffix or the form of a letter; "
            "rename one"
        )
    return path.parent / found[0] if found else None


def find_named(folder: Path, name: str) -> Path | None:
    """The file that ``name`` (with folders and suffix) stands for in ``folder``: as it stands, else as spelled else.

    Raises:
        UserError: as :func:`find_file`.
    """
    try:
        if (folder / name).is_file():
            return folder / name
    except (OSError, ValueError):  # too long, or a NUL character
        return None
    if PurePosixPath(name).suffix == "":
        return None
    return find_file(folder, str(PurePosixPath(name).with_suffix("")), (suffix_of(name),))


def is_inside(name: str) -> bool:
    """Whether a name stays in the folder that it is looked up in."""
    return not name.startswith("/") and ".." not in PurePosixPath(name).parts


def spellings(name: str) -> Iterator[str]:
    """``name`` as it stands, and what else it may stand for.

    With backslashes as slashes, without percent escapes (``%20``), and with accents in one character or in two (NFC,
    NFD).
    """
    plain = [name, name.replace("\\", "/"), unquote(name), unquote(name).replace("\\", "/")]
    forms = [unicodedata.normalize(form, text) for form in ("NFC", "NFD") for text in plain]
    yield from dict.fromkeys([*plain, *forms])
