"""Backbones by name, laid out as a method wants them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from fsseg_bench.errors import UserError
from fsseg_bench.nn.backbones.base import Backbone
from fsseg_bench.nn.catalogue import find_backbone
from fsseg_bench.nn.layout import AS_LISTED, Facts, Layout

M = TypeVar("M", bound=nn.Module)


def build_backbone(name: str, layout: Layout = AS_LISTED, path: Path | str | None = None) -> Backbone:
    """The backbone ``name`` with random numbers drawn under torch's global seed.

    Args:
        name: of a backbone, perhaps cut after a stage: ``resnet50``, ``resnet50-layer3``.
        layout: strides, dilations and the end of the network, as a method wants them.
        path: a folder with further backbone files.

    Raises:
        UserError: no backbone has this name (near matches are named), its file is broken, or it cannot be what the
            method requires.
    """
    cls, last = find_backbone(name, path)
    backbone = cls(_laid_out(name, cls, last, layout))
    backbone.name = name
    backbone.remember_parts()
    return backbone


def for_shapes(build: Callable[[], M]) -> M:
    """The network that ``build`` makes, for its names and shapes: without numbers, which is quick, where it can be.

    A network whose ``__init__`` reads numbers is built on the CPU; torch's random state stays as it is.
    """
    try:
        with torch.device("meta"):
            return build()
    except Exception:  # noqa: BLE001 - what is wrong other than the device, the second attempt raises again
        with torch.random.fork_rng(devices=[]):
            return build()


def laid_out(name: str, layout: Layout = AS_LISTED, path: Path | str | None = None) -> Facts:
    """The facts of the backbone that :func:`build_backbone` would build; the arguments are the same.

    Raises:
        UserError: as :func:`build_backbone`.
    """
    return _laid_out(name, *find_backbone(name, path), layout)


def _laid_out(name: str, cls: type[Backbone], last: str | None, layout: Layout) -> Facts:
    facts = replace(cls.lay_out(layout), layout=layout).cut(last)
    if layout.levels and facts.one_grid:
        raise UserError(
            f"backbone {name}: the method reads feature maps of several depths, as convolutional networks have them; "
            "the blocks of this transformer all keep one grid. Take a convolutional backbone, or a method that reads "
            "one map, such as dino-map or panet"
        )
    most = layout.max_stride
    if most is None or facts.stride <= most:
        return facts
    fine = [stage for stage in facts.stages if stage.stride <= most]
    advice = f"; cut it earlier: --backbone {name.removesuffix(f'-{last}')}-{fine[-1].name}" if fine else ""
    raise UserError(
        f"backbone {name}: a feature cell is {facts.stride} image pixels wide, the method needs at most {most}{advice}"
    )
