"""Runs that evaluated a checkpoint: what is known of its training, and the settings that a reader sees.

The identity of such a run names the checkpoint by its digest alone, so that one checkpoint is one run wherever it lies.
What is known of its training stands beside it in run.json, as ``trained``: ``file``, and of a run's checkpoint also
``run`` (the folder at the time), ``identity`` and ``settings`` of that run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fsseg_bench.records.identity import identity_hash

CHECKPOINT_DIGEST = "checkpoint_digest"
"""The setting that a run has when it evaluated a checkpoint: the SHA-256 of the file."""
CHECKPOINT = "checkpoint"
"""The setting that says in words which checkpoint; not part of the identity."""
TRAINED_WITH = "trained_with"
"""The settings in which the training differed from the evaluation; not part of the identity."""

UNKNOWN = " (training unknown)"
"""How the words end for a file that says nothing of its training."""

_OF_TRAINING = ("recipe", "seed", "weights", "weights_digest")
_OF_BOTH = ("protocol_label", "way", "shot", "precision", "switches")


def settings_shown(settings: Mapping[str, Any], trained: Any) -> Mapping[str, Any]:
    """The settings of a run as tables and filters use them.

    Of an evaluated checkpoint, recipe, seed and weights are those of its training; the recipe is empty where the
    training is unknown. Of any other run they are its own.

    Args:
        settings: what the identity is made of.
        trained: the field of run.json, or None.
    """
    digest = settings.get(CHECKPOINT_DIGEST)
    if not digest:
        return settings
    known = trained if isinstance(trained, Mapping) else {}
    source = known.get("settings")
    if not isinstance(source, Mapping):
        words = " ".join(filter(None, (str(known.get("file") or ""), str(digest)[:8])))
        return {**settings, "recipe": {}, CHECKPOINT: words + UNKNOWN}
    changed = {
        key: _other(source.get(key), settings.get(key)) for key in _OF_BOTH if source.get(key) != settings.get(key)
    }
    own = {key: source[key] for key in _OF_TRAINING if key in source}
    return {**settings, **own, CHECKPOINT: f"run {str(known['identity'])[:8]}", TRAINED_WITH: changed}


def _other(value: Any, than: Any) -> Any:
    """``value``, of a mapping the entries that are not those of ``than``."""
    if isinstance(value, Mapping) and isinstance(than, Mapping):
        return {key: own for key, own in value.items() if key not in than or than[key] != own}
    return value


def problem_with_trained(trained: Any) -> str:
    """What is wrong with the field of a record; empty where nothing is."""
    if trained is None:
        return ""
    if not isinstance(trained, Mapping):
        return "trained must be a mapping"
    source = trained.get("settings")
    if source is None:
        return ""
    if not isinstance(source, Mapping) or identity_hash(source) != trained.get("identity"):
        return "edited: the settings of the checkpoint's training do not have the identity it states"
    if type(source.get("seed")) is not int or not isinstance(source.get("recipe"), Mapping):
        return "the settings of the checkpoint's training have no seed or no recipe"
    return ""
