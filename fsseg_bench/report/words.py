"""Settings in few words."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

_HEX = re.compile(r"[0-9a-f]{32,}")


def training(settings: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether a run is untrained, and whether it was trained elsewhere."""
    elsewhere = bool(settings.get("checkpoint_digest"))
    return not elsewhere and settings.get("recipe", {}).get("iterations") == 0, elsewhere


def always(settings: Mapping[str, Any]) -> list[str]:
    """What a reader must know even when no other row makes it necessary."""
    parts = []
    if settings.get("precision", "fp32") != "fp32":
        parts.append(str(settings["precision"]))
    if list(settings.get("scales") or [1.0]) != [1.0]:
        parts.append("scales " + "/".join(short(scale) for scale in settings["scales"]))
    untrained, elsewhere = training(settings)
    if untrained or elsewhere:
        parts.append("untrained" if untrained else "trained elsewhere")
    return parts


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
