"""What arrays mean everywhere in the package: the label of pixels that count nowhere, and the array types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

VOID = 255
"""The label of pixels that count nowhere: not in prototypes, losses or scores."""

MOST_LABELS = 254
"""Classes that a map of label values can tell apart: its values are bytes, 0 is background and 255 void."""

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Bool = npt.NDArray[np.bool_]
    UInt8 = npt.NDArray[np.uint8]
    Int64 = npt.NDArray[np.int64]
    Float64 = npt.NDArray[np.float64]
else:  # `list runs` starts without numpy, which takes a third of a second
    Bool = UInt8 = Int64 = Float64 = Any
