"""Where the package's data folders, the data sets, the caches and the results are; what may be opened or named."""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from pathlib import Path

from fsseg_bench.errors import UserError

_PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """A data folder, ``"protocols"`` or ``"results/published"``: in the wheel, or beside the package.

    Raises:
        UserError: neither place has it; the message names both.
    """
    places = (_PACKAGE / name, _PACKAGE.parent / name)
    for place in places:
        if place.is_dir():
            return place
    tried = " and ".join(map(str, places))
    raise UserError(f"the data folder {name!r} is missing: looked in {tried}; reinstall fsseg-bench")


def data_root(given: Path | str | None = None) -> Path | None:
    """The folder that holds the data sets: ``given``, else ``FSSEG_DATA``, else None."""
    value = given if given is not None else os.environ.get("FSSEG_DATA")
    return Path(value).expanduser() if value else None


def cache_root() -> Path:
    """The folder for what can be made again (pair indices, embedded data, weights).

    ``FSSEG_CACHE``, else ``$XDG_CACHE_HOME/fsseg-bench``, else ``~/.cache/fsseg-bench``.

    Raises:
        UserError: none of them is set, and the user has no home folder, as in a container that does not know them.
    """
    if value := os.environ.get("FSSEG_CACHE"):
        return Path(value).expanduser()
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "fsseg-bench"
    try:
        return Path.home() / ".cache" / "fsseg-bench"
    except RuntimeError:  # no HOME, and no entry in passwd
        raise UserError(
            "there is no home folder to keep caches in (HOME is not set, and the system does not know this user): set "
            "FSSEG_CACHE to a folder that can be written"
        ) from None


def results_root(given: Path | str | None = None) -> Path:
    """The folder for run records: ``given``, else ``FSSEG_RESULTS``, else ``results/runs`` where one is."""
    value = given if given is not None else os.environ.get("FSSEG_RESULTS")
    return Path(value).expanduser() if value else Path("results") / "runs"


def regular(path: Path) -> Path:
    """``path`` itself, once it is sure that opening it cannot wait for ever (a pipe) or never end (a device).

    Raises:
        OSError: there is no such file, it is a folder, a pipe or a device, or its name cannot be one.
    """
    try:
        mode = path.stat().st_mode
    except ValueError:
        raise OSError(errno.EINVAL, "the name holds a NUL character", str(path)) from None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file (a pipe or a device)", str(path))
    return path


def storable(text: str) -> bool:
    """Whether files and records can hold ``text``: it has a form in UTF-8 and no NUL character."""
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in ("" if text.isascii() else text))


def one_line(text: str) -> bool:
    """Whether ``text`` can be a name in files and on screens: no control character, line end or lone surrogate."""
    return text.isprintable() or not any(unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} for c in text)
