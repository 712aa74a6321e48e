"""The files of a folder by their stems."""

from __future__ import annotations

from pathlib import Path

from fsseg_bench.errors import UserError


def by_stem(folder: Path, *suffixes: str) -> dict[str, Path]:
    """The files with one of ``suffixes`` (small letters; files have them in any case), by stem, sorted.

    Hidden files are left out. No such folder: none.

    Raises:
        UserError: two differ in the suffix alone.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        if path.stem in found:
            raise UserError(f"{path} and {found[path.stem].name} have the same name but for the suffix; take one away")
        found[path.stem] = path
    return found


def needed(files: dict[str, Path], stem: str, where: Path, what: str) -> Path:
    """The file of ``stem``.

    Raises:
        UserError: there is none; says ``what`` it would be.
    """
    if stem not in files:
        raise UserError(f"{where / stem}: no such {what}; what was given is not the whole data set")
    return files[stem]
