"""One self-contained page: tables, pictures of episodes, and how each number was made."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape as escape_html
from itertools import groupby
from typing import Any, get_args

from fsseg_bench.protocol.statistics import Metric
from fsseg_bench.records.read import RecordWarning
from fsseg_bench.report.collect import Collection, Resolution, ScoredRun
from fsseg_bench.report.model import Cell, Column, Table, printable
from fsseg_bench.report.page import PAGE
from fsseg_bench.report.pictures import Picture, run_pictures

_IDENTITY = (
    ("identity", "identity"),
    ("episodes", "episode_digest"),
    ("protocol", "protocol_digest"),
    ("data", "data_fingerprint"),
    ("method source", "method_digest"),
    ("weights", "weights_digest"),
)


def escape(text: object) -> str:
    """``text`` as HTML text or attribute value."""
    return escape_html(printable(str(text)), quote=True)


def to_html(tables: Sequence[Table], collection: Collection, *, title: str = "fsseg-bench report") -> str:
    """The page as text. It loads nothing from outside and runs no script.

    Args:
        tables: what to print, in order.
        collection: the runs whose pictures and settings are shown, and the records that were skipped.
        title: the heading.
    """
    pictures = [(run, *run_pictures(run.record)) for run in collection.done]
    warnings = [*collection.warnings, *(warning for _, _, own in pictures for warning in own)]
    return PAGE.substitute(
        title=escape(title),
        when=escape(datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        tables="\n".join(table_html(table) for table in tables),
        skipped=_skipped(warnings),
        pictures=_pictures([(run, shown) for run, shown, _ in pictures if shown], collection),
        runs="\n".join(_run(run, collection) for run in collection.done),
    )


def table_html(table: Table) -> str:
    """A table with its heading, caption and footnotes; each number carries its interval and runs as hover text."""
    head = "\n".join(f"<tr>{row}</tr>" for row in _head(table.columns, table.labels))
    body = "\n".join(f"<tr>{''.join(_row(row, table))}</tr>" for row in table.rows)
    notes = "".join(f"<li><sup>{mark}</sup> {escape(note)}</li>" for note, mark in table.footnotes.items())
    return (
        f'<section><h2>{escape(table.title)}</h2>\n<div class="scroll"><table>\n<thead>\n{head}\n</thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>\n"
        f'<p class="caption">{escape(table.caption)}</p>{f"<ul class=notes>{notes}</ul>" if notes else ""}</section>'
    )


def _head(columns: Sequence[Column], labels: int) -> list[str]:
    depth = max(len(column.head) for column in columns)
    rows = []
    for level in range(depth):
        heads = [column.head[level] if level < len(column.head) else "" for column in columns]
        if level == depth - 1:
            kinds = [' class="label"'] * labels + [""] * (len(heads) - labels)
            cells = [f'<th scope="col"{kind}>{escape(text)}</th>' for kind, text in zip(kinds, heads, strict=True)]
        else:
            spans = [(text, len(list(same))) for text, same in groupby(heads)]
            cells = [f'<th scope="colgroup" colspan="{span}">{escape(text)}</th>' for text, span in spans]
        rows.append("".join(cells))
    return rows


def _row(row: Sequence[Cell], table: Table) -> Iterable[str]:
    for i, cell in enumerate(row):
        mark = f"<sup>{table.footnotes[cell.note]}</sup>" if cell.note else ""
        if i < table.labels:
            yield f'<th scope="row">{escape(cell.text)}{mark}</th>'
            continue
        value, _, spread = cell.text.partition(" ± ")
        shown = escape(value) + (f" <small>± {escape(spread)}</small>" if spread else "")
        yield f'<td title="{escape(_hover(cell))}">{shown}{mark}</td>'


def _hover(cell: Cell) -> str:
    parts = []
    if cell.low is not None and cell.high is not None:
        parts.append(f"95 % interval {cell.low:.2f} to {cell.high:.2f}")
    parts += [part for part in (cell.note, f"from {', '.join(cell.runs)}" if cell.runs else "") if part]
    return "; ".join(parts)


def _skipped(warnings: Sequence[RecordWarning]) -> str:
    if not warnings:
        return ""
    items = "".join(f"<li>{escape(warning.message)}</li>" for warning in warnings)
    return f"<section><h2>Skipped</h2><p>These records could not be used.</p><ul>{items}</ul></section>"


def _pictures(shown: Sequence[tuple[ScoredRun, Sequence[Picture]]], collection: Collection) -> str:
    """A block for each run; the first of each method is open."""
    if not shown:
        return ""
    blocks, seen = [], set[str]()
    for run, pictures in shown:
        method = run.record.settings["method"]
        opened = "" if method in seen else " open"
        seen.add(method)
        figures = "".join(
            f'<figure><div class="scroll"><img src="{p.uri}" width="{p.width}" height="{p.height}" '
            f'alt="{escape(p.caption)}"></div><figcaption>{escape(p.caption)}</figcaption></figure>'
            for p in pictures
        )
        link = f'<p><a href="#{_anchor(run, collection)}">settings of this run</a></p>'
        blocks.append(f"<details{opened}><summary>{_name(run)}</summary>{figures}{link}</details>")
    return "<section><h2>Episodes</h2>" + "\n".join(blocks) + "</section>"


def _name(run: ScoredRun) -> str:
    settings = run.record.settings
    return escape(
        f"{settings['method']}, {settings['backbone']}, {settings['protocol_label']} fold {settings['fold']}, "
        f"{settings['way']}-way {settings['shot']}-shot, seed {settings['seed']}"
    )


def _anchor(run: ScoredRun, collection: Collection) -> str:
    path = collection.path(run.record)
    return "run-" + "".join(c if c.isascii() and c.isalnum() else "-" for c in path)


def _run(run: ScoredRun, collection: Collection) -> str:
    """Everything that is known about one run."""
    info, settings = run.record.info, run.record.settings
    facts = [("record", collection.path(run.record)), ("command", _command(info))]
    facts += [(name, info.get(key) or settings.get(key)) for name, key in _IDENTITY]
    facts.append(("device", info.get("device")))
    listing = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts if v)
    blocks = "".join(
        f"<h4>{title}</h4><pre>{_json(value)}</pre>"
        for title, value in (
            ("Settings", settings),
            ("What the method recorded, mean over episodes", info.get("diagnostics")),
            ("Software", info.get("provenance")),
            ("Continued later, and what had changed", info.get("resumed")),
            ("Timings", info.get("timings")),
        )
        if value
    )
    headline: Resolution = settings["headline"]
    return (
        f'<details id="{_anchor(run, collection)}"><summary>{_name(run)}</summary><dl>{listing}</dl>'
        f"{_scores(run)}{_classes(run, headline)}{blocks}</details>"
    )


def _command(info: Any) -> object:
    provenance = info.get("provenance")
    return provenance.get("command") if isinstance(provenance, dict) else None


def _scores(run: ScoredRun) -> str:
    rows = []
    for metric in get_args(Metric):
        name = f"{metric}-IoU"
        values = [f"{100 * run.score(metric, resolution):.2f}" for resolution in get_args(Resolution)]
        rows.append(f'<tr><th scope="row">{name}</th>' + "".join(f"<td>{v}</td>" for v in values) + "</tr>")
    head = '<tr><th></th><th scope="col">input size</th><th scope="col">native size</th></tr>'
    return f"<h4>Scores of this fold, percent</h4><table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"


def _classes(run: ScoredRun, resolution: Resolution) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{100 * score:.2f}</td></tr>'
        for name, score in run.class_scores(resolution).items()
    )
    return f"<h4>IoU of each class, percent, {resolution} size</h4><table><tbody>{rows}</tbody></table>"


def _json(value: Any) -> str:
    return escape_html(json.dumps(value, indent=1, ensure_ascii=False), quote=True)
