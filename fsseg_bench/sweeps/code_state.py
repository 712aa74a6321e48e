"""What code a sweep was planned with: that of the package, and of the folders that its cells name; without torch."""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from fsseg_bench.paths import folder
from fsseg_bench.plugins import package_folders
from fsseg_bench.sweeps.options import SET, whole_paths
from fsseg_bench.sweeps.spec import Spec

_PACKAGES: Final = ("fsseg_bench", "fsseg_methods")
_FOLDERS: Final = {
    "methods_path": "FSSEG_METHODS_PATH",
    "backbones_path": "FSSEG_BACKBONES_PATH",
    "sources_path": "FSSEG_SOURCES_PATH",
}


def code_state(spec: Spec, root: Path) -> str:
    """SHA-256 (hex) of everything beside the sweep's file that its plan depends on and that is quickly read.

    That is every Python file of the package, of the methods and of the users' folders, all protocols and lists that are
    named, and where records and data are. A change of it may give runs another identity; most changes do not, and then
    a new plan is like the old one. Data and weights themselves are not in it: where they have changed, a run refuses to
    begin.
    """
    digest = hashlib.sha256(f"{root.absolute()}\n{os.environ.get('FSSEG_DATA', '')}\n".encode())
    for place, patterns in _places(spec):
        digest.update(f"{place}\n".encode())
        for file in _files(place, patterns):
            name = file.relative_to(place) if file != place else file.name
            digest.update(f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _places(spec: Spec) -> Iterator[tuple[Path, tuple[str, ...]]]:
    for package in _PACKAGES:
        yield from ((place, ("*.py", "*.pyi")) for place in package_folders(package))
    yield folder("protocols"), ("*.toml", "*.txt")
    for option, variable in _FOLDERS.items():
        named = [os.environ.get(variable, ""), *map(str, _values(spec, option))]
        for given in filter(None, named):
            yield Path(given).expanduser().absolute(), ("*.py",)
    for key in ("dataset", f"{SET}protocol.data.train_list", f"{SET}protocol.data.test_list", "episodes"):
        for value in _values(spec, key):
            for one in value if isinstance(value, list) else [value]:
                yield from ((path, ()) for path in _named_files(str(one)))


def _values(spec: Spec, option: str) -> list[Any]:
    tables = [spec.common, spec.training or {}]
    found = [table[option] for table in tables if option in table]
    found += [value for lists in (spec.grid or {}, *spec.also) for value in lists.get(option, ())]
    return [whole_paths({option: value})[option] for value in found if value is not None]


def _named_files(text: str) -> Iterator[Path]:
    """The file of this name, if there is one; of ``{fold}`` in it those of all folds."""
    path = Path(text)
    if path.is_absolute() and path.suffix in {".toml", ".txt", ".csv"}:
        pattern = path.name.replace("{fold-1}", "*").replace("{fold}", "*")
        yield from sorted(path.parent.glob(pattern)) if pattern != path.name else [path]
    if path.suffix == ".toml" and path.is_file():
        yield from _files_of_protocol(path)


def _files_of_protocol(path: Path, endings: tuple[str, ...] = (".txt", ".toml")) -> Iterator[Path]:
    """The list files of a protocol, and the one that it trains on; what cannot be read, the plan itself tells."""
    with suppress(OSError, ValueError, RecursionError):
        texts = [text for value in tomllib.loads(path.read_text("utf-8-sig")).values() for text in _texts(value)]
        places = [path.parent / Path(text).expanduser() for text in texts if text.endswith(endings)]
        for place in filter(Path.is_file, places):
            yield place
            if place.suffix == ".toml":  # which trains on no other one
                yield from _files_of_protocol(place, (".txt",))


def _texts(value: Any) -> Iterator[str]:
    """All texts in a value of TOML."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def _files(place: Path, patterns: Iterable[str]) -> list[Path]:
    if place.is_file():
        return [place]
    return sorted({file for pattern in patterns for file in place.rglob(pattern) if file.is_file()})
