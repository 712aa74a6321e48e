"""Turning the stride of a network's stages into dilation, so that the same weights see a finer grid."""

from __future__ import annotations

from torch import nn


def replace_stride(stage: nn.Module, dilation: int) -> int:
    """Turns the stride of ``stage`` into dilation, in place, and returns the dilation after it.

    The convolution that carried the stride, and whatever comes before it, keeps the ``dilation`` of the
    previous stage; every later one is dilated by that times the stride. For bottleneck blocks this is
    torchvision's ``replace_stride_with_dilation``; it holds for basic blocks too, which torchvision refuses.
    Every weight meets the same image positions as before: the output, subsampled by the old stride, is the
    output of the strided stage.

    Args:
        stage: a sequence of residual blocks with odd kernels; its convolutions are registered in the order in
            which they are applied, and only the first block has a stride.
        dilation: the dilation of the stage before; 1 where nothing is dilated.
    """
    convolutions = [module for module in stage.modules() if isinstance(module, nn.Conv2d)]
    factor = max(convolution.stride[0] for convolution in convolutions)
    after = dilation * factor
    current = dilation
    for convolution in convolutions:
        if convolution.stride[0] > 1:
            _dilate(convolution, dilation)
            current = after
        else:
            _dilate(convolution, current)
    return after


def _dilate(convolution: nn.Conv2d, dilation: int) -> None:
    """Stride 1, the given dilation (a kernel of one pixel has none), and the padding that keeps the size."""
    height, width = convolution.kernel_size
    convolution.stride = (1, 1)
    convolution.dilation = (dilation if height > 1 else 1, dilation if width > 1 else 1)
    convolution.padding = (dilation * (height // 2), dilation * (width // 2))
