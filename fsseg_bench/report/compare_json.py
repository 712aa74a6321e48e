"""A comparison as JSON, every number unrounded."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

from fsseg_bench.protocol.statistics import METRICS
from fsseg_bench.report.compare import Adjusted, Comparison
from fsseg_bench.report.compare_cells import power_of
from fsseg_bench.report.seen import facts, seen_of_run, source_of
from fsseg_bench.storage.json_text import plain

_SCORES = {"baseline", "other", "low", "high", "error", "lasting", "difference"}
_POWERS = {"resolvable", "at_best"}
_SPREADS = {"mean", "deviation"}


def compare_json(comparison: Comparison, power: float | None = None) -> str:
    """All of ``comparison``, scores, differences and standard errors in percent (points); ends with a newline.

    Under ``methods``, each entry is one contender beside the first: its ``scores`` says whose score the keys
    ``baseline`` and ``other`` of every number below are (``difference`` is other minus baseline).
    ``power`` is the difference to resolve, in percent points; None leaves power out.
    """
    settings = comparison.baseline.settings
    document = {
        "schema": 2,
        "unit": "percent",
        "protocol": {k: getattr(settings, f"protocol_{k}") for k in ("label", "version", "digest")},
        "way": settings.way,
        "shot": settings.shot,
        "resolution": comparison.resolution,
        "level": comparison.level,
        "interval": comparison.interval,
        "resamples": comparison.resamples if comparison.interval == "episodes" else None,
        "folds": list(comparison.folds),
        "episodes": list(comparison.episodes),
        "images": [images and images.numbers._asdict() for images in comparison.images],
        "episode_digests": list(comparison.digests),
        "baseline": _contender(comparison, 0),
        "methods": [_method(comparison, i, power) for i in range(len(comparison.versus))],
        "notes": list(comparison.notes),
    }
    return json.dumps(plain(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _contender(comparison: Comparison, place: int) -> dict[str, Any]:
    contender = comparison.versus[place - 1].other if place else comparison.baseline
    seeds = comparison.seeds[place]
    return {
        "label": contender.label,
        "method": contender.settings.method,
        "backbone": contender.settings.backbone,
        "seen": facts(seen_of_run(contender.example), source_of(contender.example)),
        "seeds": list(seeds),
        "runs": [str(contender.runs[fold][seed].folder) for fold in comparison.folds for seed in seeds],
    }


def _method(comparison: Comparison, i: int, power: float | None) -> dict[str, Any]:
    versus, names = comparison.versus[i], comparison.class_names
    overall = {m: _plain(versus.overall[m]) for m in METRICS}
    if power is not None:
        for m in METRICS:
            found = power_of(comparison, versus.overall[m], power / 100)
            overall[m]["power"] = {"difference": power, **_percent(found._asdict(), _POWERS)} if found else None
    return {
        **_contender(comparison, i + 1),
        "scores": {"baseline": comparison.baseline.label, "other": versus.other.label},
        "differs": list(versus.differs),
        "overall": overall,
        "by_fold": {m: [_plain(own) for own in versus.folds[m]] for m in METRICS},
        "by_class": [
            {"fold": fold, "class": c, "name": names[c], **_plain(own)}
            for fold, classes in zip(comparison.folds, versus.classes, strict=True)
            for c, own in classes.items()
        ],
        "training_seeds": {
            m: {k: v and _percent(v._asdict(), _SPREADS) for k, v in vars(versus.seeds[m]).items()} for m in METRICS
        },
    }


def _plain(own: Adjusted) -> dict[str, Any]:
    found = _percent({**asdict(own.difference), "difference": own.difference.value}, _SCORES)
    return {**found, "p_holm": own.p_holm}


def _percent(values: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    """``values`` with those under ``keys`` times 100, where they are numbers."""
    return {key: 100 * value if key in keys and value is not None else value for key, value in values.items()}
