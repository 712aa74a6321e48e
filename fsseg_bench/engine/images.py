"""Image tensors from the loader to what a backbone takes."""

from __future__ import annotations

import torch
from torch import Tensor

from fsseg_bench.nn.backbones import Backbone


def normalise(images: Tensor, backbone: Backbone, device: torch.device) -> Tensor:
    """(M, 3, H, W) uint8 RGB to normalised float32 on ``device``, channels last.

    The bytes travel to the device; the floats are made there.
    """
    moved = images.to(device, non_blocking=True).float().div_(255)
    mean = torch.tensor(backbone.mean, device=device).view(1, 3, 1, 1)
    std = torch.tensor(backbone.std, device=device).view(1, 3, 1, 1)
    return moved.sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)
