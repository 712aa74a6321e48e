"""A convolution of features that a one-channel map multiplies, for many maps over the same features.

At a cell p, conv(F * s)(p) = bias + sum_d s(p + d) (W_d F)(p + d), where d runs over the kernel's positions. The
products W_d F do not depend on the map s: computed once, every further map costs one multiplication for each of
them instead of one for each input channel. Followed by ReLU and a fixed weighting of the channels,

    m(p) = sum_o v_o ReLU(conv_o(F * s)(p)),    dm(p) / ds(p + d) = sum over o with conv_o > 0 of v_o (W_d F)_o(p + d)

is found in the same pass over the products.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_STRIP_BYTES = 2**23
"""Of a strip's products on a CPU: they then stay in its cache from one map to the next."""


class Strip(NamedTuple):
    """The products for some rows of the result."""

    rows: slice
    """Which rows."""
    products: tuple[Tensor, ...]
    """For each row of the kernel (B, k, O, rows, w + k - 1): W_d F of its positions, 0 beside the features."""


def tap_products(features: Tensor, weight: Tensor) -> Iterator[Strip]:
    """The products of every kernel position with the features, strip by strip, without gradient.

    Args:
        features: (B, C, h, w).
        weight: (O, C, k, k), k odd.

    Returns:
        Strips that cover all h rows; together k * k * O / C times the memory of the features.
    """
    with torch.no_grad():
        (outputs, channels, kernel, _), (batch, _, height, width) = weight.shape, features.shape
        margin = kernel // 2
        padded = F.pad(features, (margin,) * 4)
        matrices = weight.permute(2, 3, 0, 1).reshape(kernel, -1, channels)
        row = batch * kernel * kernel * outputs * (width + 2 * margin) * features.element_size()
        count = max(1, _STRIP_BYTES // row) if features.device.type == "cpu" else height
        for start in range(0, height, count):
            end = min(start + count, height)
            seen = [padded[:, :, start + above : end + above].flatten(2) for above in range(kernel)]
            shape = (batch, kernel, outputs, end - start, width + 2 * margin)
            yield Strip(slice(start, end), tuple((m @ s).reshape(shape) for m, s in zip(matrices, seen, strict=True)))


def gated_response(strips: Sequence[Strip], gates: Tensor, bias: Tensor, readout: Tensor) -> Tensor:
    """The equally padded convolution of features times gates, ReLU, and a weighted sum of the channels.

    Args:
        strips: of the features (B, C, h, w), all of :func:`tap_products`.
        gates: (B, 1, h, w), one number a cell, for all channels.
        bias: (O,), of the convolution.
        readout: (O,), the channels' weights v.

    Returns:
        (B, h, w). It has a gradient for ``gates`` alone: features, weights and bias are constants.
    """
    result: Tensor = _GatedResponse.apply(strips, gates, bias.detach(), readout.detach())
    return result


def gated_responses(strips: Iterable[Strip], gates: Sequence[Tensor], bias: Tensor, readout: Tensor) -> list[Tensor]:
    """:func:`gated_response` for several gates, without gradient: no strip is needed after the next one came."""
    with torch.no_grad():
        results = [torch.empty_like(gate[:, 0]) for gate in gates]
        padded: list[Tensor] = []
        for strip in strips:
            padded = padded or [_pad(gate, strip) for gate in gates]
            for result, gate in zip(results, padded, strict=True):
                result[:, strip.rows] = _readout(_hidden(strip, gate, bias), readout)
        return results


class _GatedResponse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, strips: Sequence[Strip], gates: Tensor, bias: Tensor, readout: Tensor) -> Tensor:
        kernel = len(strips[0].products)
        result = torch.empty_like(gates[:, 0])
        slopes = gates.new_empty(gates.shape[0], kernel**2, *gates.shape[2:])
        padded = _pad(gates, strips[0])
        for strip in strips:
            hidden = _hidden(strip, padded, bias)
            if ctx.needs_input_grad[1]:
                open_channels = (hidden > 0) * readout[:, None, None]
                for place, tap in enumerate(_taps(strip)):
                    torch.sum(tap * open_channels, dim=1, out=slopes[:, place, strip.rows])
            result[:, strip.rows] = _readout(hidden, readout)
        ctx.save_for_backward(slopes)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None, None]:
        (slopes,) = ctx.saved_tensors
        kernel, (height, width) = round(slopes.shape[1] ** 0.5), slopes.shape[2:]
        pulls = slopes * gradients[0][:, None]
        padded = slopes.new_zeros(slopes.shape[0], 1, height + kernel - 1, width + kernel - 1)
        for place, (above, left) in enumerate(product(range(kernel), repeat=2)):
            padded[:, 0, above : above + height, left : left + width] += pulls[:, place]
        return None, F.pad(padded, (-(kernel // 2),) * 4), None, None


def _pad(gates: Tensor, strip: Strip) -> Tensor:
    return F.pad(gates, (len(strip.products) // 2,) * 4)


def _hidden(strip: Strip, padded: Tensor, bias: Tensor) -> Tensor:
    """The convolution's rows (B, O, rows, w) before ReLU, from the padded gates."""
    taps = list(_taps(strip))
    kernel, (rows, width) = len(strip.products), taps[0].shape[-2:]
    result = bias[:, None, None].expand(padded.shape[0], -1, rows, width).contiguous()
    for tap, (above, left) in zip(taps, product(range(kernel), repeat=2), strict=True):
        first = strip.rows.start + above
        result.addcmul_(tap, padded[:, :, first : first + rows, left : left + width])
    return result


def _taps(strip: Strip) -> Iterator[Tensor]:
    """The products (B, O, rows, w) of each kernel position, shifted into place."""
    kernel = len(strip.products)
    for row in strip.products:
        width = row.shape[-1] - kernel + 1
        for left in range(kernel):
            yield row[:, left, :, :, left : left + width]


def _readout(hidden: Tensor, readout: Tensor) -> Tensor:
    """(B, rows, w); ``hidden`` is used up."""
    return (readout @ hidden.relu_().flatten(2)).reshape(hidden.shape[0], *hidden.shape[2:])
