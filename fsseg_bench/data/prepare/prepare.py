"""A preparation from beginning to end. Whatever stops it, the same call goes on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from fsseg_bench.data.index import build_index
from fsseg_bench.data.open import open_source
from fsseg_bench.data.prepare.archives import ArchiveError
from fsseg_bench.data.prepare.counts import count_lines
from fsseg_bench.data.prepare.download import PARTIAL, DownloadError, Patience, difference, download
from fsseg_bench.data.prepare.making import made_by, make
from fsseg_bench.data.prepare.manifest import FOLDER, Content, Manifest, Record, read_manifest
from fsseg_bench.data.prepare.place import place_archive, place_folder
from fsseg_bench.data.prepare.plan import DOWNLOADS, Plan, Step, gigabytes, make_plan
from fsseg_bench.data.prepare.sources import Dataset
from fsseg_bench.data.prepare.verify import verify
from fsseg_bench.errors import UserError
from fsseg_bench.progress import Progress
from fsseg_bench.protocol.find import PREPARED, prepared_protocols
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.storage.files import remove_leftovers, write_atomic, writing
from fsseg_bench.storage.lock import FolderLock

_SHOWN = 10


@dataclass(frozen=True)
class Options:
    """How a preparation is made."""

    given: tuple[Path, ...] = ()
    """Archives and folders to use in place of downloads."""
    subset: bool = False
    """What is given is all there is to be; nothing is downloaded, and the known counts are not asked for."""
    mirrors: tuple[str, ...] = ()
    """Addresses of folders that hold the archives; tried before the official ones."""
    keep_archives: bool = False
    """Downloads stay after they are unpacked."""
    patience: Patience = field(default_factory=Patience)


def protocol_of(
    dataset: Dataset, name: str | None = None, sources_path: Path | str | None = None, root: Path | None = None
) -> Protocol:
    """The protocol ``name`` of a data set, with its year; None and names of the data set itself are its first one.

    Raises:
        UserError: the protocol file is missing or wrong, or its data were not prepared under ``root``.
    """
    name = name if name in dataset.protocols else dataset.protocols[0]
    if root is not None and name in prepared_protocols() and (written := root / name / PREPARED).is_file():
        name = str(written)
    return load_protocol(name, {"data.year": str(dataset.year)} if dataset.year else {}, sources_path)


def prepare_dataset(
    dataset: Dataset, root: Path | None, options: Options, confirm: Callable[[Plan], None], progress: Progress
) -> Record:
    """Downloads, unpacks and checks what is missing under ``root``, and builds the pair index.

    ``root`` is made when it is missing, and None for data that are made by code. ``confirm`` is shown the plan before
    anything is done, and raises to stop.

    Raises:
        UserError: no network (lists what to fetch by hand), a wrong or unsafe archive, no room, or a result that is
            not the data set.
    """
    if root is None or not dataset.parts:
        return _index(dataset, None, False, progress)
    with FolderLock(root / FOLDER, "preparing data", "wait for it"):
        with writing(root / FOLDER):
            remove_leftovers(root / FOLDER)
        plan = make_plan(dataset, root, options.given, options.subset, options.keep_archives, options.mirrors)
        for line in plan.lines():
            progress.say(line)
        plan.check_given()
        plan.check_room()
        confirm(plan)
        for step in plan.steps:
            _do(step, plan, options, progress)
        if dataset.make:
            make(dataset, root, progress)
        if options.subset:
            _complete_lists(dataset, root)
        record = _finish(dataset, root, options.subset, progress)
        _tidy(plan)
    return record


def _do(step: Step, plan: Plan, options: Options, progress: Progress) -> None:
    part, root = step.part, plan.root
    origin = f"{part.archive} {part.digest}".strip()
    placed: dict[str, Content] = {}
    if step.how in {"folder", "there"} and step.layout is not None:
        placed = place_folder(step.files, step.layout, root, progress)
        origin = "files that were given" if step.how == "folder" else "files that were there"
    elif step.how == "archive" and step.archive is not None:
        if wrong := difference(step.archive, part, progress):
            raise UserError(f"{step.archive}: is not the published {part.archive}: it has {wrong}")
        placed = place_archive(step.archive, part, root, progress)
    elif step.how == "download":
        try:
            archive = download(part, root / DOWNLOADS, options.mirrors, options.patience, progress)
            placed = place_archive(archive, part, root, progress)
        except DownloadError as error:
            raise UserError(f"{error}\n{_by_hand(plan)}") from None
        except ArchiveError as error:
            _delete(root / DOWNLOADS / part.archive)
            raise ArchiveError(f"{error} (the download is deleted; the next attempt starts anew)") from None
    if placed:
        Manifest(part.name, origin, placed).write(root)
        progress.say(f"{part.title}: {len(placed):,} files are in place")
        if step.how == "download" and not options.keep_archives:
            _delete(root / DOWNLOADS / part.archive)


def _by_hand(plan: Plan) -> str:
    """What to fetch for the parts that have no files yet, and where to put it."""
    lines = ["Without a network, fetch these elsewhere, put them into one folder and add --from FOLDER:"]
    for step in plan.steps:
        part = step.part
        if step.how == "download" and not (plan.root / FOLDER / f"{part.name}.txt").is_file():
            size = gigabytes(part.size) if part.size else "size not known"
            lines.append(f"  {part.archive}, {size}, {part.digest or 'no checksum published'}")
            lines += [f"    {url}" for url in part.urls]
    lines.append("With a network, the same command goes on where it stopped.")
    return "\n".join(lines)


def _complete_lists(dataset: Dataset, root: Path) -> None:
    """Writes the lists that a part of the data set lacks and that others stand in for."""
    protocol = protocol_of(dataset, root=root)
    for path, text in open_source(protocol, root).lists_to_add(protocol).items():
        with writing(path.parent):
            remove_leftovers(path.parent)
        write_atomic(path, text)


def _finish(dataset: Dataset, root: Path, subset: bool, progress: Progress) -> Record:
    """Checks the lists and their files, reads every mask, and writes what came out."""
    # the data of a protocol that is trained on are prepared under its own name
    protocol = replace(protocol_of(dataset, root=root), train=None)
    found = verify(dataset, protocol, root, progress, fast=True, expected={} if subset else dataset.images)
    if found.problems:
        shown = "".join(f"\n  {problem}" for problem in found.problems[:_SHOWN])
        more = f"\n  and {len(found.problems) - _SHOWN:,} more" if len(found.problems) > _SHOWN else ""
        hint = "" if subset else "\nIf a part of the data set is all you have and want, add --subset."
        raise UserError(f"{root}: this is not {dataset.name}:{shown}{more}{hint}")
    record = _index(dataset, root, subset, progress)
    record.write(root)
    return record


def _index(dataset: Dataset, root: Path | None, subset: bool, progress: Progress) -> Record:
    progress.say("reading every mask for the pair index")
    protocol = protocol_of(dataset, root=root)
    source = open_source(protocol, root)
    index = build_index(source, protocol)
    lists = dict.fromkeys((*protocol.data.train_list, *protocol.data.test_list))
    made = read_manifest(root, made_by(dataset)) if root is not None and dataset.make else None
    said = (*(made.notes if made is not None else ()), *count_lines(dataset, index))
    return Record(dataset.name, index.fingerprint, subset, {name: len(source.ids(name)) for name in lists}, said)


def _tidy(plan: Plan) -> None:
    """Removes what interrupted attempts have left in the folder of downloads."""
    folder = plan.root / DOWNLOADS
    for step in plan.steps:
        _delete(folder / f"{step.part.archive}{PARTIAL}")
        if not plan.keep_archives:
            _delete(folder / step.part.archive)
    with suppress(OSError):
        folder.rmdir()


def _delete(path: Path) -> None:
    with writing(path):
        path.unlink(missing_ok=True)
