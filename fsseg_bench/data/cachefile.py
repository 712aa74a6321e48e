"""Arrays kept on disk that can be made again: written whole or not at all, read only when sound."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fsseg_bench.paths import regular
from fsseg_bench.storage.files import atomic_writer, make_folder

CACHE_ADVICE = "set FSSEG_CACHE to use another folder"
"""What helps where the cache cannot be written."""
Arrays = dict[str, npt.NDArray[Any]]


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes ``arrays`` (no object arrays) to ``path`` in one step, folders included.

    Raises:
        UserError: the folder cannot be written, for example because the disk is full.
    """
    make_folder(path.parent, CACHE_ADVICE)
    with atomic_writer(path, advice=CACHE_ADVICE) as file:
        np.savez(file, **arrays)


def load_arrays(path: Path, names: Iterable[str]) -> Arrays | None:
    """The arrays ``names`` of ``path``; None when there is no such file, it lacks one, or it is damaged."""
    try:
        with np.load(regular(path), allow_pickle=False) as archive:
            return {name: archive[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
