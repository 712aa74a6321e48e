"""One self-contained page: tables, drawings, pictures of episodes, and how each number was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.records.read import RecordWarning
from fsseg_bench.report.collect import Collection
from fsseg_bench.report.doubts import errata_words, means_words
from fsseg_bench.report.find_papers import papers
from fsseg_bench.report.html.curves import curves_html
from fsseg_bench.report.html.gallery import Gallery
from fsseg_bench.report.html.page import METHOD, PAGE, escape, section
from fsseg_bench.report.html.runs import Group, ShownRun, groups, run_html, shown_runs, step_tables
from fsseg_bench.report.html.tables import folded_table, table_html
from fsseg_bench.report.model import Table
from fsseg_bench.report.papers import Paper
from fsseg_bench.report.table import class_tables


def to_html(
    tables: Sequence[Table],
    collection: Collection,
    *,
    title: str = "fsseg-bench report",
    resolution: Resolution | None = None,
    known_papers: Sequence[Paper] = (),
) -> str:
    """The page as text. It loads nothing from outside and runs no script.

    Tables of runs come first, then each class's IoU (made here unless among ``tables``), then those with published
    numbers, folded unless they hold a measured one.

    Args:
        tables: what to print.
        collection: the runs whose drawings, pictures and settings are shown, and the records that were skipped.
        title: the heading.
        resolution: where pixels are counted for each class's IoU; None takes each protocol's headline.
        known_papers: whose errata are listed where ``tables`` hold published numbers; none: the package's.
    """
    found = groups(collection)
    runs = shown_runs(found, collection)
    gallery = Gallery(runs.values())
    curves, no_curves = _curves(found)
    printed = [table for table in tables if table.published]
    classes = [table for table in tables if table.name.startswith("classes-")]
    own = [table for table in tables if table not in printed and table not in classes]
    parts = {
        ("runs", "Runs"): "\n".join(table_html(table, runs) for table in own),
        ("classes", "IoU of each class"): _folded(classes or class_tables(collection, resolution), runs),
        ("published", "Published and measured"): _folded(printed, runs),
        ("failures", "Failures"): gallery.failures,
        ("episodes", "Other episodes"): gallery.others,
        ("training", "Training"): curves,
        ("inner", "Inner loops"): "\n".join(table_html(t, runs) for group in found for t in step_tables(group)),
        ("errata", "Errata of the published tables"): _errata(known_papers or papers()) if printed else "",
        ("made", "How each number was made"): METHOD,
        ("records", "Records"): "\n".join(map(run_html, runs.values())),
        ("skipped", "Skipped"): _skipped([*collection.warnings, *gallery.warnings, *no_curves]),
    }
    shown = {name: body for name, body in parts.items() if body}
    return PAGE.substitute(
        title=escape(title),
        about=escape(_about(collection)),
        links="".join(f'<li><a href="#{name}">{escape(words)}</a></li>' for name, words in shown),
        body="\n".join(section(name, words, body) for (name, words), body in shown.items()),
    )


def _about(collection: Collection) -> str:
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    skipped = f", {len(collection.warnings)} skipped records" if collection.warnings else ""
    counts = f"{len(collection.done)} finished and {len(collection.unfinished)} unfinished runs{skipped}"
    return f"Made {when} from {counts}."


def _curves(found: Sequence[Group]) -> tuple[str, list[RecordWarning]]:
    made = [curves_html(group) for group in found]
    return "\n".join(html for html, _ in made if html), [warning for _, own in made for warning in own]


def _folded(tables: Sequence[Table], runs: Mapping[str, ShownRun]) -> str:
    """The tables behind their titles, open where they hold a measured number."""
    return "\n".join(folded_table(table, runs, opened=_measured(table)) for table in tables)


def _measured(table: Table) -> bool:
    return any(cell.runs and cell.value is not None for row in table.rows for cell in row)


def _errata(known: Sequence[Paper]) -> str:
    items = "\n".join(_item(line) for words in (errata_words, means_words) for paper in known for line in words(paper))
    return f"<ul>{items}</ul>" if items else ""


def _skipped(warnings: Sequence[RecordWarning]) -> str:
    items = "".join(_item(warning.message) for warning in warnings)
    return f"<p>These records, or parts of them, could not be used.</p><ul>{items}</ul>" if items else ""


def _item(text: str) -> str:
    return f"<li>{escape(text)}</li>"
