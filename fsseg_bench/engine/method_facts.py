"""What there is to know of a method before it runs: its card, ways, backbones, switches, and recipe with sources."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fsseg_bench.engine.build import default_backbone, geometry_note
from fsseg_bench.engine.switches import Described, described
from fsseg_bench.errors import UserError
from fsseg_bench.method import Method
from fsseg_bench.nn.backbones import laid_out
from fsseg_bench.nn.catalogue import backbone_names, find_backbone
from fsseg_bench.protocol.find import builtin_protocols
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import Recipe
from fsseg_bench.registry import Card, card_of, find_method
from fsseg_bench.storage.json_text import plain
from fsseg_bench.values import text_of

_SHOTS = (1, 5)


@dataclass(frozen=True)
class RecipeValue:
    """One value of a recipe."""

    key: str
    value: str
    """As ``--set recipe.KEY=VALUE`` takes it."""
    source: str
    """Where it comes from; ``default`` where the method leaves it as every recipe has it."""


@dataclass(frozen=True)
class UsableBackbone:
    """One backbone, as the method would use it."""

    name: str
    cuts: tuple[str, ...]
    """The stages after which it can be cut, as ``NAME-STAGE``."""
    weights: str | None
    """torchvision's name of its ImageNet weights, of which there are none for some layouts."""
    note: str
    """Why it cannot be used whole, or that its geometry is not the method's; empty otherwise."""


@dataclass(frozen=True)
class MethodFacts:
    """See the module."""

    card: Card
    max_ways: int | None
    """None: any number."""
    stochastic: bool
    needs_grad_at_test: bool
    backbone: str
    """Its own, the published one."""
    protocol: str
    """Label of the protocol that the recipe is for."""
    shot: int
    backbone_there: str
    """What a run under the protocol takes when no backbone is named."""
    weights_there: str
    backbones: tuple[UsableBackbone, ...]
    switches: tuple[Described, ...]
    recipe: tuple[RecipeValue, ...]
    elsewhere: tuple[tuple[str, str], ...]
    """Other built-in protocols and shots, in words, with the values of the recipe that are others there."""

    def to_json(self) -> dict[str, Any]:
        """All of it in JSON's types."""
        switches = [switch._asdict() for switch in self.switches]
        elsewhere = [{"where": where, "changed": changed} for where, changed in self.elsewhere]
        return {**plain(asdict(self)), "switches": switches, "elsewhere": elsewhere}


def method_facts(
    name: str,
    dataset: str,
    shot: int,
    methods_path: Path | str | None = None,
    backbones_path: Path | str | None = None,
    sources_path: Path | str | None = None,
) -> MethodFacts:
    """The facts of the method ``name``, with its recipe under ``dataset``'s protocol for ``shot`` supports a class.

    Nothing is built and no data are needed.

    Raises:
        UserError: unknown names, or a file that cannot be imported.
    """
    card, cls = card_of(name, methods_path), find_method(name, methods_path)
    protocol = load_protocol(dataset, sources_path=sources_path)
    recipe = cls.recipe(protocol, shot).checked()
    there, weights = default_backbone(cls, protocol)
    return MethodFacts(
        card=card,
        max_ways=cls.max_ways,
        stochastic=cls.stochastic,
        needs_grad_at_test=cls.needs_grad_at_test,
        backbone=cls.default_backbone,
        protocol=protocol.label,
        shot=shot,
        backbone_there=there,
        weights_there=weights,
        backbones=tuple(_usable(name, cls, known, backbones_path) for known in backbone_names(backbones_path)),
        switches=tuple(described(cls)),
        recipe=tuple(
            RecipeValue(key, text_of(value), recipe.sources.get(key, "default")) for key, value in _values(recipe)
        ),
        elsewhere=tuple(_elsewhere(cls, protocol, shot, recipe)),
    )


def _values(recipe: Recipe) -> list[tuple[str, Any]]:
    """The values that have a part in a training, in the order of the fields; the optimiser is always named."""
    values = {"optimizer": recipe.optimizer, **recipe.settings()}
    return [(key, values[key]) for key in recipe.__dataclass_fields__ if key in values]


def _usable(method: str, cls: type[Method], name: str, path: Path | str | None) -> UsableBackbone:
    backbone = find_backbone(name, path)[0]
    cuts = tuple(stage.name for stage in backbone.facts.stages[:-1])
    try:
        weights = laid_out(name, cls.layout, path).weights
    except UserError as error:  # the method needs finer features
        return UsableBackbone(name, cuts, backbone.facts.weights, str(error))
    return UsableBackbone(name, cuts, weights, geometry_note(method, cls.layout, name, path) or "")


def _elsewhere(cls: type[Method], protocol: Protocol, shot: int, recipe: Recipe) -> list[tuple[str, str]]:
    """Where the recipe is another one: with other shots here, and under the other built-in protocols."""
    here = dict(_values(recipe))
    others = [(f"{k} {'shot' if k == 1 else 'shots'}", protocol, k) for k in _SHOTS if k != shot]
    others += [(name, load_protocol(name), shot) for name in builtin_protocols() if name != protocol.name]
    found: dict[str, list[str]] = {}
    for words, rules, shots in others:
        there = dict(_values(cls.recipe(rules, shots)))
        changed = [f"{key}={text_of(value) or '(empty)'}" for key, value in there.items() if here.get(key) != value]
        if changed:
            found.setdefault(", ".join(changed), []).append(words)
    return [(", ".join(words), changed) for changed, words in found.items()]
