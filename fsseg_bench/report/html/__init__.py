"""One self-contained page: tables, drawings, pictures of episodes, and how each number was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import Metric
from fsseg_bench.records.read import RecordWarning
from fsseg_bench.report.collect import Collection
from fsseg_bench.report.doubts import errata_words, means_words
from fsseg_bench.report.find_papers import papers
from fsseg_bench.report.html.classes import classes_html
from fsseg_bench.report.html.curves import curves_html
from fsseg_bench.report.html.dots import Palette
from fsseg_bench.report.html.episodes import STYLE as OF_EPISODES
from fsseg_bench.report.html.episodes import episodes_html
from fsseg_bench.report.html.page import METHOD, escape, folded, page
from fsseg_bench.report.html.printed import printed_numbers
from fsseg_bench.report.html.runs import Group, ShownRun, groups, run_html, shown_runs, step_tables
from fsseg_bench.report.html.standing import Contest, contests
from fsseg_bench.report.html.sweeps import sweeps_html
from fsseg_bench.report.html.tables import folded_table, table_html
from fsseg_bench.report.html.verdict import verdict_html
from fsseg_bench.report.html.words import listing
from fsseg_bench.report.model import Table
from fsseg_bench.report.papers import Paper
from fsseg_bench.report.recorded import DataPlaces
from fsseg_bench.report.table import class_tables
from fsseg_bench.version import __version__ as VERSION

_HINT = '<p class="caption">Point at a number or tap it: its interval, episodes and settings appear below.</p>'


def to_html(
    tables: Sequence[Table],
    collection: Collection,
    *,
    title: str = "fsseg-bench report",
    metric: Metric = "mean",
    resolution: Resolution | None = None,
    known_papers: Sequence[Paper] = (),
    places: DataPlaces | None = None,
) -> str:
    """The page as text. It loads nothing from outside; all of it is there without its script, which sorts and filters.

    First which method is better, then the tables of runs, each class's IoU (from a table made here unless it is among
    ``tables``), episodes, trainings, tables with published numbers, how far sweeps are, and how each number was made.

    Args:
        tables: what to print.
        collection: the runs whose drawings, pictures and settings are shown, and the records that were skipped.
        title: the heading.
        metric: of the ranking and its differences.
        resolution: where their pixels and those of each class are counted; None takes each protocol's headline.
        known_papers: whose errata are listed where ``tables`` hold published numbers; none: the package's.
        places: where data sets are, for the images of episodes.
    """
    found = groups(collection)
    runs = shown_runs(found, collection)
    known = known_papers or papers()
    palette = Palette()
    every = contests(found, collection, metric, resolution)
    verdict = _verdict(every, collection, metric, known, palette)
    episodes, no_episodes = episodes_html(every, collection, places)
    curves, no_curves = _curves(found, palette)
    sweeps, no_sweeps = sweeps_html(collection.root)
    printed = [table for table in tables if table.published]
    classes = [table for table in tables if table.name.startswith("classes-")]
    waiting = [table for table in tables if table.name == "unfinished"]
    own = [table for table in tables if not any(table in others for others in (printed, classes, waiting))]
    steps = [table_html(table, runs) for group in found for table in step_tables(group)]
    skipped = [*collection.warnings, *no_episodes, *no_curves, *no_sweeps]
    return page(
        title,
        _about(collection, found),
        [
            ("verdict", "Result", verdict),
            ("runs", "Scores", _scores(own, runs)),
            ("classes", "Classes", classes_html(classes or class_tables(collection, resolution), runs, palette)),
            ("episodes", "Episodes", episodes),
            ("training", "Training", "\n".join([curves, *steps])),
            ("published", "Published", _published(printed, runs) + _errata(_shown_papers(printed, known))),
            ("sweeps", "Sweeps", sweeps),
            ("records", "Provenance", _provenance(waiting, runs, skipped)),
        ],
        OF_EPISODES,
    )


def _verdict(
    every: Sequence[Contest], collection: Collection, metric: Metric, known: Sequence[Paper], palette: Palette
) -> str:
    """Where several things can be compared, a block for each; a single one where nothing can."""
    alone = [contest for contest in every if len(contest.standings) == 1]
    shown = every[: len(every) - len(alone)] or alone[:1]
    titles = [contest.title for contest in shown]
    parts = []
    for i, contest in enumerate(shown):
        several = titles.count(contest.title) > 1
        title = contest.title + (
            f", other images or episodes ({titles[: i + 1].count(contest.title)})" if several else ""
        )
        printed = printed_numbers(contest, metric, known)
        parts.append(
            verdict_html(contest, collection, title, metric, printed, palette, opened=i == 0, folds=len(shown) > 1)
        )
    left = len(every) - len(shown)
    if left:
        words = "1 more row has" if left == 1 else f"{left} more rows have"
        parts.append(f'<p class="caption">{words} nothing to be compared with under the same rules.</p>')
    return "\n".join(parts)


def _about(collection: Collection, found: Sequence[Group]) -> str:
    """What was compared, and from what the page was made; HTML."""
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    methods = list(dict.fromkeys(row.method for group in found for row in group.rows))
    backbones = list(dict.fromkeys(row.backbone for group in found for row in group.rows))
    what = (
        f"{listing(methods)} on {listing(backbones)}; {listing([group.title.replace(', ', ' ') for group in found])}"
        if found
        else ""
    )
    skipped = f", {len(collection.warnings)} skipped records" if collection.warnings else ""
    counts = f"{len(collection.done)} finished and {len(collection.unfinished)} unfinished runs{skipped}"
    if collection.left_out:
        counts += f"; {collection.left_out} more were not asked for"
    first = f"<p><strong>{escape(what)}</strong></p>" if what else ""
    return f'{first}<p class="caption">Made {when} by fsseg-bench {VERSION} from {escape(counts)}.</p>'


def _scores(own: Sequence[Table], runs: Mapping[str, ShownRun]) -> str:
    """The tables of runs; the page's script fills the bar above them with filters."""
    if not own:
        return ""
    return _HINT + '<div class="filters" hidden></div>' + "\n".join(table_html(table, runs) for table in own)


def _published(printed: Sequence[Table], runs: Mapping[str, ShownRun]) -> str:
    """Tables with a measured number, open; the others together behind one line."""
    with_runs = [folded_table(table, runs, opened=True) for table in printed if _measured(table)]
    without = [folded_table(table, runs, opened=False) for table in printed if not _measured(table)]
    words = f"{len(without)} table{'s' if len(without) > 1 else ''} of which nothing was measured here"
    return "\n".join([*with_runs, *([folded(words, "\n".join(without))] if without else [])])


def _shown_papers(printed: Sequence[Table], known: Sequence[Paper]) -> list[Paper]:
    names = {table.name for table in printed}
    return [paper for paper in known if any(table.label in names for table in paper.tables)]


def _curves(found: Sequence[Group], palette: Palette) -> tuple[str, list[RecordWarning]]:
    made = [curves_html(group, palette) for group in found]
    return "\n".join(html for html, _ in made if html), [warning for _, own in made for warning in own]


def _measured(table: Table) -> bool:
    return any(cell.runs and cell.value is not None for row in table.rows for cell in row)


def _errata(known: Sequence[Paper]) -> str:
    items = "".join(_item(line) for words in (errata_words, means_words) for paper in known for line in words(paper))
    return f"<h3>Errata</h3><ul>{items}</ul>" if items else ""


def _provenance(waiting: Sequence[Table], runs: Mapping[str, ShownRun], warnings: Sequence[RecordWarning]) -> str:
    """How numbers are made, what is unfinished or could not be used, and a foldable part for each run."""
    parts = [table_html(table, runs) for table in waiting]
    if warnings:
        items = "".join(_item(warning.message) for warning in warnings)
        parts.append(f"<h3>Skipped</h3><p>These records, or parts of them, could not be used.</p><ul>{items}</ul>")
    parts.append(folded("How each number was made", METHOD))
    if runs:
        parts.append("<h3>Records</h3>" + "\n".join(map(run_html, runs.values())))
    return "\n".join(parts)


def _item(text: str) -> str:
    return f"<li>{escape(text)}</li>"
