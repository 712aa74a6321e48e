"""From the files that publishers give to the files that a protocol reads: one module a rule, with a function ``make``.

``sources.toml`` names the module as ``make`` of a data set. Its ``make(making)`` finds the parts' files under
``making.root`` and puts what it makes there through :class:`Making`, which records it: ``data verify`` compares the
files with the record, and nothing is made twice from the same files. The module's docstring states the rule.
"""

from __future__ import annotations

import hashlib
import importlib.util
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from fsseg_bench.data.prepare.manifest import Content, Manifest, crc_of, read_manifest
from fsseg_bench.data.prepare.sources import Dataset
from fsseg_bench.errors import UserError
from fsseg_bench.progress import Progress
from fsseg_bench.protocol.find import PREPARED, prepared_protocols
from fsseg_bench.storage.files import atomic_writer, link_atomic, make_folder, remove_leftovers, writing


@dataclass
class Making:
    """Puts what is made under the data root, and keeps what it says."""

    dataset: Dataset
    root: Path
    """The data root; all names are relative to it, with ``/``."""
    progress: Progress
    placed: dict[str, Content] = field(default_factory=dict)
    """What was put under which name."""
    notes: list[str] = field(default_factory=list)
    """What ``data prepare`` and ``data verify`` say of it: what was left out, and how many."""

    def write(self, name: str, content: bytes) -> None:
        """Puts ``content`` at ``name``; a file that holds it already stays.

        Raises:
            UserError: the name was given before, full disk, or unwritable folder.
        """
        target = self._new(name)
        placed = Content(len(content), zlib.crc32(content))
        if not _holds(target, placed):
            make_folder(target.parent)
            with atomic_writer(target, sync=False) as file:
                file.write(content)
        self.placed[name] = placed

    def link(self, path: Path, name: str) -> None:
        """Puts the file ``path`` at ``name`` too, by a hard link or as a copy where links are not possible.

        Raises:
            UserError: as :meth:`write`, or the file cannot be read.
        """
        target = self._new(name)
        try:
            placed = Content(path.stat().st_size, crc_of(path))
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
        if not _holds(target, placed):
            make_folder(target.parent)
            link_atomic(path.resolve(), target)
        self.placed[name] = placed

    def protocol(self, lists: Mapping[str, Sequence[str]]) -> None:
        """Puts the protocol of the data set, whose classes depend on the data, into a folder of its name.

        ``lists`` are the names of each list file, without ``.txt``, that its template names.

        Raises:
            UserError: as :meth:`write`.
        """
        name = self.dataset.name
        for list_name, names in lists.items():
            self.write(f"{name}/{list_name}.txt", "".join(f"{entry}\n" for entry in names).encode())
        self.write(f"{name}/{PREPARED}", prepared_protocols()[name].read_bytes())

    def note(self, text: str) -> None:
        """Says something of what was made; it is kept with the record."""
        self.notes.append(text)

    def _new(self, name: str) -> Path:
        if name in self.placed:
            raise UserError(f"{self.root / name}: would be made twice; two of the files that were given have one name")
        return self.root / name


def make(dataset: Dataset, root: Path, progress: Progress) -> None:
    """Makes the data of ``dataset`` from its parts, which must be in place, unless that was done from these very files.

    What an earlier making left that is not made any more is removed.

    Raises:
        UserError: the parts' files are not what the rule works on; names the file.
    """
    origin = _origin(dataset, root)
    before = read_manifest(root, made_by(dataset))
    if before is not None and before.origin == origin and not any(before.changed(root)):
        return
    module = importlib.import_module(f"{__name__}.{dataset.make}")
    making = Making(dataset, root, progress)
    cast(Callable[[Making], None], module.make)(making)
    with writing(root):
        for folder in {(root / name).parent for name in making.placed}:
            remove_leftovers(folder)
        for name in before.files.keys() - making.placed.keys() if before is not None else ():
            with suppress(FileNotFoundError):
                (root / name).unlink()
    Manifest(made_by(dataset), origin, making.placed, tuple(making.notes)).write(root)


def made_by(dataset: Dataset) -> str:
    """The name of the record of what was made."""
    return f"made-{dataset.name}"


def _origin(dataset: Dataset, root: Path) -> str:
    """The rule's name, and a digest of it and of the files that it works on."""
    digest = hashlib.sha256()
    for part in dataset.parts:
        manifest = read_manifest(root, part.name)
        for name, content in sorted(manifest.files.items()) if manifest is not None else ():
            digest.update(f"{content.crc:08x} {content.size} {name}\n".encode())
    rule = importlib.util.find_spec(f"{__name__}.{dataset.make}")
    if rule is not None and rule.origin is not None:  # another rule makes other files
        digest.update(Path(rule.origin).read_bytes())
    return f"{dataset.make} {digest.hexdigest()}"


def _holds(path: Path, content: Content) -> bool:
    try:
        return path.stat().st_size == content.size and crc_of(path) == content.crc
    except OSError:
        return False
