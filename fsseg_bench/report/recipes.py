"""In what trainings differ: what a reader must know before two methods' numbers are put side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fsseg_bench.records.settings import RunSettings
from fsseg_bench.report.model import Cell, Column, Table, printable
from fsseg_bench.report.words import short

_Recipe = Mapping[str, Any]
_BEFORE, _UNKNOWN = "networks trained before", "unknown"


def training_facts(settings: RunSettings) -> dict[str, str]:
    """Backbone, weights, training episodes, rate and the like, in words; what does not apply is left out."""
    recipe = settings.recipe
    facts = {"backbone": settings.backbone, "weights": _weights(settings)}
    if not recipe:
        return {**facts, "training episodes": _UNKNOWN}
    if settings.stages:
        facts[_BEFORE] = "; ".join(f"{name}, {stage_words(stage)}" for name, stage in settings.stages.items())
    if settings.iterations == 0:
        return {**facts, "training episodes": "none"}
    for name, words in _OF_A_RECIPE.items():
        if text := words(recipe, settings):
            facts[name] = text
    return facts


def stage_words(stage: Mapping[str, Any] | None) -> str:
    """How a network that comes before the method was made, from the settings of its stage; ``none`` without one."""
    if stage is None:
        return "none"
    if "released" in stage:
        return f"{stage['released']}, released, not trained here"
    recipe = stage["recipe"]
    return f"{recipe['iterations']:,} steps of {recipe['batch']} images"


def unlike_stages(first: RunSettings, second: RunSettings) -> set[str]:
    """Stages that one of two runs has, or that one trained and the other was given: their keys cannot be compared."""
    one, other = first.stages or {}, second.stages or {}
    given = {name for name in one.keys() & other.keys() if ("released" in one[name]) != ("released" in other[name])}
    return (one.keys() ^ other.keys()) | given


def what_differs(runs: Iterable[tuple[str, RunSettings]], skip: Sequence[str] = ()) -> list[str]:
    """A line for each fact but ``skip`` in which the trainings of several methods differ, with each value's methods.

    Runs are given with what they are called; those of one name may be folds or shots.
    """
    lines = []
    for fact, values in differing(runs).items():
        if fact not in skip:
            holders: dict[str, list[str]] = {}
            for name, value in values.items():
                holders.setdefault(value, []).append(name)
            lines.append(f"different {fact}: " + "; ".join(f"{', '.join(names)} {v}" for v, names in holders.items()))
    return lines


def differing(runs: Iterable[tuple[str, RunSettings]]) -> dict[str, dict[str, str]]:
    """Fact to name to value, for the facts in which names differ; several values of one name are joined by ``/``.

    A network that some are trained on top of is a difference to those without one.
    """
    found: dict[str, dict[str, dict[str, None]]] = {}
    facts = [(name, training_facts(settings)) for name, settings in runs]
    staged = any(_BEFORE in own for _, own in facts)
    for name, own in facts:
        known = staged and own.get("training episodes") != _UNKNOWN
        for fact, value in (({_BEFORE: stage_words(None)} if known else {}) | own).items():
            found.setdefault(fact, {}).setdefault(name, {})[value] = None
    values = {fact: {name: " / ".join(own) for name, own in names.items()} for fact, names in found.items()}
    return {fact: names for fact, names in values.items() if len(set(names.values())) > 1}


def differences_table(runs: Sequence[tuple[str, RunSettings]]) -> Table | None:
    """The differences with a row for each method; None where there are none."""
    facts = differing(runs)
    if not facts:
        return None
    names = list(dict.fromkeys(name for name, _ in runs))
    rows = [(Cell(printable(n)), *(Cell(printable(facts[f].get(n, "-"))) for f in facts)) for n in names]
    heads = ("method", *facts)
    return Table(
        name="differences-of-training",
        title="What differs between the methods",
        caption="The numbers compare methods together with what differs here.",
        columns=tuple(Column((head,)) for head in heads),
        labels=len(heads),
        rows=tuple(rows),
    )


def _weights(settings: RunSettings) -> str:
    name, digest = short(settings.weights), settings.weights_digest
    if version := name.partition("_Weights.")[2]:
        return f"ImageNet ({version})"
    return f"{name} {str(digest)[:8]}" if digest and digest != "none" else name


def _episodes(recipe: _Recipe, _: RunSettings) -> str:
    steps, batch = recipe.get("iterations"), recipe.get("batch")
    if not isinstance(steps, int) or not isinstance(batch, int):
        return ""
    return f"{steps * batch:,} ({steps:,} steps of {batch:,})"


def _optimizer(recipe: _Recipe, _: RunSettings) -> str:
    betas = ", ".join(map(short, recipe.get("betas") or ()))
    return str(recipe.get("optimizer", "sgd")) + (f" (betas {betas})" if betas else "")


def _schedule(recipe: _Recipe, _: RunSettings) -> str:
    parts = [str(recipe.get("schedule") or "")]
    if recipe.get("schedule") == "step":
        milestones = ", ".join(f"{int(i):,}" for i in recipe.get("milestones") or ())
        parts.append(f"x{short(recipe.get('gamma'))} at {milestones or 'none'}")
    if recipe.get("warmup"):
        parts.append(f"warm-up {recipe['warmup']:,}")
    return ", ".join(filter(None, parts))


def _shots(recipe: _Recipe, settings: RunSettings) -> str:
    shots = recipe.get("train_shots")
    return "as evaluated" if not shots or shots == settings.shot else str(shots)


def _plain(key: str) -> Callable[[_Recipe, RunSettings], str]:
    return lambda recipe, _: short(recipe[key]) if key in recipe else ""


_OF_A_RECIPE: Mapping[str, Callable[[_Recipe, RunSettings], str]] = {
    "training episodes": _episodes,
    "optimizer": _optimizer,
    "rate": _plain("lr"),
    "schedule": _schedule,
    "frozen stages": _plain("freeze"),
    "batch-norm": _plain("bn"),
    "augmentation": _plain("augment"),
    "training shots": _shots,
}
