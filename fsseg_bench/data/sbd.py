"""Reads the class masks of SBD (Hariharan et al. 2011), which come as MATLAB files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fsseg_bench.data.mat5 import FormatError, read_field
from fsseg_bench.data.source import UInt8
from fsseg_bench.errors import UserError


def read_sbd_labels(path: Path) -> UInt8:
    """(H, W) uint8: the field ``GTcls.Segmentation`` of one ``cls/<id>.mat``.

    Raises:
        UserError: the file is missing or not such a file; names it.
    """
    try:
        labels = read_field(path.read_bytes(), "GTcls", "Segmentation")
    except OSError as error:
        raise UserError(f"{path}: the mask cannot be read: {error.strerror or error}") from None
    except FormatError as error:
        raise UserError(f"{path}: not a class mask of SBD (GTcls.Segmentation): {error}") from None
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise UserError(f"{path}: GTcls.Segmentation is {labels.dtype} {labels.shape}, not a uint8 image")
    return np.ascontiguousarray(labels.astype(np.uint8, copy=False))
