"""Reads the class masks of SBD (Hariharan et al. 2011), which come as MATLAB files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fsseg_bench.conventions import UInt8
from fsseg_bench.data.files import read_file
from fsseg_bench.data.mat5 import FormatError, read_field
from fsseg_bench.errors import UserError


def read_sbd_labels(path: Path, data: bytes | None = None) -> UInt8:
    """(H, W) uint8: the field ``GTcls.Segmentation`` of one ``cls/<id>.mat``.

    Args:
        path: the file.
        data: its content, where that was read before.

    Raises:
        UserError: the file is missing or not such a file; names it.
    """
    try:
        labels = read_field(read_file(path, "mask") if data is None else data, "GTcls", "Segmentation")
    except FormatError as error:
        raise UserError(f"{path}: not a class mask of SBD (GTcls.Segmentation): {error}") from None
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise UserError(f"{path}: GTcls.Segmentation is {labels.dtype} {labels.shape}, not a uint8 image")
    return np.ascontiguousarray(labels.astype(np.uint8, copy=False))
