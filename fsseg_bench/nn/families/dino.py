"""What Meta's code of DINOv2 and DINOv3 computes otherwise than timm's, with the same parameters.

- DINOv2 without registers resizes its positions bicubically without antialiasing, by the factor (n + 0.1) / n0 for n
  cells in place of n0: output cell i lies at (i + 0.5) n0 / (n + 0.1) - 0.5. timm antialiases, by the factor n / n0.
- DINOv3's transformers turn queries and keys by periods that went through bfloat16. timm's are float32.
- DINOv3's ConvNeXts normalise every cell of the last stage. timm normalises after pooling alone.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsseg_bench.errors import UserError

_OFFSET = 0.1  # of Meta's code, against rounding down


def as_meta(model: nn.Module, name: str) -> None:
    """Makes a model of timm compute as Meta's code does, in place.

    Raises:
        UserError: nothing of it is computed otherwise there; names ``name``.
    """
    made_by = _architecture(model)
    if "dinov3" in made_by and isinstance(periods := getattr(getattr(model, "rope", None), "periods", None), Tensor):
        periods.copy_(periods.bfloat16())
    elif "dinov3" in made_by and last_norm(model) is not None:
        pass  # kept_norm
    elif "dinov2" in made_by and getattr(model, "reg_token", None) is None:
        cls = type(model)
        model.__class__ = type(f"Meta{cls.__name__}", (_MetaPositions, cls), {})  # a copy of the model keeps it
    else:
        raise UserError(
            f"backbone {name}: timm and Meta's code do not differ here, or Meta has no such model; leave :meta out"
        )


def last_norm(model: nn.Module) -> nn.Module | None:
    """A convolutional model's norm before its classifier."""
    norm = getattr(getattr(model, "head", None), "norm", None)
    return norm if isinstance(norm, nn.Module) and hasattr(model, "stages") else None


def resized_positions(positions: Tensor, before: tuple[int, int], after: tuple[int, int]) -> Tensor:
    """Positions (1, n0 m0, C) of a grid of (n0, m0) cells for one of (n, m), by Meta's rule: (1, n m, C)."""
    if before == after:
        return positions
    grid = positions.float().reshape(1, *before, -1).permute(0, 3, 1, 2)
    factors = [(new + _OFFSET) / old for new, old in zip(after, before, strict=True)]
    found = F.interpolate(grid, scale_factor=factors, mode="bicubic", recompute_scale_factor=False)
    assert found.shape[2:] == after
    return found.permute(0, 2, 3, 1).flatten(1, 2).to(positions.dtype)


class _MetaPositions:
    """Of timm's VisionTransformer: positions resized by Meta's rule."""

    patch_embed: Any
    pos_embed: Tensor
    cls_token: Tensor
    pos_drop: Any

    def _pos_embed(self, x: Tensor) -> Tensor:
        """Patches (B, h, w, C) to tokens (B, 1 + h w, C) with their positions."""
        grid = (int(x.shape[1]), int(x.shape[2]))
        patches = resized_positions(self.pos_embed[:, 1:], tuple(self.patch_embed.grid_size), grid)
        tokens = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x.flatten(1, 2)], dim=1)
        found: Tensor = self.pos_drop(tokens + torch.cat([self.pos_embed[:, :1], patches], dim=1))
        return found


def _architecture(model: nn.Module) -> str:
    """The name of the model and the tag of its weights: DINOv3's ConvNeXts are told by the latter."""
    given: Any = model.pretrained_cfg
    return f"{given.get('architecture')}.{given.get('tag')}"
