"""What is known of a backbone before it is built, and how a method wants it laid out. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Channel means of ImageNet, RGB in [0, 1], as torchvision's weights expect."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Channel deviations of ImageNet, RGB in [0, 1]."""
_RESERVED = {"none", "all"}  # of Backbone.freeze


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True)
class FamilyLayout:
    """Geometry of one family of backbones; each family that can be laid out has its subclass, all with defaults."""

    stages: ClassVar[tuple[str, ...]] = ()
    """The stages that the family can have."""

    last: str | None = None
    """The stage after which a deeper network of the family is cut."""

    def __post_init__(self) -> None:
        _require(
            self.last is None or self.last in self.stages,
            f"{type(self).__name__}: last is {self.last!r}; it must be one of {', '.join(self.stages)}",
        )


F = TypeVar("F", bound=FamilyLayout)


@dataclass(frozen=True)
class ResNetLayout(FamilyLayout):
    """Geometry of a ResNet."""

    stages = ("stem", "layer1", "layer2", "layer3", "layer4")
    output_stride: int = 8
    """Image pixels a cell of the last stage: 8 (layer3 and layer4 dilated), 16 (layer4) or 32 (none)."""
    dilate_first: bool = False
    """Whether the first block of a dilated stage has the stage's full dilation too. Otherwise the convolution
    that carried the stride keeps the dilation of the stage before, as in torchvision."""
    stride_in_first: bool = False
    """Whether a bottleneck's stride sits on its first convolution (1x1) instead of its second (3x3). Basic
    blocks have it on their first in any case."""
    ceil_pool: bool = False
    """Whether the stem's max-pool rounds its size up: S image pixels may then give one cell more than
    ceil(S / stride)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.output_stride in (8, 16, 32), f"output_stride is {self.output_stride}; it must be 8, 16 or 32")


@dataclass(frozen=True)
class VGGLayout(FamilyLayout):
    """Geometry of a VGG-16. It has the stage ``pool5`` only with a fifth pool."""

    stages = tuple(f"{kind}{block}" for block in range(1, 6) for kind in ("conv", "pool"))

    batch_norm: bool = False
    """Whether a batch-norm follows each convolution; then the ImageNet weights are those of that network."""
    pool_kernel: int = 3
    """Side of the max-pools: 3 (with padding 1) or 2 (size rounded up, unless ``floor_pool``)."""
    floor_pool: bool = False
    """Whether max-pools of kernel 2 round their size down, as torchvision's."""
    pool_strides: tuple[int, ...] = (2, 2, 2, 1)
    """Strides, 1 or 2, of the pools after conv1, ..., conv4; a fifth adds the stage ``pool5``."""
    dilations: tuple[int, int, int, int, int] = (1, 1, 1, 1, 2)
    """Dilation of the convolutions of conv1, ..., conv5; they are padded by as much."""
    first_padding: int = 1
    """Padding of the very first convolution."""
    classifier: bool = False
    """Whether the backbone also holds the fully connected layers (fc6, fc7, fc8), which it does not apply."""

    def __post_init__(self) -> None:
        super().__post_init__()
        strides = self.pool_strides
        _require(self.pool_kernel in (2, 3), f"pool_kernel is {self.pool_kernel}; it must be 2 or 3")
        _require(
            len(strides) in (4, 5) and set(strides) <= {1, 2},
            f"pool_strides is {strides}; it must be four or five times 1 or 2",
        )
        _require(self.pool_kernel == 3 or set(strides) == {2}, f"pools of kernel 2 need strides of 2, not {strides}")
        _require(self.pool_kernel == 2 or not self.floor_pool, "floor_pool is of pools of kernel 2")
        _require(
            len(self.dilations) == 5 and min(self.dilations) >= 1,
            f"dilations is {self.dilations}; it must be five numbers from 1",
        )
        _require(self.first_padding >= 0, f"first_padding is {self.first_padding}; it must be at least 0")


@dataclass(frozen=True)
class Layout:
    """What a method wants of whichever backbone it is given. The default is every backbone as it is listed."""

    families: tuple[FamilyLayout, ...] = ()
    """The geometry of single families, at most one entry for each. A backbone of another family is used as it is
    listed, and the user is told so."""
    max_stride: int | None = None
    """Image pixels that a cell of the last stage may be wide at most. A backbone that is coarser is refused."""
    levels: bool = False
    """Whether the method reads several depths of a convolutional network. A transformer, whose blocks all keep one grid
    of cells, is refused."""

    def __post_init__(self) -> None:
        kinds = [type(family) for family in self.families]
        _require(len(set(kinds)) == len(kinds), "families has two entries of one family")
        _require(self.max_stride is None or self.max_stride >= 1, f"max_stride is {self.max_stride}; it is from 1")

    def of(self, family: type[F]) -> F:
        """The geometry of a family: as the method states it, else the default."""
        return next((entry for entry in self.families if isinstance(entry, family)), family())


AS_LISTED = Layout()
"""Every backbone as it is listed."""


@dataclass(frozen=True)
class Stage:
    """One stage of a backbone."""

    name: str
    channels: int
    """Channels of its output."""
    stride: int
    """Image pixels a cell of its output: S pixels give about S / stride cells."""


@dataclass(frozen=True)
class Facts:
    """What a backbone's class says of itself; of a built one, what holds as it was laid out and cut.

    Raises:
        ValueError: no stages, two of one name, or numbers that no network has.
    """

    stages: tuple[Stage, ...]
    """In order, each with the output that the next one reads."""
    weights: str | None = None
    """The name of its ImageNet weights, torchvision's (``ResNet50_Weights.IMAGENET1K_V1``) where ``weights_url`` is
    None; None: it has none."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """What to subtract from images in [0, 1], RGB."""
    std: tuple[float, float, float] = IMAGENET_STD
    """What to divide by afterwards."""
    layout: Layout = AS_LISTED
    """What the method wants of it; its family reads the geometry from here."""
    weights_url: str | None = None
    """Where weights that are not torchvision's are published: a file whose name ends in a hyphen and the beginning of
    its SHA-256 (``gluon_resnet50_v1s-1762acc0.pth``)."""
    licence: str | None = None
    """Of its published weights, where that is not a usual free one: users are told."""
    one_grid: bool = False
    """Whether it is a transformer whose blocks all keep one grid of cells."""

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if not names:
            raise ValueError("a backbone has at least one stage")
        if len(set(names)) < len(names) or set(names) & _RESERVED:
            raise ValueError(f"stages {', '.join(names)}: each needs a name of its own, other than none and all")
        if wrong := [stage for stage in self.stages if stage.channels < 1 or stage.stride < 1]:
            raise ValueError(f"{wrong[0]}: channels and stride are numbers from 1")

    @property
    def channels(self) -> int:
        """Channels of the last stage."""
        return self.stages[-1].channels

    @property
    def stride(self) -> int:
        """Image pixels a feature cell of the last stage."""
        return self.stages[-1].stride

    def cut(self, last: str | None) -> Facts:
        """The same network cut after the stage ``last``; as it is where it has none of this name."""
        names = [stage.name for stage in self.stages]
        return replace(self, stages=self.stages[: names.index(last) + 1]) if last in names else self
