"""Arrays kept on disk that can be made again: written whole or not at all, read only when sound."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fsseg_bench.errors import UserError
from fsseg_bench.paths import regular

Arrays = dict[str, npt.NDArray[Any]]


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes ``arrays`` (no object arrays) to ``path`` in one step, folders included.

    Raises:
        UserError: the folder cannot be written, for example because the disk is full.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".tmp", delete=False) as file:
            temporary = Path(file.name)
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
        raise UserError(
            f"{path}: cannot be written: {error}; free some space, or set FSSEG_CACHE to another folder"
        ) from None


def load_arrays(path: Path, names: Iterable[str]) -> Arrays | None:
    """The arrays ``names`` of ``path``; None when there is no such file, it lacks one, or it is damaged."""
    try:
        with np.load(regular(path), allow_pickle=False) as archive:
            return {name: archive[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
