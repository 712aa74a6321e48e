"""Which file a protocol's name means: the package's, one that was written with its data, or the user's own."""

from __future__ import annotations

from pathlib import Path

from fsseg_bench.errors import UserError, unknown
from fsseg_bench.paths import data_root, folder, regular

PREPARED = "protocol.toml"
"""The file that ``data prepare`` writes into a folder of the protocol's name, below the data root."""


def builtin_protocols() -> dict[str, Path]:
    """Names and files of the protocols that come with the package, sorted by name."""
    return {path.stem: path for path in sorted(folder("protocols").glob("*.toml"), key=lambda path: path.stem)}


def prepared_protocols() -> dict[str, Path]:
    """Names of the package's protocols whose classes depend on the data, and their files without lists of classes.

    ``data prepare NAME`` writes the file with its lists into ``NAME/`` below the data root.
    """
    return {path.stem: path for path in sorted((folder("protocols") / "prepared").glob("*.toml"))}


def find_protocol(name_or_path: str | Path, where: str = "--dataset") -> Path:
    """The file of a protocol's name, or the given file, which need not be there.

    Raises:
        UserError: no such name, a folder, or one whose lists of classes were not written yet; ``where`` it was given.
    """
    text = str(name_or_path)
    if (inside := Path(text).expanduser() / PREPARED).is_file() and text not in builtin_protocols():
        raise UserError(f"{text} is a folder; give {inside}")
    if is_path(text) or isinstance(name_or_path, Path):
        return Path(text).expanduser()
    known, prepared = builtin_protocols(), prepared_protocols()
    if text in prepared:
        return _prepared(text, data_root())
    if text not in known and Path(text).is_file():
        raise UserError(f"{where} {text}: a protocol's file is TOML, and its name ends in .toml")
    if text not in known:
        raise unknown("dataset", text, {*known, *prepared}, where=where)
    return known[text]


def _prepared(name: str, root: Path | None) -> Path:
    path = root / name / PREPARED if root is not None else None
    if path is not None and path.is_file():
        return path
    place = f"{path} is not there" if path is not None else "FSSEG_DATA is not set"
    raise UserError(
        f"--dataset {name}: its lists of classes are written from its data, and {place}; fsseg-bench data prepare "
        f"{name} --root DIR writes DIR/{name}/{PREPARED}: give that file, or its name with FSSEG_DATA=DIR"
    )


def is_own(path: Path) -> bool:
    """Whether a protocol file is the user's own, rather than one of the package or one that it has written."""
    if path.parent.resolve() == folder("protocols").resolve():
        return False
    template = prepared_protocols().get(path.parent.resolve().name)
    return path.name != PREPARED or template is None or template.read_bytes() != regular(path).read_bytes()


def is_path(protocol: str) -> bool:
    """Whether a protocol is named by its file."""
    return protocol.endswith(".toml") or "/" in protocol
