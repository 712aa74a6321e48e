"""Runs from Python: the same as ``fsseg-bench run``, with a DataFrame as the result."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import pandas as pd

from fsseg_bench.engine.batch import plan_all, requests_for
from fsseg_bench.engine.plan import OpenSources
from fsseg_bench.engine.run import execute
from fsseg_bench.errors import UserError, unknown
from fsseg_bench.progress import Progress
from fsseg_bench.records.request import RunRequest
from fsseg_bench.report.frames import results_of
from fsseg_bench.report.recipes import what_differs
from fsseg_bench.values import checked_value, plain_value


def run(
    method: str | Sequence[str],
    dataset: str | Path,
    *,
    fold: int | Sequence[int] | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Trains and evaluates ``method`` (or several) under ``dataset``'s protocol, resuming what is there.

    Everything is planned before the first run starts. Several methods share one backbone unless ``backbone`` says
    otherwise (``"published"``: each its own).

    Args:
        method: a name or several.
        dataset: a protocol name or a TOML file.
        fold: one fold, several, or None for all of the protocol.
        settings: as ``--set``, with text or Python values: ``{"recipe.lr": 1e-3, "recipe.milestones": (100, 200),
            "steps": 5, "protocol.image.size": 257}``.
        progress: who is told how far it is; None tells nobody.
        options: the other fields of :class:`fsseg_bench.records.request.RunRequest`: ``shot``, ``way``, ``backbone``,
            ``weights``, ``data_root``, ``seed``, ``device``, ``iterations``, ``episodes``, ``scales``, ``out``, ...

    Returns:
        The long frame of these runs, as :func:`fsseg_bench.results` gives it: a row for each run, metric and
        resolution, IoU in percent with its 95 % interval. ``frame.attrs["notes"]`` says what was chosen (the
        backbone) and in what the methods' trainings differ.

    Raises:
        UserError: whatever would end the command with exit code 2.
    """
    methods = [method] if isinstance(method, str) else list(method)
    folds = None if fold is None else _folds(fold)
    if not methods or folds == ():
        raise UserError("nothing to run: name at least one method and one fold")
    told = progress or Progress()
    wanted = requests_for(methods, folds, dataset=str(dataset), settings=dict(settings or {}), **_checked(options))
    opened: OpenSources = {}
    batch = plan_all(wanted.requests, opened)
    notes = [*wanted.notes, *batch.notes, *what_differs([(p.shown.method, p.shown) for p in batch.runs])]
    for note in notes:
        told.say(note)
    folders = [execute(planned.plan(opened), progress).folder for planned in batch.runs]
    frame = results_of(folders)
    frame.attrs["notes"] = notes
    return frame


def _folds(fold: Any) -> tuple[int, ...]:
    given = plain_value(fold if isinstance(fold, (list, tuple)) or hasattr(fold, "dtype") else [fold])
    return tuple(checked_value("fold", value, int) for value in (given if isinstance(given, list) else [given]))


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a request with their types checked; paths and episode numbers as the command line gives them."""
    kinds = {key: kind for key, kind in get_type_hints(RunRequest).items() if key in _OPTIONS}
    values: dict[str, Any] = {}
    for key, value in options.items():
        if key not in kinds:
            own = set(inspect.signature(run).parameters) - {"options"}
            raise unknown("option of run", key, _OPTIONS | own)
        if kinds[key] != str | None:  # of these, "none" is a value (weights)
            values[key] = checked_value(key, value, kinds[key])
        elif value is None or (key == "episodes" and type(value) is int):
            values[key] = None if value is None else str(value)
        else:
            values[key] = checked_value(key, os.fspath(value) if isinstance(value, os.PathLike) else value, str)
    return values


_OPTIONS = {f.name for f in fields(RunRequest)} - {"method", "dataset", "fold", "settings"}
