"""Builds a method from names and text: backbone, weights, switches."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

import torch

from fsseg_bench.errors import UserError, unknown
from fsseg_bench.method import Method
from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.nn.weights import WeightsInfo, load_weights
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import parse_value
from fsseg_bench.registry import find_method

LIGHT_BACKBONE = "resnet18-layer2"
"""The backbone for the embedded images when none is named: trained from scratch in seconds."""

BASE_CLASSES = 15
"""Classes to train on where no fold says how many: PASCAL-5i's."""


def switches_of(cls: type[Method]) -> dict[str, inspect.Parameter]:
    """The keyword-only arguments of a method's ``__init__``, by name."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    return {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def parse_switches(name: str, cls: type[Method], given: Mapping[str, str]) -> dict[str, Any]:
    """All switches of a method with the values of ``given`` (text) in place of defaults.

    Raises:
        UserError: unknown switch (near matches shown) or a value of the wrong type.
    """
    known = switches_of(cls)
    values = {key: parameter.default for key, parameter in known.items()}
    hints = get_type_hints(cls.__init__)
    for key, text in given.items():
        if key not in known:
            raise unknown(f"switch of {name}", key, known)
        values[key] = parse_value(key, text, hints[key])
    return values


def default_backbone(cls: type[Method], protocol: Protocol) -> tuple[str, str]:
    """Names of backbone and weights when the user names none."""
    if protocol.data.source == "shapes":
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
        switches: keyword-only arguments of the method.

    Raises:
        UserError: unknown names, weights that cannot be had or do not fit, wrong switch values.
    """
    cls = find_method(name, methods_path)
    wrong = sorted(set(switches) - set(switches_of(cls)))
    if wrong:
        raise unknown(f"switch of {name}", wrong[0], switches_of(cls))
    return assemble(cls, backbone, weights, switches, seed, base_classes)[0]


def assemble(
    cls: type[Method],
    backbone: str,
    weights: str,
    switches: Mapping[str, Any],
    seed: int,
    base_classes: int = BASE_CLASSES,
) -> tuple[Method, WeightsInfo]:
    """The method with its backbone, its random parameters drawn from ``seed``; and what its weights are."""
    given = (base_classes,) if cls.reads_class_labels else ()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trunk = build_backbone(backbone, cls.layout)
        info = load_weights(trunk, weights)
        try:
            method = cls(trunk, *given, **switches)
        except ValueError as error:
            raise UserError(f"{cls.__name__} on {backbone}: {error}") from error
    return method, info
