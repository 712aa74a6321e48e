"""A report as a whole: which tables it has, of which runs, and in which order; as text in each format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import IntervalKind, Metric
from fsseg_bench.records.generalised import GeneralisedRun
from fsseg_bench.records.read import RecordWarning
from fsseg_bench.report.blocks import Measured
from fsseg_bench.report.collect import Collection, any_runs
from fsseg_bench.report.controls import HOW, tables_of_controls
from fsseg_bench.report.filters import chosen
from fsseg_bench.report.find_papers import ALL, RUNS, find_tables, papers
from fsseg_bench.report.generalised import find_generalised, fitting, generalised_tables
from fsseg_bench.report.latex import to_latex, to_macros
from fsseg_bench.report.model import Layout, Table, arranged
from fsseg_bench.report.paper import paper_table
from fsseg_bench.report.paper_filter import narrowed
from fsseg_bench.report.paper_words import NUMBERS, Number
from fsseg_bench.report.papers import Paper, PaperTable
from fsseg_bench.report.rows import claimed_twice
from fsseg_bench.report.table import class_tables, runs_tables
from fsseg_bench.report.text import to_csv, to_json, to_markdown
from fsseg_bench.report.unfinished import unfinished_table
from fsseg_bench.storage.files import write_atomic

TextForm = Literal["markdown", "latex", "macros", "csv", "json", "html"]
ENDINGS: dict[str, TextForm] = {
    ".md": "markdown",
    ".tex": "latex",
    ".csv": "csv",
    ".json": "json",
    ".html": "html",
}
"""What a file is to hold, by how its name ends."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a report is asked for."""

    tables: Sequence[str] = (RUNS,)
    """Names as ``fsseg-bench list tables`` shows them, papers, ``runs``, or ``all``."""
    methods: Sequence[str] = ()
    """Only runs and published rows of these; none: all."""
    where: Mapping[str, str] = field(default_factory=dict)
    """Conditions on runs, as for :func:`fsseg_bench.report.filters.fitting`."""
    metric: Metric = "mean"
    """Of the tables of runs."""
    resolution: Resolution | None = None
    """Where pixels are counted; None takes each protocol's headline."""
    episodes: int | None = None
    """Count the first episodes of each run only."""
    interval: IntervalKind = "images"
    per_class: bool = False
    """Whether the IoU of each class is added."""
    controls: bool = False
    """Whether what was measured with other supports is added; the page shows it in any case."""
    numbers: Sequence[Number] = NUMBERS
    """Of papers' tables."""
    layout: Layout = "auto"
    """Of papers' tables."""
    papers_path: str | Path | None = None
    """A folder with further papers' tables."""
    data_root: str | None = None
    """The folder of the data sets, for the page's pictures of episodes; None: as the records say, or FSSEG_DATA."""
    sources_path: str | None = None
    """A folder with further data sources, for the same."""
    board: bool = False
    """Whether the page is the board."""
    packs: Sequence[str | Path] = ()
    """Packs whose records stand beside those of the folder."""

    @property
    def of_runs(self) -> bool:
        """Whether tables of runs are wanted."""
        return RUNS in self.tables or ALL in self.tables

    @property
    def narrow(self) -> bool:
        """Whether some runs and rows alone are wanted."""
        return bool(self.methods or self.where)


@dataclass(frozen=True)
class Document:
    """A report: the runs that were chosen, and the tables that are wanted. A notebook shows it as Markdown."""

    request: Request
    collection: Collection
    papers: tuple[Paper, ...]
    wanted: tuple[PaperTable, ...]
    """The papers' tables, with what is asked for alone."""
    notes: tuple[str, ...]
    """What the conditions left out."""
    generalised: tuple[GeneralisedRun, ...] = ()
    """Runs that label base and novel classes at once."""
    unusable: tuple[RecordWarning, ...] = ()
    """Records of such runs that were skipped."""

    @property
    def doubts(self) -> list[str]:
        """What is wrong with the records: those that were skipped, and those that claim one cell."""
        warnings = (*self.collection.warnings, *self.unusable)
        skipped = [f"skipped: {warning.message}" for warning in warnings]
        return [*skipped, *claimed_twice(self.collection)]

    @property
    def unfinished(self) -> Table | None:
        """The runs that make no number yet; None where there are none, or tables of runs are not wanted."""
        return unfinished_table(self.collection) if self.request.of_runs else None

    @property
    def apart(self) -> list[str]:
        """What is not finished, in a line each: formats for numbers alone have no place for it."""
        unfinished = self.unfinished
        return [f"not finished: {row[-1].text} ({row[-2].text})" for row in unfinished.rows] if unfinished else []

    @cached_property
    def controls(self) -> list[Table]:
        """Tables of controls, where they are wanted and can be had: see :attr:`no_controls`."""
        return tables_of_controls(self.collection) if self.request.controls and self.request.of_runs else []

    @property
    def no_controls(self) -> list[str]:
        """Why no table has controls though they are wanted; empty where one has."""
        if not self.request.controls or self.controls:
            return []
        if not self.request.of_runs:
            return ["no controls: they belong to the tables of runs, and others were asked for"]
        return [f"no controls: none were measured for these runs; '{HOW} RUN' does"]

    def tables(self) -> list[Table]:
        """Those of runs, then of classes, then papers'; without what is not finished."""
        request, collection = self.request, self.collection
        made = [*runs_tables(collection, request.metric, request.resolution)] if request.of_runs else []
        made += generalised_tables(self.generalised, request.resolution) if request.of_runs else []
        if request.per_class:
            protocols = None if request.of_runs else tuple({p.name for table in self.wanted for p in table.rules})
            made += class_tables(collection, request.resolution, protocols)
        made += self.controls
        measured = Measured(collection)
        of_papers = [
            paper_table(table, collection, measured, resolution=request.resolution, numbers=request.numbers)
            for table in self.wanted
        ]
        return [*made, *(table for table in of_papers if table.rows or not request.narrow)]

    def shaped(self) -> list[Table]:
        """The tables for readers, in the layout asked for."""
        return [arranged(table, self.request.layout) for table in self.tables()]

    def text(self, form: TextForm) -> str:
        """The report as text. LaTeX, macros and CSV hold numbers alone; what is not finished is not in them.

        Raises:
            UserError: there is no such form.
        """
        if form not in get_args(TextForm):
            raise UserError(f"form {form!r}: use one of {', '.join(get_args(TextForm))}")
        if form == "html" and not self.request.controls and self.request.episodes is None:
            return replace(self, request=replace(self.request, controls=True)).text(form)
        unfinished = self.unfinished
        apart = [unfinished] if unfinished else []
        if form == "macros":
            return to_macros(self.tables())
        if form == "csv":
            return to_csv(self.tables())
        if form == "json":
            return to_json(self.tables(), [warning.message for warning in self.collection.warnings], unfinished)
        if form == "latex":
            return "\n".join(map(to_latex, self.shaped()))
        if form == "html" and self.request.board:
            from fsseg_bench.report.html.board import board_html

            return board_html(self.collection, metric=self.request.metric, resolution=self.request.resolution)
        if form == "html":
            from fsseg_bench.report.html import to_html  # it opens data sets and draws; other forms start without
            from fsseg_bench.report.recorded import DataPlaces

            return to_html(
                [*self.shaped(), *apart],
                self.collection,
                metric=self.request.metric,
                resolution=self.request.resolution,
                known_papers=self.papers,
                places=DataPlaces(self.request.data_root, sources_path=self.request.sources_path),
            )
        return "\n".join(map(to_markdown, [*self.shaped(), *apart]))

    def save(self, path: str | Path, form: TextForm | None = None) -> None:
        """Writes the report; without ``form`` the end of the file's name says what it is to hold.

        Raises:
            UserError: the name says nothing, there is no such form, or the file cannot be written.
        """
        path = Path(path)
        chosen_form = form or ENDINGS.get(path.suffix.lower())
        if chosen_form is None:
            raise UserError(f"{path}: end the name in {', '.join(ENDINGS)}, or say the form")
        write_atomic(path, self.text(chosen_form))

    def __str__(self) -> str:
        return self.text("markdown")

    def _repr_markdown_(self) -> str:
        return self.text("markdown")


def document(root: str | Path | None, request: Request) -> Document:
    """The report on the runs under ``root`` (None: the default results folder).

    Raises:
        UserError: no such folder, table or setting; no run is there and no table of a paper is wanted; or the
            conditions leave nothing.
    """
    printed = [name for name in request.tables if name != RUNS]
    if request.metric == "binary" and not request.of_runs:
        raise UserError("--metric binary: the paper's tables have their own metric; it is for --table runs")
    known = papers(request.papers_path) if printed or request.papers_path else ()
    every = find_tables(printed, known)
    wanted, notes = narrowed(every, request.methods, request.where)
    if request.controls and request.episodes is not None:
        raise UserError("--controls counts whole runs: leave --episodes out")
    collection = any_runs(root, episodes=request.episodes, interval=request.interval, packs=request.packs)
    found = len(collection.done) + len(collection.unfinished)
    every_generalised, unusable = find_generalised(collection.root) if request.of_runs else ((), ())
    generalised = fitting(every_generalised, request.methods, request.where)
    if len(generalised) < len(every_generalised):
        left = len(every_generalised) - len(generalised)
        notes.append(f"{left} of {len(every_generalised)} runs that label base and novel classes at once left out")
    if request.board and generalised:
        notes.append(f"{len(generalised)} runs that label base and novel classes at once are not on the board")
    if not found and generalised:
        return Document(request, collection, tuple(known), tuple(wanted), tuple(notes), generalised, unusable)
    if not found and not every:
        raise UserError(f"{collection.root}: holds no usable runs; {_why_none([*collection.warnings, *unusable])}")
    if not found:
        if request.narrow and not any(table.numbers for table in wanted):
            raise UserError(f"no published row is asked for: {'; '.join(notes)}")
        notes.insert(0, f"{collection.root}: holds no usable runs; measured numbers are missing")
    elif request.narrow:
        try:
            collection = chosen(collection, request.methods, request.where)
            if collection.left_out:
                notes.insert(0, f"{collection.left_out} of {found} runs left out")
        except UserError as error:
            if not any(table.numbers for table in wanted) and not generalised:
                raise
            collection = replace(collection, done=(), unfinished=(), left_out=found)
            notes.insert(0, f"no run is asked for ({error})")
    return Document(request, collection, tuple(known), tuple(wanted), tuple(notes), generalised, unusable)


def _why_none(warnings: Sequence[RecordWarning]) -> str:
    """What to do where nothing is usable: nothing was run, or the reasons of the records that are there."""
    reasons = [warning.message for warning in warnings]
    if not reasons:
        return "make one with 'fsseg-bench run'"
    more = [f"{len(reasons) - 3} more"] if len(reasons) > 3 else []
    return f"{len(reasons)} skipped: {'; '.join([*reasons[:3], *more])}"
