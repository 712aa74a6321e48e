"""What a paper's table says in words: its caption, and what a reader must know of its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Literal, get_args

from fsseg_bench.protocol.spec import Protocol, Resolution
from fsseg_bench.records.read import StoredRun
from fsseg_bench.report.blocks import Block, Pair
from fsseg_bench.report.collect import Collection
from fsseg_bench.report.doubts import table_doubts
from fsseg_bench.report.grouping import Row
from fsseg_bench.report.intervals import image_remarks, side_remarks, spread_remark, spread_words
from fsseg_bench.report.model import printable
from fsseg_bench.report.papers import PaperTable
from fsseg_bench.report.table import HOW, SIZES, training_remarks
from fsseg_bench.report.words import PrintedMetric, given_list

Number = Literal["published", "measured", "difference"]
"""What a column shows."""
NUMBERS: tuple[Number, ...] = get_args(Number)
_HOW: Mapping[PrintedMetric, str] = {
    "mean": HOW["mean"],
    "binary": HOW["binary"],
    "base": "Base: IoU of each base class over the pixels of all test images, averaged over classes",
    "novel": "Novel: IoU of each held-out class over the pixels of all test images, averaged over classes",
    "mean of base and novel": "Mean of base and novel: half the sum of the two means, of however many classes each",
    "mean over all classes": "Mean over all classes: of the IoU of background, base and novel classes alike",
}
NO_RUN = "missing"
"""The text of a measured number that was published but not measured."""


def paper_caption(collection: Collection, numbers: Sequence[Number]) -> str:
    """What the ``numbers`` are that the table has."""
    return f"Percent; measured here {spread_words(collection)}." if "measured" in numbers else "Percent."


def reading_remarks(
    table: PaperTable,
    protocols: Sequence[Protocol],
    collection: Collection,
    resolution: Resolution | None,
    numbers: Sequence[Number],
) -> list[str]:
    """How to read the numbers, beside what the caption says."""
    remarks = [f"Published: {printable(table.published)}."] if "published" in numbers else []
    if "measured" in numbers and protocols:
        sizes = {SIZES[resolution or protocol.scoring.headline] for protocol in protocols}
        rules = "; ".join(f"{p.name} version {p.version}, digest {p.digest[:8]}" for p in protocols)
        some = f", first {collection.episodes:,} episodes of each fold" if collection.episodes is not None else ""
        remarks += [
            f"Measured: runs made here under exactly these rules: {rules}; counted at {' or '.join(sizes)}{some}. "
            f"A mean needs all folds; {NO_RUN}: no finished run.",
            spread_remark(collection),
        ]
    if "difference" in numbers:
        remarks.append("Difference: measured minus published; how sure the published number is, is not known.")
    return [*remarks, f"{_HOW[table.metric]}."]


def table_remarks(table: PaperTable, found: Sequence[Block]) -> list[str]:
    """Errata and doubts of the whole table, and what cannot stand in it."""
    remarks = [e.text for e in table.paper.errata if e.whole_table and e.table in {None, table.name}]
    remarks += map(printable, table_doubts(table))
    without = [block.protocol for block in found if block.protocol.rules is None]
    if names := [protocol.name for protocol in without if not protocol.why]:
        remarks.append(f"No protocol file of {', '.join(names)} is here, so that nothing can be measured under it.")
    remarks += [f"Nothing measured under {p.name}: {printable(p.why)}." for p in without if p.why]
    return remarks + [_elsewhere(block) for block in found if block.elsewhere]


def trainings_remarks(pairs: Sequence[Pair]) -> list[str]:
    """What to say of measured rows that were not trained alike, protocol by protocol."""
    rows: dict[str, list[Row]] = {}
    for pair in pairs:
        if pair.measured:
            rows.setdefault(pair.protocol.name, []).append(pair.measured)
    made = {name: training_remarks(measured) for name, measured in rows.items()}
    return [f"{name}: {line}" if len(made) > 1 else line for name, lines in made.items() for line in lines]


def images_remarks(table: PaperTable, pairs: Sequence[Pair], collection: Collection) -> tuple[str, ...]:
    """What to say of the images of the measured rows."""
    shown = {
        run.record.folder: run
        for pair in pairs
        if pair.measured
        for shot, runs in pair.measured.runs.items()
        if shot in table.shots
        for run in runs.values()
    }
    runs = list(shown.values())
    return (*side_remarks(runs), *image_remarks(runs, collection))


def _elsewhere(block: Block) -> str:
    """What to say of runs that do not follow the table's protocol."""
    listing = "; ".join(sorted({_rules(run.record) for run in block.elsewhere}))
    return (
        f"Not here: {len(block.elsewhere)} finished runs of {block.protocol.name} under other rules "
        f"({printable(listing)}). "
        "They are in the tables of runs."
    )


def _rules(run: StoredRun) -> str:
    settings = run.settings
    words = f"{settings.protocol_label} version {settings.protocol_version}, digest {settings.protocol_digest[:8]}"
    given = given_list(run)
    return f"{words}, episodes {PurePath(given).name}" if given else words
