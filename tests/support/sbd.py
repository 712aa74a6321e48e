"""Writes class masks as SBD has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt


def write_sbd(path: Path, labels: npt.NDArray[np.uint8]) -> None:
    """A struct ``GTcls`` with the fields of SBD's ``cls/<id>.mat``: Boundaries (sparse), Segmentation, and so on."""
    from scipy.io import savemat
    from scipy.sparse import csc_matrix

    boundaries = np.empty((20, 1), dtype=object)
    for i in range(20):
        boundaries[i, 0] = csc_matrix(np.asarray(labels == i + 1, dtype=np.float64))
    present = np.setdiff1d(np.unique(labels), [0, 255]).astype(np.uint8).reshape(-1, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    struct = {"Boundaries": boundaries, "Segmentation": labels, "CategoriesPresent": present}
    savemat(path, {"GTcls": struct}, do_compression=True)
