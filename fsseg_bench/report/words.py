"""Settings in few words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any, Literal

from fsseg_bench.records.identity import flat
from fsseg_bench.records.trained import CHECKPOINT, CHECKPOINT_DIGEST, TRAINED_WITH, UNKNOWN

_HEX = re.compile(r"[0-9a-f]{32,}")


Training = Literal["here", "untrained", "checkpoint", "unknown"]
"""How a run got its parameters: by training, not at all, from another run's checkpoint, or from some file."""


def training(settings: Mapping[str, Any]) -> Training:
    """How a run got its parameters."""
    recipe = settings.get("recipe", {})
    if settings.get(CHECKPOINT_DIGEST):
        return "checkpoint" if recipe else "unknown"
    return "untrained" if recipe.get("iterations") == 0 else "here"


def always(settings: Mapping[str, Any]) -> list[str]:
    """What a reader must know even when no other row makes it necessary."""
    parts = []
    if settings.get("precision", "fp32") != "fp32":
        parts.append(str(settings["precision"]))
    if list(settings.get("scales") or [1.0]) != [1.0]:
        parts.append("scales " + "/".join(short(scale) for scale in settings["scales"]))
    if training(settings) == "untrained":
        parts.append("untrained")
    changed = dict(flat(settings.get(TRAINED_WITH) or {}))
    if changed:
        told = ", ".join(f"{key.rpartition('.')[2]}={short(value)}" for key, value in changed.items())
        parts.append(f"trained with {told}")
    return parts


def checkpoints(runs: Iterable[Mapping[str, Any]]) -> str:
    """Which checkpoints were evaluated, from the settings of runs; empty where none was."""
    found = [settings for settings in runs if CHECKPOINT in settings]
    names = list(dict.fromkeys(str(settings[CHECKPOINT]) for settings in found))
    unknown = all(training(settings) == "unknown" for settings in found)
    if not names:
        return ""
    words = ", ".join(name.removesuffix(UNKNOWN) if unknown else name for name in names)
    return f"checkpoint{'s' if len(names) > 1 else ''} {words}{UNKNOWN if unknown else ''}"


def short(value: Any) -> str:
    """A setting's value in few characters: digests shortened, of a path the file name."""
    if isinstance(value, str):
        if _HEX.fullmatch(value):
            return value[:8]
        return PurePath(value).name if "/" in value else value
    if isinstance(value, list):
        return ",".join(map(short, value))
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


def natural(text: str) -> list[tuple[int, str]]:
    """A key that sorts ``resnet50`` before ``resnet101``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text) if part]
