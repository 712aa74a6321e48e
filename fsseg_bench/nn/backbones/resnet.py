"""torchvision's ResNets, dilated and cut after a stage, without the last ReLU."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torchvision
from torch import Tensor, nn
from torchvision.models import ResNet as TorchvisionResNet

from fsseg_bench.nn.backbones.base import Backbone
from fsseg_bench.nn.layout import Facts, Layout, ResNetLayout, Stage

_DILATED: dict[int, tuple[str, ...]] = {8: ("layer3", "layer4"), 16: ("layer4",), 32: ()}  # by output stride
_STRIDES = (4, 4, 8, 16, 32)  # of the stages where nothing is dilated


def resnet_facts(widening: int, weights: str, *, stem: int = 64, url: str | None = None) -> Facts:
    """A ResNet at output stride 8 whose blocks put out ``widening`` times 64, 128, 256, 512 channels.

    Args:
        widening: 1 for basic blocks, 4 for bottlenecks.
        weights: the name of the ImageNet weights.
        stem: channels of the stem.
        url: where the weights are, if they are not torchvision's.
    """
    channels = (stem, *(64 * 2**i * widening for i in range(4)))
    strides = (min(stride, ResNetLayout().output_stride) for stride in _STRIDES)
    stages = map(Stage, ResNetLayout.stages, channels, strides)
    return Facts(tuple(stages), weights, weights_url=url)


class ResNet(Backbone):
    """A ResNet; by default layer3 and layer4 have stride 1 and dilation 2 and 4.

    Stages are ``stem`` (convolution, batch-norm, ReLU, max-pool), ``layer1``, ... up to the cut.
    """

    network: ClassVar[str]
    """torchvision's name of it."""
    family = ResNetLayout

    @classmethod
    def lay_out(cls, layout: Layout) -> Facts:
        """Strides end at the layout's output stride."""
        wanted = layout.of(ResNetLayout)
        pairs = zip(cls.facts.stages, _STRIDES, strict=True)
        stages = [replace(stage, stride=min(stride, wanted.output_stride)) for stage, stride in pairs]
        return replace(cls.facts, stages=tuple(stages)).cut(wanted.last)

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        layout = facts.layout.of(ResNetLayout)
        network = self.whole_network()
        stem = self.stem(network)
        self._stem = tuple(stem)
        for name, module in stem.items():
            self.add_module(name, module)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=layout.ceil_pool)
        dilation = 1
        for name in self.stages[1:]:
            stage = getattr(network, name)
            if layout.stride_in_first:
                move_stride_first(stage)
            if name in _DILATED[layout.output_stride]:
                dilation = replace_stride(stage, dilation, dilate_first=layout.dilate_first)
            self.add_module(name, stage)
        if self.stages[-1] == "stem":
            self.set_submodule(self._stem[-1], nn.Identity())
            return
        last = self.get_submodule(self.stages[-1])
        assert isinstance(last, nn.Sequential)
        last[-1] = SignedBlock(last[-1])

    @classmethod
    def whole_network(cls) -> TorchvisionResNet:
        """torchvision's network with random numbers, of which the parts are taken."""
        network: TorchvisionResNet = getattr(torchvision.models, cls.network)(weights=None)
        return network

    @classmethod
    def stem(cls, network: TorchvisionResNet) -> dict[str, nn.Module]:
        """The stem's modules before its pool by name, in the order in which they are applied; the last is a ReLU."""
        return {"conv1": network.conv1, "bn1": network.bn1, "relu": network.relu}

    def stage_modules(self, stage: str) -> tuple[nn.Module, ...]:
        """The stem's modules, or the sequence of blocks of a stage."""
        if stage == "stem":
            return *map(self.get_submodule, self._stem), self.maxpool
        return (self.get_submodule(stage),)

    def blocks_of(self, stage: str) -> int:
        """The residual blocks of a stage; the stem is one."""
        return 1 if stage == "stem" else len(list(self.get_submodule(stage).children()))

    def _stage_outputs(self, stage: str, features: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        if stage == "stem":
            return super()._stage_outputs(stage, features)
        outputs: list[Tensor] = []
        for block in self.get_submodule(stage).children():
            outputs.append(signed_sum(block, features))
            features = outputs[-1].relu()
        return tuple(outputs), features


class SignedBlock(nn.Module):
    """A residual block (basic or bottleneck) without the ReLU after its sum.

    It keeps the block's modules under their names, so that weights still fit.
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        for name, module in block.named_children():
            self.add_module(name, module)

    def forward(self, inputs: Tensor) -> Tensor:
        """The signed sum of shortcut and residual, (M, C, h, w)."""
        return signed_sum(self, inputs)


def signed_sum(block: nn.Module, inputs: Tensor) -> Tensor:
    """Shortcut plus residual of a block (basic or bottleneck) before the ReLU behind the sum, (M, C, h, w)."""
    depth = sum(name.startswith("conv") for name, _ in block.named_children())
    features = inputs
    for i in range(1, depth + 1):
        features = block.get_submodule(f"bn{i}")(block.get_submodule(f"conv{i}")(features))
        if i < depth:
            features = features.relu()
    downsample = block._modules.get("downsample")
    shortcut = inputs if downsample is None else downsample(inputs)
    return features + shortcut


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
