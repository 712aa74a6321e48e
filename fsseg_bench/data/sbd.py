"""Reads the class masks of SBD (Hariharan et al. 2011), which come as MATLAB files."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from fsseg_bench.data.source import UInt8
from fsseg_bench.errors import UserError


def read_sbd_labels(path: Path) -> UInt8:
    """(H, W) uint8: the field ``GTcls.Segmentation`` of one ``cls/<id>.mat``.

    Raises:
        UserError: scipy is not installed, or the file is not such a file.
    """
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ImportError:
        raise UserError(
            f"{path}: reading SBD's .mat masks needs scipy: pip install 'fsseg-bench[sbd]' "
            "(or give the masks as PNGs, for example in SegmentationClassAug)"
        ) from None
    broken = (OSError, ValueError, TypeError, KeyError, IndexError, EOFError, NotImplementedError)
    try:
        table = loadmat(path, variable_names=["GTcls"])
        labels = np.asarray(table["GTcls"]["Segmentation"].item())
    except (*broken, MatReadError, struct.error, zlib.error) as error:
        raise UserError(f"{path}: not a class mask of SBD (GTcls.Segmentation): {error!r}") from None
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise UserError(f"{path}: GTcls.Segmentation is {labels.dtype} {labels.shape}, not a uint8 image")
    return np.ascontiguousarray(labels)
