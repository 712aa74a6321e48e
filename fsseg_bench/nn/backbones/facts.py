"""What is known about a backbone before it is built."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fsseg_bench.nn.layout import AS_LISTED, Layout

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Channel means of ImageNet, RGB in [0, 1], as torchvision's weights expect."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Channel deviations of ImageNet, RGB in [0, 1]."""
_RESERVED = {"none", "all"}  # of Backbone.freeze


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
    """torchvision's name of its ImageNet weights (``ResNet50_Weights.IMAGENET1K_V1``); None: it has none."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """What to subtract from images in [0, 1], RGB."""
    std: tuple[float, float, float] = IMAGENET_STD
    """What to divide by afterwards."""
    layout: Layout = AS_LISTED
    """What the method wants of it; its family reads the geometry from here."""

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
