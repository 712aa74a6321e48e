"""Backbones made ready for inference."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fsseg_bench.nn.backbones.base import Backbone


def folded(backbone: Backbone) -> Backbone:
    """A copy for inference: the same features with fewer passes over memory.

    Every batch-norm (with its running statistics) is folded into the convolution before it; the copy is in
    evaluation mode, channels-last and without gradients of its parameters. ``backbone`` is left as it is, and
    later changes of its weights do not reach the copy.
    """
    twin = copy.deepcopy(backbone).eval()
    for module in list(twin.modules()):
        for (conv_name, conv), (norm_name, norm) in pairwise(list(module.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, nn.Identity())
    return twin.requires_grad_(False).to(memory_format=torch.channels_last)
