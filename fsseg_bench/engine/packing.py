"""Features in fewer bytes while they are kept."""

from __future__ import annotations

import torch
from torch import Tensor

from fsseg_bench.engine.inference import map_levels
from fsseg_bench.errors import UserError
from fsseg_bench.method import Features
from fsseg_bench.records.request import CacheDtype

_DTYPES: dict[CacheDtype, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def packed(features: Features, kept_as: CacheDtype) -> Features:
    """The features as they are kept: float32 tensors rounded to ``kept_as``, any others as they are.

    Raises:
        UserError: a number is too large for float16. A GPU is waited for to know it.
    """
    dtype = _DTYPES.get(kept_as)
    return features if dtype is None else map_levels(lambda level: _rounded(level, dtype), features)


def unpacked(features: Features, kept_as: CacheDtype) -> Features:
    """The features as a head reads them, float32 again; half precision that was never packed becomes float32, too."""
    if kept_as not in _DTYPES:
        return features
    return map_levels(lambda level: level.float() if level.is_floating_point() else level, features)


def _rounded(level: Tensor, dtype: torch.dtype) -> Tensor:
    if level.dtype != torch.float32:
        return level
    found = level.to(dtype)
    if dtype == torch.float16 and not bool((found.isfinite() | ~level.isfinite()).all()):
        raise UserError(
            f"--cache-dtype float16: a feature is {float(level.abs().max()):.3g}, and float16 ends at "
            f"{torch.finfo(dtype).max:,.0f}; use bfloat16 or float32"
        )
    return found
