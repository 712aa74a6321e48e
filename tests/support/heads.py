"""A tiny backbone and random episodes, for tests of heads."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from fsseg_bench.method import Episode, Method
from fsseg_bench.nn.backbones import Backbone, Facts, Stage

M = TypeVar("M", bound=Method)


class TinyBackbone(Backbone):
    """One convolution, stride 8."""

    def __init__(self, channels: int = 6) -> None:
        super().__init__(Facts((Stage("conv", channels, 8),)))
        self.conv = nn.Conv2d(3, channels, 8, stride=8)

    def stage_modules(self, stage: str) -> tuple[nn.Module, ...]:
        return (self.conv,)


def make(cls: type[M], backbone: Backbone, *given: int, **switches: Any) -> M:
    """A method on a backbone with some switches; ``given`` is the number of base classes, where it takes one."""
    return cls(backbone, *given, *([cls.Switches(**switches)] if cls.Switches else []))


def random_masks(shape: tuple[int, ...], seed: int, *, void: float = 0.1, ways: int = 1) -> Tensor:
    """Labels 0..ways and, in a share ``void`` of the pixels, 255; uint8, every value present."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randint(0, ways + 1, shape, generator=generator, dtype=torch.uint8)
    return masks.masked_fill(torch.rand(shape, generator=generator) < void, 255)


def random_episode(
    batch: int = 2,
    ways: int = 1,
    shots: int = 1,
    channels: int = 6,
    *,
    cells: tuple[int, int] = (5, 4),
    size: tuple[int, int] = (37, 30),
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Episode:
    """An episode with random features, whose supports carry the direction of their class; labels given."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return Episode(
        support=normal(batch, ways, shots, channels, *cells),
        support_masks=random_masks((batch, ways, shots, *size), seed + 1),
        query=normal(batch, channels, *cells),
        size=size,
        seeds=tuple(range(batch)),
        query_labels=random_masks((batch, *size), seed + 2, ways=ways),
    )


def first(episode: Episode, count: int) -> Episode:
    """The first ``count`` episodes of a batch."""
    return dataclasses.replace(
        episode,
        support=episode.support[:count],
        support_masks=episode.support_masks[:count],
        query=episode.query[:count],
        seeds=episode.seeds[:count],
        query_labels=None if episode.query_labels is None else episode.query_labels[:count],
    )
