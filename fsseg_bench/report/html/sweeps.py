"""The sweeps among the records: how far each is, and which of its cells failed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fsseg_bench.errors import UserError
from fsseg_bench.progress import about
from fsseg_bench.records.read import RecordWarning
from fsseg_bench.report.html.page import escape, folded
from fsseg_bench.sweeps.find import sweeps_in
from fsseg_bench.sweeps.plan import read_plan
from fsseg_bench.sweeps.states import CellState, states_of
from fsseg_bench.sweeps.table import Row, counts_words, part_done, rows, seconds_left

_MOST = 20
"""Failed cells of a sweep that are shown at once."""


def sweeps_html(root: Path) -> tuple[str, list[RecordWarning]]:
    """A block for each sweep under ``root``, and the sweeps that cannot be read; nothing where there is none."""
    parts, warnings = [], []
    for folder in sweeps_in(root):
        try:
            plan = read_plan(folder)
            parts.append(_block(plan.name, states_of(folder, plan)))
        except UserError as error:
            warnings.append(RecordWarning(folder, str(error)))
    return "\n".join(parts), warnings


def _block(name: str, states: Sequence[CellState]) -> str:
    done, left = part_done(states), seconds_left(states)
    percent = f"{int(100 * done)} %"
    words = f"{counts_words(states)}; {percent} of all steps" + (f", {about(left)} left" if left is not None else "")
    bar = f'<progress max="1" value="{done:.4f}" aria-label="Part of {escape(name)} that is done">{percent}</progress>'
    failed = rows(states, ("failed", "gave up"))
    table = _table(name, failed[:_MOST]) if failed else ""
    if more := failed[_MOST:]:
        table += folded(f"{len(more):,} more", _table(name, more))
    return f"<h3>{escape(name)}</h3><p>{bar} {escape(words)}.</p>{table}"


def _table(name: str, failed: Sequence[Row]) -> str:
    head = "".join(f'<th scope="col">{word}</th>' for word in ("cell", "state", "steps", "attempts", "where", "why"))
    body = "".join(
        f'<tr><th scope="row">{escape(row.cell)}</th>'
        + "".join(f"<td>{escape(text)}</td>" for text in (row.state, row.done, row.attempts, row.where, row.note))
        + "</tr>"
        for row in failed
    )
    scroll = f'<div class="scroll" tabindex="0" role="group" aria-label="Failed cells of {escape(name)}">'
    return f"{scroll}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
