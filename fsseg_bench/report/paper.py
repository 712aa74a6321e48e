"""The tables of papers: each published number beside the measured one, and their difference."""

from __future__ import annotations

from collections.abc import Sequence

from fsseg_bench.protocol.spec import Protocol, Resolution
from fsseg_bench.report.blocks import (
    Measured,
    Pair,
    PublishedRow,
    blocks,
    printed_scales,
    several_scales,
)
from fsseg_bench.report.cells import MeasuredCells, ranked
from fsseg_bench.report.collect import Collection
from fsseg_bench.report.model import MISSING, Cell, Column, Fact, Table, printable
from fsseg_bench.report.paper_words import (
    NO_RUN,
    NUMBERS,
    Number,
    images_remarks,
    paper_caption,
    reading_remarks,
    table_remarks,
    trainings_remarks,
)
from fsseg_bench.report.papers import PaperTable, Place
from fsseg_bench.report.seen import facts, marked, marks_of_pair, printed_seen
from fsseg_bench.report.words import plain


def paper_table(
    table: PaperTable,
    collection: Collection,
    measured: Measured,
    *,
    resolution: Resolution | None = None,
    numbers: Sequence[Number] = NUMBERS,
) -> Table:
    """One of the paper's tables.

    Runs enter beside published numbers only if they were made under exactly the table's protocol; a mean only where all
    folds of the protocol exist. A row of other precision, data or settings is a row of its own and says so.

    Args:
        table: which one.
        collection: the runs; it may be empty.
        measured: its rows, shared between tables.
        resolution: where pixels are counted; None takes each protocol's headline.
        numbers: which columns each fold gets.
    """
    made, pairs = [], []
    found = blocks(table, measured)
    protocols = [block.protocol.rules for block in found if block.protocol.rules and table.scored]
    if not protocols and "published" in numbers:
        numbers = ["published"]
    for block in found:
        rules, folds = block.protocol.rules, table.paper.folds[block.protocol.name]
        cells = MeasuredCells(collection, resolution or (rules.scoring.headline if rules else "input"), folds)
        rows = [pair.measured for pair in block.pairs if pair.measured]
        metrics = [table.scored] if table.scored else []
        cells.prepare(rows, metrics if table.folds else [], metrics)
        for pair in block.pairs:
            pairs.append(pair)
            made.append(tuple(c for place in table.places for c in _place(table, pair, place, cells, numbers)))
    heads, labels = _labels(table, pairs)
    columns = (*(Column(("", "", name), merge=name != "settings") for name in heads), *_columns(table, numbers))
    body = [(*label, *row) for label, row in zip(labels, made, strict=True)]
    for kind in NUMBERS[:2]:
        where = [i for i, column in enumerate(columns) if column.facts.get("number") == kind]
        body = list(ranked(body, where, [_rank_group(table, pair, kind) for pair in pairs]))
    said = numbers if any(pair.measured for pair in pairs) or "published" not in numbers else NUMBERS[:1]
    shown = Table(
        name=table.label,
        title=table.title,
        caption=paper_caption(collection, said),
        columns=columns,
        labels=len(heads),
        rows=tuple(body),
        facts=_facts(table, protocols, resolution),
        remarks=(
            *table_remarks(table, found),
            *trainings_remarks(pairs),
            *images_remarks(table, pairs, collection),
            *reading_remarks(table, protocols, collection, resolution, said),
        ),
        published=True,
    )
    groups = [None if table.paper.said.collected else (pair.protocol.name, plain(pair.backbone)) for pair in pairs]
    return marked(shown, list(map(marks_of_pair, pairs)), heads.index("method"), groups)


def _columns(table: PaperTable, numbers: Sequence[Number]) -> list[Column]:
    columns = []
    for shot, fold in table.places:
        facts = {"shot": shot, "fold": fold, "metric": table.metric}
        name = "mean" if fold == "mean" else f"fold {fold}"
        columns += [Column((f"{shot}-shot", name, number), {**facts, "number": number}) for number in numbers]
    return columns


def _labels(table: PaperTable, pairs: Sequence[Pair]) -> tuple[list[str], list[list[Cell]]]:
    """The headings of the label columns, and each row's label cells."""
    made: dict[str, list[Cell]] = {}
    if len(table.protocols) > 1:
        made["protocol"] = [Cell(pair.protocol.name) for pair in pairs]
    made["backbone"] = [Cell(_backbone(pair, pairs)) for pair in pairs]
    made["method"] = [_method(pair, pairs) for pair in pairs]
    if table.by_scales:
        made["scales"] = [Cell(_scales(pair)) for pair in pairs]
    if table.paper.said.collected:
        made["source"] = [Cell(pair.printed.first.source_kind if pair.printed else "") for pair in pairs]
    if any(pair.measured and pair.measured.variant for pair in pairs):
        made["settings"] = [Cell(printable(pair.measured.variant) if pair.measured else "") for pair in pairs]
    return list(made), [list(cells) for cells in zip(*made.values(), strict=True)]


def _backbone(pair: Pair, pairs: Sequence[Pair]) -> str:
    """One spelling for one backbone: the printed one where there is one."""
    printed = (p.backbone for p in pairs if p.printed and plain(p.backbone) == plain(pair.backbone))
    return next(printed, pair.backbone)


def _method(pair: Pair, pairs: Sequence[Pair]) -> Cell:
    """The printed name, with what holds for the whole row; else that of another backbone, or the runs' own."""
    if pair.printed:
        return Cell(pair.printed.first.method, note=pair.printed.note)
    name = pair.measured.method if pair.measured else ""
    printed = (p.printed.first.method for p in pairs if p.printed and plain(p.printed.first.name) == plain(name))
    return Cell(next(printed, printable(name)))


def _scales(pair: Pair) -> str:
    several = printed_scales(pair.printed) if pair.printed else None
    if pair.measured:
        several = several_scales(pair.protocol, pair.measured.settings)
    return {True: "several", False: "one", None: "other"}[several]


def _place(table: PaperTable, pair: Pair, place: Place, cells: MeasuredCells, numbers: Sequence[Number]) -> list[Cell]:
    printed = _published(pair.printed, place, table) if pair.printed else Cell(MISSING)
    missing = MISSING if printed.value is None or table.paper.said.collected else NO_RUN
    shot, fold = place
    runs = pair.measured.runs.get(shot, {}) if pair.measured else {}
    found = cells.at(runs, fold, table.scored, missing) if table.scored else Cell(missing)
    made = {"published": printed, "measured": found, "difference": _difference(pair, printed, found)}
    return [made[number] for number in numbers]


def _published(row: PublishedRow, place: Place, table: PaperTable) -> Cell:
    number = row.numbers.get(place)
    if number is None:
        return Cell(MISSING)
    source = f"{number.source} ({number.source_kind})"
    seen = facts(printed_seen(row), row.seen.source_kind if row.seen else "")
    return Cell(number.text, number.value, note=row.number_note(number, table), source=source, seen=seen)


def _difference(pair: Pair, printed: Cell, measured: Cell) -> Cell:
    if printed.value is None or measured.value is None or not pair.printed or not pair.measured:
        return Cell(MISSING)
    value = measured.value - printed.value
    note = ""
    wanted, found = printed_scales(pair.printed), several_scales(pair.protocol, pair.measured.settings)
    if wanted is not None and wanted != found:
        words = {True: "several query scales", False: "one query scale", None: "other query scales"}
        note = f"published with {words[wanted]}, measured with {words[found]}"
    return Cell(f"{value:+.2f}", value, note=note, runs=measured.runs)


def _rank_group(table: PaperTable, pair: Pair, kind: Number) -> tuple[object, ...] | None:
    """What a row is ranked within; sources of several kinds are not ranked."""
    if table.paper.said.collected:
        return None
    group = pair.protocol.name, plain(pair.backbone)
    if kind == "published":
        return group if pair.printed else None
    return (*group, pair.measured.rules) if pair.measured else None


def _facts(table: PaperTable, protocols: Sequence[Protocol], resolution: Resolution | None) -> dict[str, Fact]:
    facts: dict[str, Fact] = {}
    if not table.paper.said.collected:
        facts["number"] = int(table.name) if table.name.isdecimal() else table.name
    if len(table.rules) == 1:
        facts["protocol"] = table.rules[0].name
        for rules in protocols:
            facts |= {"protocol_version": rules.version, "protocol_digest": rules.digest}
    facts["way"] = 1
    if protocols:
        facts["resolution"] = resolution or protocols[0].scoring.headline
    return facts
