"""What all frames of runs share: which runs they are about, what is said of each run, and what goes with a frame."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import METRICS, IntervalKind, Metric
from fsseg_bench.records.settings import OF_A_FOLD, OF_A_TABLE, flat
from fsseg_bench.report.collect import Collection, find_runs
from fsseg_bench.report.filters import chosen
from fsseg_bench.report.intervals import Stated
from fsseg_bench.report.rows import group_rows
from fsseg_bench.report.run_spread import run_spread
from fsseg_bench.report.scored import ScoredRun
from fsseg_bench.storage.json_text import plain
from fsseg_bench.values import plain_value

if TYPE_CHECKING:
    import pandas as pd

UNIT = "percent"
"""Of every score that frames hold: 0..100. Records hold counts, and the statistics compute fractions of them."""
Filters = Mapping[str, str | int | None]
"""Conditions that have a keyword of their own; None: none."""
SCORE = ("iou", "iou_low", "iou_high", "interval", "note")
"""The columns that :func:`score_cells` fills."""
SPREAD = ("runs", "run_sd", "run_min", "run_max")
"""The columns that :func:`spread_cells` fills."""
_COLUMNS_OF_THEIR_OWN = (*OF_A_TABLE, *OF_A_FOLD, "shot", "method", "backbone", "seed", "weights")


def chosen_runs(
    root: Path | str | None,
    method: str | Sequence[str] | None,
    filters: Filters,
    where: Mapping[str, Any] | None,
    *,
    interval: str = "images",
    episodes: int | None = None,
) -> Collection:
    """The runs under ``root`` that fulfil all conditions; see :func:`fsseg_bench.results`.

    Raises:
        UserError: no such folder or kind of interval; no run has what a condition asks for.
    """
    kind = choice("interval", interval, get_args(IntervalKind))
    methods = [method] if isinstance(method, str) else list(method or ())
    found = find_runs(root, episodes=episodes, interval=kind)
    return chosen(found, methods, condition_texts(filters, where))


def condition_texts(filters: Filters, where: Mapping[str, Any] | None) -> dict[str, str]:
    """All conditions with their values as text, as :func:`fsseg_bench.report.filters.fitting` reads them."""
    given = {key: value for key, value in filters.items() if value is not None} | dict(where or {})
    return {key: value if isinstance(value, str) else json.dumps(plain_value(value)) for key, value in given.items()}


def choice(name: str, value: Any, choices: Sequence[Any]) -> Any:
    """``value``, which is one of ``choices``.

    Raises:
        UserError: it is not.
    """
    if value not in choices:
        raise UserError(f"{name} {value!r}: use one of {', '.join(map(str, choices))}")
    return value


def resolution_of(run: ScoredRun, wanted: Resolution | None) -> Resolution:
    """Where pixels are counted: as ``wanted``, or the headline of the run's protocol."""
    found: Resolution = choice("resolution", wanted or run.record.settings.headline, get_args(Resolution))
    return found


def metric_of(wanted: str) -> Metric:
    """The metric of that name.

    Raises:
        UserError: there is none.
    """
    found: Metric = choice("metric", wanted, METRICS)
    return found


def settings_words(collection: Collection) -> dict[Path, str]:
    """By folder of a run what tables say of it beside its method and backbone, which tells runs apart."""
    return {
        run.record.folder: row.variant
        for runs in collection.by_rules.values()
        for row in group_rows(runs, collection)
        for run in row.all_runs
    }


def differing_settings(runs: Sequence[ScoredRun]) -> dict[str, list[Any]]:
    """By dotted name (``recipe.lr``, ``switches.steps``) the values of each setting that tells some of ``runs`` apart:
    in which two of one protocol, method, backbone, way and shot differ. A value for each run; None: it has none."""
    leaves = [_leaves(run) for run in runs]
    alike: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for run, values in zip(runs, leaves, strict=True):
        s = run.record.settings
        alike[s.protocol_digest, s.method, s.backbone, s.way, s.shot].append(values)
    names = {
        name
        for members in alike.values()
        for name in set().union(*members)
        if len({json.dumps(values.get(name)) for values in members}) > 1
    }
    return {name: [values.get(name) for values in leaves] for name in sorted(names)}


def _leaves(run: ScoredRun) -> dict[str, Any]:
    """A run's settings that have no column anyway; lists as JSON text, so that frames can be grouped by them."""
    settings = run.record.settings
    found = dict(flat(plain(settings.without(*_COLUMNS_OF_THEIR_OWN)))) | {"parameters": settings.parameters}
    found.pop("recipe.iterations", None)
    return {name: json.dumps(value) if isinstance(value, list) else value for name, value in found.items()}


def score_cells(score: float | None, stated: Stated | None, note: str = "") -> tuple[Any, ...]:
    """The columns :data:`SCORE` of a score in [0, 1] and its interval; of a missing one with the reason as ``note``."""
    if score is None or stated is None:
        return None, None, None, None, note
    low, high = (100 * end for end in stated.interval[:2]) if stated.interval else (None, None)
    return 100 * score, low, high, stated.kind, stated.note


def spread_cells(
    folds: Sequence[ScoredRun], metric: Metric, resolution: Resolution, *, whole: bool = True
) -> tuple[Any, ...]:
    """The columns :data:`SPREAD` of a fold's score, or of the mean over ``folds``; without numbers if not ``whole``."""
    spread = run_spread(folds, metric, resolution) if whole else None
    ends = (None, None, None) if spread is None else (100 * spread.sd, 100 * spread.least, 100 * spread.most)
    return max(fold.record.runs for fold in folds), *ends


def frame_of(rows: Sequence[Sequence[Any]], columns: Sequence[str], collection: Collection) -> pd.DataFrame:
    """A frame with what a reader must know: the unit, the records that could not be used, how many were left out."""
    import pandas as pd

    frame = pd.DataFrame(rows, columns=list(columns))
    frame = frame.astype({name: float for name in columns if name in (*SCORE[:3], *SPREAD[1:])})
    return with_remarks(frame, collection)


def with_remarks(frame: pd.DataFrame, collection: Collection) -> pd.DataFrame:
    """``frame`` with its attributes."""
    frame.attrs = {
        "unit": UNIT,
        "skipped": [warning.message for warning in collection.warnings],
        "left_out": collection.left_out,
    }
    return frame
