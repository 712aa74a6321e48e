"""Names and facts of the backbones, without importing torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from fsseg_bench.errors import unknown
from fsseg_bench.nn.layout import AS_LISTED, Layout, ResNetLayout, VGGLayout

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Channel means of ImageNet, RGB in [0, 1], as torchvision's weights expect."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Channel deviations of ImageNet, RGB in [0, 1]."""


@dataclass(frozen=True)
class Stage:
    """One stage of a backbone."""

    name: str
    channels: int
    """Channels of its output."""
    stride: int
    """Image pixels a cell of its output, after strides were turned into dilation."""
    parameters: int
    """Trainable numbers in it (batch-norm weight and bias included)."""


@dataclass(frozen=True)
class BackboneFacts:
    """What is known about a backbone before it is built."""

    name: str
    network: str
    """The torchvision network it is cut from."""
    stages: tuple[Stage, ...]
    weights_enum: str
    """torchvision's name of its ImageNet weights."""
    weights_file: str
    """The file name of those weights; the part after the last hyphen begins the file's SHA-256."""

    @property
    def channels(self) -> int:
        """Channels of the last stage."""
        return self.stages[-1].channels

    @property
    def stride(self) -> int:
        """Image pixels a feature cell of the last stage: S pixels give ceil(S / stride) cells."""
        return self.stages[-1].stride

    @property
    def parameters(self) -> int:
        """Trainable numbers of the trunk (of its stages: a classifier is not counted)."""
        return sum(stage.parameters for stage in self.stages)

    @property
    def weights_hash(self) -> str:
        """The first hexadecimal digits of the SHA-256 of the ImageNet weights file."""
        return self.weights_file.rpartition("-")[2].partition(".")[0]

    def cut(self, last: str) -> BackboneFacts:
        """The same network cut after the stage ``last``, under the name ``<name>-<last>``."""
        end = [stage.name for stage in self.stages].index(last) + 1
        return replace(self, name=f"{self.name}-{last}", stages=self.stages[:end])


_VGG16 = BackboneFacts(
    name="vgg16",
    network="vgg16",
    stages=(
        Stage("conv1", 64, 1, 38_720),
        Stage("pool1", 64, 2, 0),
        Stage("conv2", 128, 2, 221_440),
        Stage("pool2", 128, 4, 0),
        Stage("conv3", 256, 4, 1_475_328),
        Stage("pool3", 256, 8, 0),
        Stage("conv4", 512, 8, 5_899_776),
        Stage("pool4", 512, 8, 0),
        Stage("conv5", 512, 8, 7_079_424),
    ),
    weights_enum="VGG16_Weights.IMAGENET1K_V1",
    weights_file="vgg16-397923af.pth",
)

VGG_CONVOLUTIONS = (2, 2, 3, 3, 3)
"""Convolutions in each block of VGG-16."""


def _resnet(name: str, widening: int, parameters: tuple[int, ...], enum: str, file: str) -> BackboneFacts:
    """A ResNet whose blocks put out ``widening`` times 64, 128, 256, 512 channels."""
    stages = [Stage("stem", 64, 4, 9_536)]
    for i, (stride, count) in enumerate(zip((4, 8, 8, 8), parameters, strict=True)):
        stages.append(Stage(f"layer{i + 1}", 64 * 2**i * widening, stride, count))
    return BackboneFacts(name, name, tuple(stages), enum, file)


_RESNETS = (
    _resnet(
        "resnet18",
        1,
        (147_968, 525_568, 2_099_712, 8_393_728),
        "ResNet18_Weights.IMAGENET1K_V1",
        "resnet18-f37072fd.pth",
    ),
    _resnet(
        "resnet50",
        4,
        (215_808, 1_219_584, 7_098_368, 14_964_736),
        "ResNet50_Weights.IMAGENET1K_V1",
        "resnet50-0676ba61.pth",
    ),
    _resnet(
        "resnet101",
        4,
        (215_808, 1_219_584, 26_090_496, 14_964_736),
        "ResNet101_Weights.IMAGENET1K_V1",
        "resnet101-63fe2227.pth",
    ),
)

_ALL = (_VGG16, *(facts for whole in _RESNETS for facts in (whole, whole.cut("layer3"), whole.cut("layer2"))))

BACKBONES: Mapping[str, BackboneFacts] = MappingProxyType({facts.name: facts for facts in _ALL})
"""Every backbone by name. ``-layer3`` and ``-layer2`` cut a ResNet after that stage."""


def laid_out(name: str, layout: Layout = AS_LISTED) -> BackboneFacts:
    """The facts of the backbone ``name`` as a method wants it laid out.

    Raises:
        UserError: no backbone has this name; near matches are named.
    """
    if name not in BACKBONES:
        raise unknown("backbone", name, BACKBONES)
    listed = BACKBONES[name]
    vgg = listed.network == "vgg16"
    facts = _laid_out_vgg(listed, layout.vgg) if vgg else _laid_out_resnet(listed, layout.resnet)
    if layout.last in [stage.name for stage in facts.stages]:
        facts = replace(facts.cut(layout.last), name=name)
    return facts


def _laid_out_resnet(listed: BackboneFacts, layout: ResNetLayout) -> BackboneFacts:
    """A ResNet whose strides end at the layout's output stride."""
    whole = {"stem": 4, "layer1": 4, "layer2": 8, "layer3": 16, "layer4": 32}
    stages = [replace(stage, stride=min(whole[stage.name], layout.output_stride)) for stage in listed.stages]
    return replace(listed, stages=tuple(stages))


def _laid_out_vgg(listed: BackboneFacts, layout: VGGLayout) -> BackboneFacts:
    """A VGG-16 with the layout's pools and, if asked for, batch-norms (a weight and a bias a channel)."""
    convolutions = [stage for stage in listed.stages if stage.name.startswith("conv")]
    stages: list[Stage] = []
    stride = 1
    for block, stage in enumerate(convolutions):
        norms = 2 * VGG_CONVOLUTIONS[block] * stage.channels if layout.batch_norm else 0
        stages.append(replace(stage, stride=stride, parameters=stage.parameters + norms))
        if block < len(layout.pool_strides):
            stride *= layout.pool_strides[block]
            stages.append(Stage(f"pool{block + 1}", stage.channels, stride, 0))
    facts = replace(listed, stages=tuple(stages))
    if not layout.batch_norm:
        return facts
    return replace(
        facts,
        network="vgg16_bn",
        weights_enum="VGG16_BN_Weights.IMAGENET1K_V1",
        weights_file="vgg16_bn-6c64b313.pth",
    )
