"""Builds a method from names and settings: backbone, weights, switches."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fsseg_bench.engine.switches import parse_switches, switch_types
from fsseg_bench.errors import UserError, unknown
from fsseg_bench.method import Method
from fsseg_bench.nn.backbones import Backbone, build_backbone
from fsseg_bench.nn.catalogue import find_backbone
from fsseg_bench.nn.layout import Layout
from fsseg_bench.nn.weights import WeightsInfo, load_weights
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.registry import find_method

LIGHT_BACKBONE = "resnet18-layer2"
"""The backbone for the embedded images when none is named: trained from scratch in seconds."""

BASE_CLASSES = 15
"""Classes to train on where no fold says how many: PASCAL-5i's."""

_SIDE = 256  # pixels: a multiple of the usual strides, so that a message names the stride as it is


def default_backbone(cls: type[Method], protocol: Protocol) -> tuple[str, str]:
    """Names of backbone and weights when the user names none."""
    if protocol.synthetic:
        return LIGHT_BACKBONE, "none"
    return cls.default_backbone, "imagenet"


def build_method(
    name: str,
    backbone: str = "resnet50",
    weights: str = "imagenet",
    *,
    seed: int = 0,
    base_classes: int = BASE_CLASSES,
    methods_path: Path | str | None = None,
    backbones_path: Path | str | None = None,
    **switches: Any,
) -> Method:
    """A method ready to use: ``build_method("panet", "resnet18", "none")``.

    Args:
        name: as in ``fsseg-bench list methods``.
        backbone: as in ``fsseg-bench list backbones``.
        weights: ``imagenet``, ``none`` or a file.
        seed: of the random initial parameters.
        base_classes: how many classes it is to be trained on, for methods that tell them apart.
        methods_path: a folder with further method files.
        backbones_path: a folder with further backbone files.
        switches: by name, as in ``Switches`` of the method.

    Raises:
        UserError: unknown names, weights that cannot be had or do not fit, wrong switch values.

    Example:
        >>> method = build_method("panet", "resnet18-layer2", "none", align_weight=0.5)
        >>> method.backbone.out_channels
        128
    """
    cls = find_method(name, methods_path)
    known = {*switch_types(cls), "seed", "base_classes", "methods_path", "backbones_path"}
    for key in switches:
        if key not in known:
            raise unknown(f"switch of {name} or option of build_method", key, known)
    values = parse_switches(name, cls, switches)
    return assemble(cls, backbone, weights, values, seed, base_classes, backbones_path)[0]


def assemble(
    cls: type[Method],
    backbone: str,
    weights: str,
    switches: Mapping[str, Any],
    seed: int,
    base_classes: int = BASE_CLASSES,
    backbones_path: Path | str | None = None,
) -> tuple[Method, WeightsInfo]:
    """The method with its backbone, its random parameters drawn from ``seed``; and what its weights are."""
    given: list[Any] = [base_classes] if cls.reads_class_labels else []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trunk = build_backbone(backbone, cls.layout, backbones_path)
        _check_facts(trunk)
        info = load_weights(trunk, weights)
        try:
            # a method without switches has no argument for them
            method = cls(trunk, *given, *([cls.Switches(**switches)] if cls.Switches else []))
        except ValueError as error:
            raise UserError(f"{cls.__name__} on {backbone}: {error}") from error
    return method, info


def _check_facts(backbone: Backbone) -> None:
    """Whether a backbone's stages put out what its facts say; those of this package are known to.

    What it raises may be about the size of the made-up image: the first real one tells.

    Raises:
        UserError: a stage has other channels, or another stride.
    """
    if type(backbone).__module__.startswith("fsseg_bench."):
        return
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():  # the method's numbers are drawn afterwards
            levels = copy.deepcopy(backbone).eval().levels(torch.zeros(1, 3, _SIDE, _SIDE), backbone.stages)
    except UserError:
        raise
    except Exception:  # noqa: BLE001 - see above
        return
    name = backbone.name.removesuffix(f"-{backbone.stages[-1]}")
    advice = f"correct its facts (fsseg-bench check-backbone {name} shows all)"
    if len(levels) != len(backbone.stages):
        raise UserError(
            f"backbone {name}: levels() gives {len(levels)} maps for {len(backbone.stages)} stages; {advice}"
        )
    for stage, level in zip(backbone.facts.stages, levels, strict=True):
        where = f"backbone {name}: stage {stage.name}"
        if level.ndim != 4:
            raise UserError(f"{where} has the shape {tuple(level.shape)}, not (M, C, h, w); {advice}")
        if level.shape[1] != stage.channels:
            raise UserError(f"{where} has {level.shape[1]} channels, facts say {stage.channels}; {advice}")
        for cells in level.shape[2:]:
            # an edge that is not padded, or padded more, costs or gives a few cells
            if not (2 / 3 <= cells * stage.stride / _SIDE <= 3 / 2 or abs(cells - _SIDE / stage.stride) <= 1):
                found = round(_SIDE / max(cells, 1))
                raise UserError(f"{where} has stride {found}, facts say {stage.stride}; {advice}")


def geometry_note(method: str, layout: Layout, backbone: str, backbones_path: Path | str | None = None) -> str | None:
    """A line where a method states the geometry of other families than the backbone's; None where it states its own.

    Raises:
        UserError: no such backbone.
    """
    stated = [type(entry) for entry in layout.families]
    family = find_backbone(backbone, backbones_path)[0].family
    if not stated or family in stated:
        return None
    names = " and ".join(kind.__name__.removesuffix("Layout") for kind in stated)
    return f"{method} states strides and dilations for {names} alone; {backbone} is used as it is listed"
