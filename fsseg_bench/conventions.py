"""What arrays mean everywhere in the package: the label of pixels that count nowhere, and the array types."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

VOID = 255
"""The label of pixels that count nowhere: not in prototypes, losses or scores."""

Bool = npt.NDArray[np.bool_]
UInt8 = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
