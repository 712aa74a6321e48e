"""A convolution with what usually follows it, and how such layers start."""

from __future__ import annotations

from torch import nn


def conv_block(
    inputs: int,
    outputs: int,
    *,
    kernel: int = 3,
    dilation: int = 1,
    batch_norm: bool = False,
    dropout: float = 0.0,
) -> nn.Sequential:
    """Convolution with bias, batch-norm if asked for, ReLU, ``Dropout2d`` if its rate is above 0.

    The padding keeps the size: (M, inputs, h, w) to (M, outputs, h, w). The convolution is item 0.

    Args:
        inputs: channels read.
        outputs: channels given.
        kernel: its side, odd.
        dilation: of the kernel.
        batch_norm: whether one stands before the ReLU.
        dropout: the share of channels that training drops, in [0, 1).
    """
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, padding=dilation * (kernel // 2), dilation=dilation)]
    if batch_norm:
        layers.append(nn.BatchNorm2d(outputs))
    layers.append(nn.ReLU())
    if dropout > 0:
        layers.append(nn.Dropout2d(dropout))
    return nn.Sequential(*layers)


def start_small(module: nn.Module, std: float = 0.01) -> None:
    """Draws the weights of all convolutions in ``module`` from N(0, std^2); biases stay as they are."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.normal_(part.weight, std=std)
