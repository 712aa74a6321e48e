"""A convolution of features that a one-channel map multiplies, for many maps over the same features.

At a cell p, conv(F * s)(p) = bias + sum_d s(p + d) (W_d F)(p + d), where d runs over the kernel's positions. The
products W_d F do not depend on the map s: computed once, every further map costs one multiplication for each of
them instead of one for each input channel, and so does the gradient for s.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def tap_products(features: Tensor, weight: Tensor) -> Tensor:
    """The products W_d F of every kernel position with the features, and 0 around them.

    Args:
        features: (B, C, h, w).
        weight: (O, C, k, k), k odd.

    Returns:
        (B, k, k, O, h + k - 1, w + k - 1): k * k * O / C times the memory of the features.
    """
    margin = weight.shape[-1] // 2
    padded = F.pad(features, (margin,) * 4)
    matrix = weight.permute(2, 3, 0, 1).flatten(0, 2)
    products = matrix @ padded.flatten(2)
    return products.reshape(features.shape[0], *weight.shape[2:], weight.shape[0], *padded.shape[2:])


def gated_convolution(products: Tensor, gates: Tensor, bias: Tensor) -> Tensor:
    """The equally padded convolution of features times gates.

    Args:
        products: of the features (B, C, h, w), from :func:`tap_products`.
        gates: (B, 1, h, w), one number a cell, for all channels.
        bias: (O,).

    Returns:
        (B, O, h, w). It has a gradient for ``gates`` alone: features, weight and bias are constants.
    """
    result: Tensor = _GatedConvolution.apply(products.detach(), gates, bias.detach())
    return result


class _GatedConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, products: Tensor, gates: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(products)
        size = gates.shape[-2:]
        padded = F.pad(gates, (products.shape[1] // 2,) * 4)
        result = bias[:, None, None].expand(gates.shape[0], -1, *size).contiguous()
        for tap, window in _windows(products, size):
            result.addcmul_(tap, padded[window])
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None]:
        (products,) = ctx.saved_tensors
        (gradient,) = gradients
        size = gradient.shape[-2:]
        margin = products.shape[1] // 2
        padded = products.new_zeros(products.shape[0], 1, *products.shape[-2:])
        for tap, window in _windows(products, size):
            padded[window] += (tap * gradient).sum(dim=1, keepdim=True)
        return None, F.pad(padded, (-margin,) * 4), None


def _windows(products: Tensor, size: torch.Size) -> Iterator[tuple[Tensor, Any]]:
    """For each kernel position its products (B, O, h, w), shifted into place, and that place in a padded map."""
    for row in range(products.shape[1]):
        for column in range(products.shape[2]):
            window = (..., slice(row, row + size[0]), slice(column, column + size[1]))
            yield products[:, row, column][window], window
