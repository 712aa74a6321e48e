"""VGG-16, laid out as PANet cut it unless asked otherwise: output stride 8, no batch-norm."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from fsseg_bench.nn.backbones.base import Backbone
from fsseg_bench.nn.layout import Facts, Layout, Stage, VGGLayout

_CONVOLUTIONS = (2, 2, 3, 3, 3)  # of each block
_CHANNELS = (64, 128, 256, 512, 512)
_CLASSES = 1000  # of ImageNet
_WIDTH = 4096
_SIDE = 7  # cells of the last pool for 224 pixels at stride 32


def vgg_facts(wanted: VGGLayout) -> Facts:
    """A VGG-16 with the layout's pools and, if asked for, batch-norms."""
    stages: list[Stage] = []
    stride = 1
    for block, channels in enumerate(_CHANNELS):
        stages.append(Stage(f"conv{block + 1}", channels, stride))
        if block < len(wanted.pool_strides):
            stride *= wanted.pool_strides[block]
            stages.append(Stage(f"pool{block + 1}", channels, stride))
    network = "VGG16_BN" if wanted.batch_norm else "VGG16"
    return Facts(tuple(stages), f"{network}_Weights.IMAGENET1K_V1").cut(wanted.last)


class VGG(Backbone):
    """VGG-16 without its head; by default that of Wang et al. (PANet, ICCV 2019).

    There every max-pool is 3x3 with padding 1; the first three have stride 2, the fourth stride 1, and there
    is no fifth; the convolutions of ``conv5`` are dilated by 2. Stages are ``conv1`` (after its ReLU),
    ``pool1``, ..., ``conv5``, and ``pool5`` in layouts with a fifth pool. The last ReLU is left out: where the
    last stage is a pool, the convolutions before it are signed as well.

    Attributes:
        classifier: fc6, ReLU, dropout, fc7, ReLU, dropout, fc8, as in torchvision. Only in layouts that ask
            for it, and for a method to apply: the backbone itself does not.
    """

    family = VGGLayout

    @classmethod
    def lay_out(cls, layout: Layout) -> Facts:
        """The layout's pools; with batch-norms the weights are those of that network."""
        return vgg_facts(cls.geometry(layout))

    @classmethod
    def geometry(cls, layout: Layout) -> VGGLayout:
        """What of a method's layout concerns this network."""
        return layout.of(VGGLayout)

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        layout = self.geometry(facts.layout)
        layers: list[nn.Module] = []
        bounds = [0]
        width = 3
        for stage in self.stages:
            if stage.startswith("pool"):
                layers.append(_pool(layout, _block(stage)))
            else:
                layers.extend(_convolutions(layout, _block(stage), width, self.channels[stage]))
                width = self.channels[stage]
            bounds.append(len(layers))
        _drop_last_relu(layers)
        self.features = nn.Sequential(*layers)
        self._bounds = dict(zip(self.stages, pairwise(bounds), strict=True))
        for module in self.features:
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)
        if layout.classifier:
            self.classifier = _classifier(width)

    def stage_modules(self, stage: str) -> tuple[nn.Module, ...]:
        """The convolutions, batch-norms and ReLUs, or the pool, of a stage."""
        start, end = self._bounds[stage]
        return tuple(self.features[start:end])

    def blocks_of(self, stage: str) -> int:
        """The convolutions of a stage; a pool is one."""
        return 1 if stage.startswith("pool") else _CONVOLUTIONS[_block(stage)]

    def _stage_outputs(self, stage: str, features: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Of each convolution its signed output; of a pool, which has no ReLU, what it makes of the ReLU before it."""
        modules = self.stage_modules(stage)
        if stage.startswith("pool"):
            pooled: Tensor = modules[0](features).relu()  # the ReLU before a last pool is left out; they commute
            return (pooled,), pooled
        outputs: list[Tensor] = []
        for module in modules:
            if isinstance(module, nn.ReLU):
                outputs.append(features)
                features = features.relu()  # the module would change what was kept
            else:
                features = module(features)
        return (*outputs, features)[: self.blocks_of(stage)], features

    def further_modules(self) -> tuple[nn.Module, ...]:
        """The classifier, where there is one."""
        classifier = self._modules.get("classifier")
        return () if classifier is None else (classifier,)


def _block(stage: str) -> int:
    """The place of a stage's block, from 0."""
    return int(stage[-1]) - 1


def _pool(layout: VGGLayout, block: int) -> nn.Module:
    stride = layout.pool_strides[block]
    if layout.pool_kernel == 2:
        return nn.MaxPool2d(2, stride=stride, ceil_mode=not layout.floor_pool)
    return nn.MaxPool2d(3, stride=stride, padding=1)


def _convolutions(layout: VGGLayout, block: int, inputs: int, outputs: int) -> list[nn.Module]:
    """The layers of one block: convolutions, each followed by its batch-norm (if any) and ReLU."""
    spread = layout.dilations[block]
    layers: list[nn.Module] = []
    for place in range(_CONVOLUTIONS[block]):
        padding = layout.first_padding if block == place == 0 else spread
        layers.append(nn.Conv2d(inputs if place == 0 else outputs, outputs, 3, padding=padding, dilation=spread))
        if layout.batch_norm:
            layers.append(nn.BatchNorm2d(outputs))
        layers.append(nn.ReLU(inplace=True))
    return layers


def _drop_last_relu(layers: list[nn.Module]) -> None:
    """Leaves out the last ReLU, in place; one with a pool behind it gives its place to an identity."""
    place = max(i for i, layer in enumerate(layers) if isinstance(layer, nn.ReLU))
    if place == len(layers) - 1:
        layers.pop()
    else:
        layers[place] = nn.Identity()


def _classifier(channels: int) -> nn.Sequential:
    """torchvision's fully connected layers with its random initialisation."""
    classifier = nn.Sequential(
        nn.Linear(channels * _SIDE * _SIDE, _WIDTH),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Linear(_WIDTH, _WIDTH),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Linear(_WIDTH, _CLASSES),
    )
    for module in classifier:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)
    return classifier
