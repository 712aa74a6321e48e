"""The table of claims as a whole: from records to text, for the command and for Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import METRICS, IntervalKind, Metric
from fsseg_bench.report.claims.measured import released
from fsseg_bench.report.claims.table import claims_table
from fsseg_bench.report.collect import Collection, any_runs
from fsseg_bench.report.filters import chosen
from fsseg_bench.report.find_papers import papers
from fsseg_bench.report.frames.opening import choice, condition_texts
from fsseg_bench.report.latex import to_latex
from fsseg_bench.report.model import Table
from fsseg_bench.report.rows import claimed_twice
from fsseg_bench.report.text import to_csv, to_json, to_markdown
from fsseg_bench.storage.files import write_atomic

Form = Literal["markdown", "latex", "csv", "json"]
ENDINGS: Mapping[str, Form] = {".md": "markdown", ".tex": "latex", ".csv": "csv", ".json": "json"}
HOW = (
    "make one with 'fsseg-bench run --method NAME --backbone NAME --dataset pascal5i --fold 1 --eval-only "
    "official:FILE', where FILE is what the method's authors released"
)


@dataclass(frozen=True)
class Claims:
    """The table, and the records that it was made from. A notebook shows it as Markdown."""

    table: Table
    collection: Collection

    @property
    def doubts(self) -> list[str]:
        """What is wrong with the records: those that were skipped, and those that claim one cell."""
        skipped = [f"skipped: {warning.message}" for warning in self.collection.warnings]
        return [*skipped, *claimed_twice(self.collection)]

    def text(self, form: Form) -> str:
        """The table as text.

        Raises:
            UserError: there is no such form.
        """
        choice("form", form, get_args(Form))
        if form == "json":
            return to_json([self.table], [warning.message for warning in self.collection.warnings])
        if form == "csv":
            return to_csv([self.table])
        return to_latex(self.table) if form == "latex" else to_markdown(self.table)

    def save(self, path: str | Path) -> None:
        """Writes the table; the end of the file's name says how: ``.md``, ``.tex``, ``.csv`` or ``.json``.

        Raises:
            UserError: the name says nothing, or the file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() not in ENDINGS:
            raise UserError(f"{path}: end the name in {', '.join(ENDINGS)}")
        write_atomic(path, self.text(ENDINGS[path.suffix.lower()]))

    def __str__(self) -> str:
        return self.text("markdown")

    def _repr_markdown_(self) -> str:
        return self.text("markdown")


def claims(
    root: Path | str | None = None,
    *,
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
    papers_path: Path | str | None = None,
) -> Claims:
    """The published numbers that released checkpoints claim, beside what was measured with them here.

    Args:
        root: the results folder; None: ``FSSEG_RESULTS``, else ``results/runs``.
        method: only this method, or these.
        dataset: only runs of this protocol: its label, name or file.
        backbone: only with this backbone.
        shot: only K-shot.
        way: only N-way.
        seed: of the run; evaluations of checkpoints have 0.
        where: only runs with these settings, by dotted name or its last part.
        metric: ``"mean"`` for mean-IoU, ``"binary"`` for binary-IoU.
        resolution: where pixels are counted; None takes each protocol's headline.
        interval: what ± is over: ``"images"`` and episodes, or ``"episodes"`` alone.
        papers_path: a folder with further papers' tables.

    Raises:
        UserError: no such folder or setting, or no run evaluated a released checkpoint.
    """
    kind = choice("interval", interval, get_args(IntervalKind))
    choice("metric", metric, METRICS)
    choice("resolution", resolution, [None, *get_args(Resolution)])
    collection = any_runs(root, interval=kind)
    if not any(map(released, collection.done)):
        unfinished = sum(bool(r.info.trained and r.info.trained.released) for r in collection.unfinished)
        more = f" ({unfinished} are not finished)" if unfinished else ""
        raise UserError(f"{collection.root}: no finished run evaluated a released checkpoint{more}; {HOW}")
    filters = {"dataset": dataset, "backbone": backbone, "shot": shot, "way": way, "seed": seed}
    methods = [method] if isinstance(method, str) else list(method or ())
    collection = chosen(collection, methods, condition_texts(filters, where))
    if not any(map(released, collection.done)):
        raise UserError(f"{collection.root}: no run that was asked for evaluated a released checkpoint; {HOW}")
    numbers = [number for paper in papers(papers_path) for number in paper.numbers]
    return Claims(claims_table(collection, numbers, metric, resolution), collection)
