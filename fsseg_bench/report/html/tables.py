"""Tables as HTML; each number opens what is known about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType

from fsseg_bench.report.html.page import escape, escape_lines, folded
from fsseg_bench.report.html.runs import ShownRun
from fsseg_bench.report.latex import to_latex
from fsseg_bench.report.model import Cell, Column, Table
from fsseg_bench.report.text import to_csv

_RANKED = ("{}", "<b>{}</b>", "<u>{}</u>")
_RANKS = " Bold: highest of its column and backbone, underlined: second; no test of significance."
_NAMES_ROWS = ("method", "class")
_MOST_COPIED = 3_000  # numbers; copies of larger tables are megabytes
_FEW = 2  # remarks that stand below a table in full
_LONG = 24  # characters of a label that stays in one line
_NO_RUNS: Mapping[str, ShownRun] = MappingProxyType({})


def table_html(table: Table, runs: Mapping[str, ShownRun] = _NO_RUNS) -> str:
    """A table with its heading, caption and footnotes; its cells tell of ``runs``, by folder, and name others."""
    return f'<div class="own"><h3>{escape(table.title)}</h3>\n{table_body(table, runs)}</div>'


def folded_table(table: Table, runs: Mapping[str, ShownRun], *, opened: bool) -> str:
    """The same, behind its title."""
    return folded(escape(table.title), table_body(table, runs), opened=opened)


def table_body(table: Table, runs: Mapping[str, ShownRun] = _NO_RUNS) -> str:
    """The table without its heading, and what can be copied of it.

    The page's script lets it be sorted where no heading stands over several rows.
    """
    stuck = _sticky(table)
    head = "\n".join(f"<tr>{row}</tr>" for row in _head(table, stuck))
    body = "\n".join(f"<tr>{''.join(_row(table, r, stuck, runs))}</tr>" for r in range(len(table.rows)))
    kind = "" if any(column.merge for column in table.columns) else ' class="sortable"'
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(table.title)}"><table{kind}>\n<thead>\n'
        f"{head}\n</thead>\n<tbody>\n{body}\n</tbody>\n</table></div>\n"
        f'<p class="caption">{escape(table.caption)}{_RANKS if table.ranked else ""}</p>'
        f"{_remarks(table)}{_copies(table)}"
    )


def _remarks(table: Table) -> str:
    """What must be known beside the caption; behind a line where it is much."""
    remarks = [f'<p class="caption">{escape(remark)}</p>' for remark in table.remarks]
    notes = "".join(f"<li><sup>{mark}</sup> {escape(note)}</li>" for note, mark in table.footnotes.items())
    text = "".join(remarks)
    if len(remarks) > _FEW:
        text = folded(f"{len(remarks)} remarks on these numbers", text)
    return text + (f'<ul class="notes">{notes}</ul>' if notes else "")


def _copies(table: Table) -> str:
    """The table as LaTeX and CSV, to be copied; the page's script adds buttons."""
    if len(table.rows) * (len(table.columns) - table.labels) > _MOST_COPIED:
        return '<p class="caption">As LaTeX or CSV: <code>fsseg-bench report --per-class --format csv</code>.</p>'
    texts = {"LaTeX": to_latex(table), "CSV": to_csv([table])}
    parts = (
        folded(f"as {name}", f'<pre class="copy" tabindex="0">{escape_lines(text)}</pre>')
        for name, text in texts.items()
    )
    return f'<div class="copies">{"".join(parts)}</div>'


def _sticky(table: Table) -> int:
    """The label column that stays in view when the table is scrolled: the one that tells most."""
    heads = [column.head[-1] for column in table.columns[: table.labels]]
    return next((heads.index(name) for name in _NAMES_ROWS if name in heads), 0)


def _head(table: Table, stuck: int) -> list[str]:
    depth = len(table.columns[0].head)
    return ["".join(_head_row(table.columns, level, depth, table.labels, stuck)) for level in range(depth)]


def _head_row(columns: Sequence[Column], level: int, depth: int, labels: int, stuck: int) -> Iterable[str]:
    """Headings of one level; neighbours under the same outer headings share theirs."""
    if level == depth - 1:
        for i, column in enumerate(columns):
            kind = "" if i >= labels else ' class="label stick"' if i == stuck else ' class="label"'
            yield f'<th scope="col"{kind}{_shot(column)}>{escape(column.head[level])}</th>'
        return
    for outer, group in groupby(columns, key=lambda column: column.head[: level + 1]):
        same = list(group)
        if outer[level]:
            yield f'<th scope="colgroup" colspan="{len(same)}"{_shot(same[0])}>{escape(outer[level])}</th>'
        else:
            yield f'<td colspan="{len(same)}"></td>'


def _shot(column: Column) -> str:
    """What the page's script filters by."""
    return f' data-shot="{escape(column.facts["shot"])}"' if "shot" in column.facts else ""


def _row(table: Table, r: int, stuck: int, runs: Mapping[str, ShownRun]) -> Iterable[str]:
    for i, cell in enumerate(table.rows[r]):
        mark = f"<sup>{table.mark(cell)}</sup>" if cell.notes else ""
        if i < table.labels:
            span = table.spans.get((r, i), 1)
            if span:
                kind = ' class="stick"' if i == stuck else ' class="long"' if len(cell.text) > _LONG else ""
                over = f' rowspan="{span}"' if span > 1 else ""
                name = escape(table.columns[i].head[-1])
                tag, scope = ("th", ' scope="row"') if cell.text else ("td", "")  # a heading has text
                yield f'<{tag}{scope}{kind}{over} data-of="{name}">{escape(cell.text)}{mark}</{tag}>'
            continue
        value, _, spread = cell.text.partition(" ± ")
        shown = _RANKED[cell.rank].format(escape(value)) + (f" <small>± {escape(spread)}</small>" if spread else "")
        known = _known(cell, runs)
        about = _shot(table.columns[i]) + ("" if cell.value is None else f' data-value="{cell.value!r}"')
        if known:
            yield f'<td tabindex="0"{about}>{shown}{mark}<span class="tip" role="note">{known}</span></td>'
        else:
            yield f"<td{about}>{shown}{mark}</td>"


def _known(cell: Cell, runs: Mapping[str, ShownRun]) -> str:
    """What is known about a number, as HTML; nothing for a number that is not there and has no note."""
    parts = []
    if cell.low is not None and cell.high is not None:
        parts.append(f"95 % interval {cell.low:.2f} to {cell.high:.2f}")
    parts += [escape(part) for part in (*cell.notes, cell.source) if part]
    return "<br>".join([*parts, *(_run(path, runs.get(path)) for path in cell.runs)])


def _run(path: str, run: ShownRun | None) -> str:
    if run is None:
        return f"run {escape(path)}"
    settings = run.scored.record.settings
    facts = [
        f"{len(run.scored.counts.classes):,} episodes",
        f"digest {settings.episode_digest[:8]}",
        f"seed {settings.seed}",
        *([] if settings.iterations is None else [f"{settings.iterations} iterations"]),
        *([f"weights {settings.weights}"] if settings.weights else []),
        settings.precision,
        "nondeterministic" if settings.nondeterministic else "",
        f"features kept in {settings.cache_dtype}" if settings.cache_dtype else "",
    ]
    link = f'<a href="#{run.anchor}">fold {settings.fold}</a>'
    return f"{link}: {escape(', '.join(filter(None, facts)))} <i>{escape(path)}</i>"
