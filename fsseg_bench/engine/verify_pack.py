"""Whether what a pack holds is what was recorded: the file itself, then each record in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fsseg_bench.engine.verify import Look, Verdict, verify
from fsseg_bench.errors import UserError
from fsseg_bench.records.info import CHECKPOINT_FILE, run_folder
from fsseg_bench.records.pack import MANIFEST, PackedRecord
from fsseg_bench.records.read import read_run
from fsseg_bench.records.unpack import unpack
from fsseg_bench.storage.files import writing


def verify_pack(
    path: Path, work: Path, further: Mapping[str, Look] | None = None, checkpoints: Path | None = None
) -> dict[Path | None, list[Verdict]]:
    """The verdicts on a pack by record (its folder in ``work``, where the pack is unpacked), and on the file (None).

    Args:
        path: the pack.
        work: a folder in which it may be unpacked.
        further: as for :func:`fsseg_bench.engine.verify.verify`.
        checkpoints: a results folder that has checkpoints of some of the records.
    """
    try:
        unpacked = unpack(path, work)
    except UserError as error:
        return {None: [Verdict(MANIFEST, False, str(error).removeprefix(f"{path}: "))]}
    manifest = unpacked.manifest
    whose = ", ".join(sorted({record.by or "nobody named" for record in manifest.records})) or "nobody named"
    told = f"{len(manifest.files):,} files of {len(manifest.records):,} records, each with its SHA-256; by {whose}"
    private = "; paths and machines were left out" if manifest.private else ""
    found: dict[Path | None, list[Verdict]] = {
        None: [Verdict(MANIFEST, True, f"{told}{private}; digest {unpacked.digest}")]
    }
    for record, folder in zip(manifest.records, unpacked.folders, strict=True):
        if checkpoints is not None:
            _link(checkpoints / record.folder / CHECKPOINT_FILE, folder / CHECKPOINT_FILE)
        found[folder] = [*verify(folder, further), *_place(record, folder)]
    return found


def _place(record: PackedRecord, folder: Path) -> list[Verdict]:
    """Whether the manifest says of a record what its own settings say."""
    try:
        info = read_run(folder).info
    except UserError:
        return []
    own = run_folder(Path(), info.settings).as_posix()
    if (own, info.identity) != (record.folder, record.identity):
        return [Verdict(MANIFEST, False, f"states {record.folder} with identity {record.identity[:8]}; it is {own}")]
    return []


def _link(source: Path, target: Path) -> None:
    """Puts a checkpoint beside its record for the time of the check."""
    if source.is_file():
        with writing(target):
            target.symlink_to(source.resolve())
