"""Runs from Python: the same as ``fsseg-bench run``, with a DataFrame as the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fsseg_bench.engine.plan import Opened, RunRequest, make_plan
from fsseg_bench.engine.progress import Progress
from fsseg_bench.engine.run import execute
from fsseg_bench.protocol.spec import FOLDS
from fsseg_bench.report.collect import results_of


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

    Args:
        method: a name or several.
        dataset: a protocol name or a TOML file.
        fold: one fold, several, or None for all four.
        settings: as ``--set``: ``{"recipe.lr": 1e-3, "steps": 5, "protocol.image.size": 257}``.
        progress: who is told how far it is; None tells nobody.
        options: the other fields of :class:`fsseg_bench.engine.plan.RunRequest`: ``shot``, ``way``, ``backbone``,
            ``weights``, ``data_root``, ``seed``, ``device``, ``iterations``, ``episodes``, ``scales``, ``out``, ...

    Returns:
        The long frame of these runs, as :func:`fsseg_bench.results` gives it: a row for each run, metric and
        resolution, values in 0..1 with their 95 % intervals.

    Raises:
        UserError: whatever would end the command with exit code 2.
    """
    methods = [method] if isinstance(method, str) else list(method)
    folds = FOLDS if fold is None else (fold,) if isinstance(fold, int) else tuple(fold)
    text = {key: _text(value) for key, value in (settings or {}).items()}
    opened: Opened = {}
    folders = []
    for name in methods:
        for one in folds:
            request = RunRequest(method=name, dataset=str(dataset), fold=one, settings=text, **_plain(options))
            folders.append(execute(make_plan(request, opened), progress).folder)
    return results_of(folders)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ",".join(map(_text, value))
    return str(value)


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Paths and episode numbers as the text that the command line would give."""
    textual = {"data_root", "weights", "episodes", "out", "eval_only", "methods_path"}
    return {key: str(value) if key in textual and value is not None else value for key, value in options.items()}
