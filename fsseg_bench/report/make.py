"""A report from Python: the same as ``fsseg-bench report``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import METRICS, IntervalKind, Metric
from fsseg_bench.report.document import Document, Request, document
from fsseg_bench.report.find_papers import RUNS
from fsseg_bench.report.frames.opening import choice, condition_texts
from fsseg_bench.report.model import Layout
from fsseg_bench.report.paper_words import NUMBERS, Number


def make_report(
    tables: str | int | Sequence[str | int] = RUNS,
    *,
    root: Path | str | None = None,
    method: str | Sequence[str] | None = None,
    dataset: str | None = None,
    backbone: str | None = None,
    shot: int | None = None,
    way: int | None = None,
    seed: int | None = None,
    where: Mapping[str, Any] | None = None,
    metric: Metric = "mean",
    resolution: Resolution | None = None,
    interval: IntervalKind = "images",
    episodes: int | None = None,
    per_class: bool = False,
    controls: bool = False,
    columns: Number | Sequence[Number] = NUMBERS,
    layout: Layout = "auto",
    papers_path: Path | str | None = None,
    data_root: Path | str | None = None,
    sources_path: Path | str | None = None,
    packs: Sequence[Path | str] = (),
) -> Document:
    """The tables of ``fsseg-bench report``, which a notebook shows as they are.

    ``made.save("report.html")`` writes the page; ``.md``, ``.tex``, ``.csv`` and ``.json`` the tables.
    ``made.text(form)`` is the text: ``"markdown"``, ``"latex"``, ``"macros"``, ``"csv"``, ``"json"`` or ``"html"``.
    ``made.doubts`` names records that could not be used or claim one cell, ``made.notes`` what the conditions left out,
    ``made.apart`` runs that are not finished and make no number.

    Args:
        tables: ``"runs"``, a paper's table (``"biopt:1"`` or 1), all tables of a paper (``"later"``), ``"all"``; or
            several of these.
        root: the results folder; None: ``FSSEG_RESULTS``, else ``results/runs``.
        method: only runs and published rows of this method, or of these.
        dataset: only of this protocol: its label, name or file.
        backbone: only with this backbone.
        shot: only K-shot.
        way: only N-way.
        seed: only runs with this training seed.
        where: only runs with these settings, by dotted name or its last part: ``{"recipe.iterations": 0}``.
        metric: of the tables of runs: ``"mean"`` for mean-IoU, ``"binary"`` for binary-IoU.
        resolution: where pixels are counted; None takes each protocol's headline.
        interval: what ± is over: ``"images"`` and episodes, or ``"episodes"`` alone.
        episodes: count each run's first episodes only.
        per_class: adds the IoU of each class.
        controls: adds what ``fsseg-bench controls`` has measured; the page shows it in any case.
        columns: of papers' tables: ``"published"``, ``"measured"``, ``"difference"``.
        layout: of papers' tables: these as ``"columns"`` or as ``"lines"``; ``"auto"``: as they fit.
        papers_path: a folder with further papers' tables.
        data_root: where the page finds the images of episodes; None: where the records say, or ``FSSEG_DATA``.
        sources_path: a folder with further data sources, which may read them.
        packs: files by ``fsseg-bench pack``, whose records stand beside those of ``root``.

    Raises:
        UserError: no such folder, table or setting; no run is there and no table of a paper is wanted; or the
            conditions leave nothing.
    """
    names = [tables] if isinstance(tables, (str, int)) else tables
    if episodes is not None and type(episodes) is not int:
        raise UserError(f"episodes={episodes!r} is not a whole number")
    named = [columns] if isinstance(columns, str) else columns
    filters = {"dataset": dataset, "backbone": backbone, "shot": shot, "way": way, "seed": seed}
    request = Request(
        tables=tuple(map(str, names)),
        methods=(method,) if isinstance(method, str) else tuple(method or ()),
        where=condition_texts(filters, where),
        metric=choice("metric", metric, METRICS),
        resolution=choice("resolution", resolution, [None, *get_args(Resolution)]),
        interval=choice("interval", interval, get_args(IntervalKind)),
        episodes=episodes,
        per_class=per_class,
        controls=controls,
        numbers=[number for number in NUMBERS if number in {choice("columns", c, NUMBERS) for c in named}],
        layout=choice("layout", layout, get_args(Layout)),
        papers_path=papers_path,
        data_root=None if data_root is None else str(data_root),
        sources_path=None if sources_path is None else str(sources_path),
        packs=tuple(packs),
    )
    return document(root, request)
