"""Runs that evaluated a checkpoint: what is known of its training, and the settings that a reader sees.

The identity of such a run names the checkpoint by its digest alone, so that one checkpoint is one run wherever it lies.
What is known of its training stands beside it in run.json, as ``trained``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fsseg_bench.records.settings import RunSettings, ShownSettings

UNKNOWN = " (training unknown)"
"""How the words end for a file that says nothing of its training."""

_OF_TRAINING = ("recipe", "seed", "weights", "weights_digest")
_OF_BOTH = ("protocol_label", "way", "shot", "precision", "switches")


@dataclass(frozen=True)
class CheckpointTraining:
    """What is known of the training of a checkpoint: of a file that lies in no run's folder, its name alone."""

    file: str
    run: str | None = None
    """The run's folder at the time."""
    identity: str | None = None
    settings: RunSettings | None = None
    stored: Mapping[str, Any] | None = None
    """The settings as the training's record holds them, which the identity is the hash of; for :meth:`to_json`."""

    def to_json(self) -> dict[str, Any]:
        """As run.json holds it."""
        if self.stored is None:
            return {"file": self.file}
        return {"file": self.file, "run": self.run, "identity": self.identity, "settings": self.stored}


def settings_shown(settings: RunSettings, trained: CheckpointTraining | None) -> ShownSettings:
    """The settings of a run as tables and filters use them; see :class:`ShownSettings`."""
    values = {name: getattr(settings, name) for name in settings.__dataclass_fields__}
    values["recipe"] = _with_optimizer(settings.recipe)
    if not settings.checkpoint_digest:
        return ShownSettings(**values)
    source = trained.settings if trained else None
    if trained is None or source is None:
        words = " ".join(filter(None, (trained.file if trained else "", settings.checkpoint_digest[:8])))
        return ShownSettings(**values | {"recipe": {}, "checkpoint": words + UNKNOWN})
    pairs = {name: (getattr(source, name), getattr(settings, name)) for name in _OF_BOTH}
    changed = {name: _other(then, now) for name, (then, now) in pairs.items() if then != now}
    own = {name: getattr(source, name) for name in _OF_TRAINING}
    own["recipe"] = _with_optimizer(source.recipe)
    words = f"run {str(trained.identity)[:8]}"
    return ShownSettings(**values | own | {"checkpoint": words, "trained_with": changed})


def _with_optimizer(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """A recipe that names its optimiser: records leave it out where it is SGD, the only one of earlier versions."""
    return {"optimizer": "sgd", **recipe} if recipe else recipe


def _other(value: Any, than: Any) -> Any:
    """``value``, of a mapping the entries that are not those of ``than``."""
    if isinstance(value, Mapping) and isinstance(than, Mapping):
        return {key: own for key, own in value.items() if key not in than or than[key] != own}
    return value
