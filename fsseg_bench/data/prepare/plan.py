"""What a preparation will do: what is there already, what must come from where, and the room that takes."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from fsseg_bench.data.prepare.archives import find_folder
from fsseg_bench.data.prepare.download import PARTIAL
from fsseg_bench.data.prepare.manifest import FOLDER, Manifest, read_manifest, read_record
from fsseg_bench.data.prepare.place import find_files, other_case
from fsseg_bench.data.prepare.sources import Dataset, FileSet, Part, is_archive
from fsseg_bench.errors import UserError

DOWNLOADS = f"{FOLDER}/downloads"
"""Folder under the data root where downloads go; they are deleted once they are unpacked."""
_SPARE = 1.02
"""Room for files over their size: blocks and folders."""

_DEEP = 3
"""Folders with a mark are looked for so many levels below what was given."""

How = Literal["finished", "there", "archive", "folder", "download", "left out", "missing"]


@dataclass(frozen=True)
class Step:
    """What is done about one part."""

    part: Part
    how: How
    archive: Path | None = None
    """archive: the file that is unpacked."""
    layout: FileSet | None = None
    """there and folder: how the files lie."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """there and folder: the files by their path in the layout."""
    partial: int = 0
    """download: bytes that are there from an earlier attempt."""
    copied: int = 0
    """folder: bytes of the files on another disk, which must be copied."""

    @property
    def download(self) -> int:
        """Bytes to download."""
        return max(0, self.part.size - self.partial) if self.how == "download" else 0


@dataclass(frozen=True)
class Plan:
    """A preparation before it starts."""

    dataset: Dataset
    root: Path
    steps: tuple[Step, ...]
    keep_archives: bool = False

    @property
    def download(self) -> int:
        """Bytes to download."""
        return sum(step.download for step in self.steps)

    @property
    def room(self) -> int:
        """Bytes that the disk must have free: the largest sum of what lies there at one time."""
        used = most = 0
        for step in self.steps:
            if step.how == "folder":  # links take no room, so only what lies on another disk counts
                used += step.copied
                most = max(most, used)
            if step.how not in {"archive", "download"}:
                continue
            unpacked = max(0, int(step.part.unpacked * _SPARE) - _present(self.root, step.part))
            most = max(most, used + step.download + unpacked)
            # A download is deleted when it is unpacked, and what there was of it gives room as well.
            used += unpacked
            if step.how == "download":
                used += step.download if self.keep_archives else -step.partial
        return most

    def check_given(self) -> None:
        """Whether all parts without an address that stays are there.

        Raises:
            UserError: some are not; says where people get them and what to do with them.
        """
        missing = [step.part for step in self.steps if step.how == "missing"]
        if missing:
            told = "".join(f"\n  {part.title}: {part.get}\n    {_wanted(part)}" for part in missing)
            raise UserError(
                f"{self.dataset.name}: there is no address that stays for these; get them, and give the same command "
                f"with --from ARCHIVE or --from FOLDER (unpacked, at any depth):{told}"
            )

    def check_room(self) -> None:
        """Compares the room with what is free.

        Raises:
            UserError: it is not enough; says how much is needed and free.
        """
        free = free_bytes(self.root)
        if self.room > free:
            raise UserError(
                f"{self.root}: {gigabytes(self.room)} are needed and {gigabytes(free)} are free; make room, or name "
                "another folder with --root"
            )

    def lines(self) -> Iterator[str]:
        """The plan as text."""
        yield f"{self.dataset.name} in {self.root}"
        for step in self.steps:
            yield f"  {step.part.title} ({step.part.terms}): {_line(step)}"
        free = f"free: {gigabytes(free_bytes(self.root))}"
        unknown = sum(step.how == "download" and not step.part.size for step in self.steps)
        more = f" and {unknown} archive{'s' * (unknown > 1)} of unknown size" if unknown else ""
        yield f"to download: {gigabytes(self.download)}{more}; room needed: {gigabytes(self.room)}, {free}"


def make_plan(
    dataset: Dataset,
    root: Path,
    given: Sequence[Path],
    subset: bool,
    keep_archives: bool,
    mirrors: Sequence[str] = (),
) -> Plan:
    """Looks at what there is under ``root``, and in ``given``.

    What may be given: archives, folders of archives, and folders that hold files in a layout of the data set. With
    ``subset`` that is all there is to be.

    Raises:
        UserError: something given does not exist or serves for nothing.
    """
    _check_given(dataset, given)
    record = read_record(root, dataset.name)
    partly = subset or (record is not None and not record.subset)
    steps: list[Step] = []
    for part in dataset.parts:
        step = _step(part, root, given, subset, partly)
        nowhere = part.get and step.how == "download" and not (part.urls or mirrors or step.partial)
        steps.append(Step(part, "missing") if nowhere else step)
    return Plan(dataset, root, tuple(steps), keep_archives)


def gigabytes(size: int) -> str:
    """A size for people, with a unit of powers of ten."""
    if not size:
        return "nothing"
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def free_bytes(folder: Path) -> int:
    """Free bytes of the disk that ``folder`` is or will be on."""
    return shutil.disk_usage(_existing(folder)).free


def _existing(folder: Path) -> Path:
    return next(path for path in [folder, *folder.absolute().parents] if path.exists())


def _line(step: Step) -> str:
    if step.how == "download":
        here = f", {gigabytes(step.partial)} are here" if step.partial else ""
        size = gigabytes(step.part.size) if step.part.size else "its size is not known"
        return f"download {step.part.archive}, {size}{here}"
    if step.how == "archive":
        return f"unpack {step.archive}"
    if step.how == "folder" and step.layout is not None:
        found = _matches(step.layout, step.files)
        few = [f"{found[p]:,} of {count:,} {p}" for p, count in step.layout.files.items() if found[p] < count]
        counted = f"{len(step.files):,} files that were given" + (f" ({', '.join(few)})" if few else "")
        if other := other_case(step.files, step.layout):
            counted += (
                f"; left out: {len(other):,} whose endings are in another case ({other[0]}); rename them, and give the "
                "command again"
            )
        return counted
    words = {"finished": "prepared", "there": "its files are there", "left out": "not given, left out"}
    return words.get(step.how, "missing")


def _step(part: Part, root: Path, given: Sequence[Path], subset: bool, partly: bool) -> Step:
    """What is to be done about a part; ``partly``: it may be finished without all of its files."""
    manifest = read_manifest(root, part.name)
    finished = manifest is not None and (partly or _whole(part, manifest)) and not any(manifest.changed(root))
    for place in given:
        if finished and _find_archive(part, place):
            break
        if archive := _find_archive(part, place):
            inside = find_folder(archive, part.mark) if part.mark else None
            return Step(part.packed_as(archive.name, inside) if inside else part, "archive", archive=archive)
        for layout in part.layouts:
            if files := _find_folder(part, layout, place):
                if manifest is not None and finished and not _adds(manifest, layout, files):
                    return Step(part, "finished")
                facts, disk = [path.stat() for path in files.values()], _existing(root).stat().st_dev
                copied = sum(fact.st_size for fact in facts if fact.st_dev != disk)  # others can be linked
                return Step(part, "folder", layout=layout, files=files, copied=copied)
    if finished:
        return Step(part, "finished")
    if subset:
        return Step(part, "left out")
    here = root / DOWNLOADS / part.archive
    if here.is_file():  # downloaded, and not or not wholly unpacked
        size = here.stat().st_size
        return Step(part, "download", partial=min(size, part.size or size))
    for layout in part.layouts:
        files = find_files(root / layout.target, layout)
        if manifest is None and files and _all_there(layout, files):
            return Step(part, "there", layout=layout, files=files)
    unfinished = here.with_name(here.name + PARTIAL)
    size = unfinished.stat().st_size if unfinished.is_file() else 0
    return Step(part, "download", partial=size if size <= part.size or not part.size else 0)


def _adds(manifest: Manifest, layout: FileSet, files: Mapping[str, Path]) -> bool:
    """Whether files that are given are not there yet, or have another size than those that are."""
    known = manifest.files
    named = ((f"{layout.target}/{name}", path) for name, path in files.items())
    return any(name not in known or known[name].size != path.stat().st_size for name, path in named)


def _whole(part: Part, manifest: Manifest) -> bool:
    """Whether a finished part has all files of one of its layouts; a subset of it may have fewer."""
    return any(_all_there(s, [name.removeprefix(f"{s.target}/") for name in manifest.files]) for s in part.layouts)


def _all_there(layout: FileSet, names: Iterable[str]) -> bool:
    found = _matches(layout, names)
    return all(found[pattern] >= count for pattern, count in layout.files.items())


def _matches(layout: FileSet, names: Iterable[str]) -> Counter[str]:
    return Counter(pattern for name in names for pattern in layout.files if PurePosixPath(name).match(pattern))


def _present(root: Path, part: Part) -> int:
    """Bytes of a part's files that an earlier attempt has unpacked."""
    folder = root / part.layout.target
    return sum(path.stat().st_size for pattern in part.layout.files for path in folder.glob(pattern))


def _find_archive(part: Part, place: Path) -> Path | None:
    if place.is_file():
        right = place.name == part.archive or (part.get and is_archive(place.name) and find_folder(place, part.mark))
        return place if right else None
    path = place / part.archive
    return path if path.is_file() else None


def _find_folder(part: Part, layout: FileSet, place: Path) -> dict[str, Path]:
    """The files of a layout in ``place``: under the layout's folder, a tail of its path, or right there.

    With a mark: in the first folder that has it, ``place`` and the nearest ones first.
    """
    if part.mark and layout is not part.instead:
        marked = (folder for folder in _folders(place) if any(folder.glob(part.mark)))
        return next((files for folder in marked if (files := find_files(folder, layout))), {})
    tails = [PurePosixPath(*PurePosixPath(layout.target).parts[i:]) for i in range(layout.target.count("/") + 1)]
    folders = [place / tail for tail in [*tails, PurePosixPath(part.inside)]]
    # Patterns like *.jpg would match anywhere; they need a folder of the right name.
    if place.name == tails[-1].name or not any(pattern.startswith("*") for pattern in layout.files):
        folders.append(place)
    return next((files for folder in folders if (files := find_files(folder, layout))), {})


def _folders(place: Path) -> Iterator[Path]:
    """``place`` and the folders below it, level by level."""
    level = [place] if place.is_dir() else []
    for _ in range(_DEEP + 1):
        yield from level
        inside = (path for folder in level for path in sorted(folder.iterdir()) if not path.name.startswith("."))
        level = [path for path in inside if path.is_dir()]


def _wanted(part: Part) -> str:
    """What may be given for a part."""
    return ", or ".join([part.archive, *(f"a folder with {', '.join(layout.files)}" for layout in part.layouts)])


def _check_given(dataset: Dataset, given: Sequence[Path]) -> None:
    for place in given:
        if not place.exists():
            raise UserError(f"--from {place}: no such file or folder")
        if any(_find_archive(part, place) for part in dataset.parts):
            continue
        if any(_find_folder(part, layout, place) for part in dataset.parts for layout in part.layouts):
            continue
        wanted = "".join(f"\n  {_wanted(part)}" for part in dataset.parts)
        known = " (an archive is known by its name: rename a copy that has another)" if place.is_file() else ""
        raise UserError(f"--from {place}: holds nothing of {dataset.name}. What may be given{known}:{wanted}")
