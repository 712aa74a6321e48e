"""Packs that a report reads beside the runs of this machine: unpacked for as long as the process lives."""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from fsseg_bench.records.unpack import unpack


def unpacked(packs: Sequence[Path | str]) -> Mapping[Path, str]:
    """By the folder that a pack's records are in now the pack's name, in the order given.

    Raises:
        UserError: no pack, or a damaged one.
    """
    return {_unpacked(Path(pack).expanduser().absolute()): str(pack) for pack in packs}


@cache
def _unpacked(pack: Path) -> Path:
    folder = tempfile.TemporaryDirectory(prefix="fsseg-pack-")
    atexit.register(folder.cleanup)
    unpack(pack, Path(folder.name))
    return Path(folder.name)
