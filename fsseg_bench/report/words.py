"""Settings, and the episode lists that were given, in few words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import PurePath
from typing import Any, Literal, get_args

from fsseg_bench.protocol.lists import list_family
from fsseg_bench.protocol.load import LIST_GIVEN
from fsseg_bench.protocol.statistics import Metric
from fsseg_bench.records.read import StoredRun
from fsseg_bench.records.settings import RELEASED, UNKNOWN, ShownSettings, flat

METRIC_NAMES: dict[Metric, str] = {"mean": "mean-IoU", "binary": "binary-IoU", "boundary": "boundary-IoU"}
GeneralisedMetric = Literal["base", "novel", "mean of base and novel", "mean over all classes"]
"""Of base and novel classes labelled at once. The last two are both called the mean in print and are never one."""
PrintedMetric = Literal["mean", "binary", "base", "novel", "mean of base and novel", "mean over all classes"]
"""What a published number may be: a :data:`Metric` or a :data:`GeneralisedMetric`."""
PRINTED_METRICS: tuple[PrintedMetric, ...] = get_args(PrintedMetric)


def metric_name(metric: PrintedMetric) -> str:
    """What a sentence calls it."""
    return f"{metric}-IoU" if metric in {"mean", "binary", "base", "novel"} else metric


HEX = re.compile(r"[0-9a-f]{32,}")


def always(settings: ShownSettings) -> list[str]:
    """What a reader must know even when no other row makes it necessary."""
    parts: list[str] = []
    if settings.precision != "fp32":
        parts.append(settings.precision)
    if settings.nondeterministic:
        parts.append("nondeterministic")
    if settings.merge:
        parts.append(f"ways joined by {settings.merge}")
    if settings.cache_dtype:
        parts.append(f"features kept in {settings.cache_dtype}")
    if settings.scales != (1.0,):
        parts.append("scales " + "/".join(short(scale) for scale in settings.scales))
    if settings.parameters == "untrained":
        parts.append("untrained")
    for name, stage in (settings.stages or {}).items():
        if "released" in stage:
            parts.append(f"stage {name}: released network, not trained here")
    changed = dict(flat(settings.trained_with or {}))
    if dataset := changed.pop("protocol_label", None):
        parts.append(f"trained on {dataset}")
    if changed:
        listing = ", ".join(f"{key.rpartition('.')[2]}={short(value)}" for key, value in changed.items())
        parts.append(f"trained with {listing}")
    return parts


def checkpoints(runs: Iterable[ShownSettings]) -> str:
    """Which checkpoints were evaluated, from the settings of runs; empty where none was."""
    found = [settings for settings in runs if settings.checkpoint]
    names = list(dict.fromkeys(str(settings.checkpoint) for settings in found))
    if not names:
        return ""
    ending = next((end for end in (UNKNOWN, *RELEASED) if all(name.endswith(end) for name in names)), "")
    words = ", ".join(name.removesuffix(ending) for name in names)
    return f"checkpoint{'s' if len(names) > 1 else ''} {words}{ending}"


def given_list(run: StoredRun) -> str:
    """The list whose episodes were replayed, as :func:`list_family` names those of all folds; empty if none was.

    A record that was made of a list and does not say of which has one that is like no other.
    """
    if given := run.info.passed.episode_list:
        return list_family(given, run.fold)
    return f"unknown {run.settings.episode_digest[:8]}" if LIST_GIVEN in run.settings.protocol_label else ""


def short(value: Any) -> str:
    """A setting's value in few characters: digests shortened, of a path the file name."""
    if isinstance(value, str):
        if HEX.fullmatch(value):
            return value[:8]
        return PurePath(value).name if "/" in value else value
    if isinstance(value, list):
        return ",".join(map(short, value))
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


@cache
def plain(name: str) -> str:
    """A name without case and signs: ``ResNet-50`` and ``resnet50`` are one."""
    return "".join(c for c in name.lower() if c.isalnum())


def natural(text: str) -> list[tuple[int, str]]:
    """A key that sorts ``resnet50`` before ``resnet101``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text) if part]
