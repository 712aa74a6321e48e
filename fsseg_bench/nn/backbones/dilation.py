"""Turning the stride of a network's stages into dilation, so that the same weights see a finer grid."""

from __future__ import annotations

from torch import nn


def replace_stride(stage: nn.Module, dilation: int, *, dilate_first: bool = False) -> int:
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
        dilate_first: dilate every convolution of the stage alike. A 3x3 convolution that carried the stride,
            or came before it, then meets other positions than in the strided stage.
    """
    convolutions = [module for module in stage.modules() if isinstance(module, nn.Conv2d)]
    factor = max(convolution.stride[0] for convolution in convolutions)
    after = dilation * factor
    before = after if dilate_first else dilation
    current = before
    for convolution in convolutions:
        if convolution.stride[0] > 1:
            _dilate(convolution, before)
            current = after
        else:
            _dilate(convolution, current)
    return after


def move_stride_first(stage: nn.Module) -> None:
    """Moves the stride of each block of ``stage`` to the block's first convolution, in place.

    For bottlenecks that is the 1x1 convolution of the network's first publication; torchvision's have the
    stride on the 3x3. Basic blocks, and shortcuts, stay as they are.
    """
    for block in stage.children():
        first, second = block.get_submodule("conv1"), block.get_submodule("conv2")
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.Conv2d) and second.stride[0] > 1:
            first.stride, second.stride = second.stride, first.stride


def _dilate(convolution: nn.Conv2d, dilation: int) -> None:
    """Stride 1, the given dilation (a kernel of one pixel has none), and the padding that keeps the size."""
    height, width = convolution.kernel_size
    convolution.stride = (1, 1)
    convolution.dilation = (dilation if height > 1 else 1, dilation if width > 1 else 1)
    convolution.padding = (dilation * (height // 2), dilation * (width // 2))
