"""The table of claims: a published number, what was measured on the authors' episodes, and under the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import Metric
from fsseg_bench.report.cells import MeasuredCells
from fsseg_bench.report.claims.measured import Line, changed_rules, lines, other_rules, released, unlike_file
from fsseg_bench.report.claims.printed import Found, Place, claimed, claims_of
from fsseg_bench.report.collect import Collection
from fsseg_bench.report.grouping import Row
from fsseg_bench.report.intervals import episodes_words, image_remarks, spread_remark, spread_words
from fsseg_bench.report.model import MISSING, Cell, Column, Table, printable
from fsseg_bench.report.published import FoldOrMean, PublishedNumber
from fsseg_bench.report.seen import marked, marks, seen_of_row
from fsseg_bench.report.table import HOW, SIZES
from fsseg_bench.report.words import METRIC_NAMES
from fsseg_bench.seen import together

THEIRS, OWN = "authors' episodes", "this protocol"
_LABELS = ("method", "backbone", "dataset", "task", "fold")


def claims_table(
    collection: Collection,
    numbers: Sequence[PublishedNumber],
    metric: Metric = "mean",
    resolution: Resolution | None = None,
) -> Table:
    """A row for each released network, number of shots and fold, and for the mean of all folds; percent.

    A difference is measured minus published, its interval that of the measured number. Where the two cannot be
    compared there is none, and a note says why.

    Args:
        collection: the runs; those that evaluated no released file are passed over.
        numbers: the published ones.
        metric: of published and measured numbers.
        resolution: where pixels are counted; None takes each protocol's headline.
    """
    found = lines(collection)
    runs = [run for line in found for run in line.runs]
    sizes = {SIZES[resolution or run.record.settings.headline] for run in runs}
    columns = [
        *(Column(("", name), merge=True) for name in _LABELS),
        Column(("", "claimed"), {"number": "claimed"}),
        *(
            Column((on, number), {"measured on": on, "number": number})
            for on in (THEIRS, OWN)
            for number in ("measured", "difference")
        ),
    ]
    every = [(line, row) for line in found for row in _rows(line, collection, numbers, metric, resolution)]
    made = Table(
        name=f"claims-{metric}",
        title=f"Released checkpoints: {METRIC_NAMES[metric]}, claimed and measured",
        caption=f"Percent; measured {spread_words(collection)}; {episodes_words(runs, collection)}.",
        columns=tuple(columns),
        labels=len(_LABELS),
        rows=tuple(row for _, row in every),
        facts={"metric": metric},
        remarks=(
            "Nothing here was trained here. Which fold and data set a file is of, no file says: who evaluated it did. "
            "Where the authors' training lists differ from the protocol's, it may have seen test images or classes.",
            *image_remarks(runs, collection),
            "A difference is measured minus claimed, and as uncertain as the measured number; the claim is taken as it "
            "is printed, from the authors' own episodes, lists and image sizes.",
            f"'{THEIRS}': runs with --episodes FILE, whose list the footnote names. '{OWN}': its own episodes.",
            f"{HOW[metric]}. Pixels are counted at {' or at '.join(sorted(sizes))}. A mean is over all folds.",
            spread_remark(collection),
        ),
        published=True,
    )
    seen = [marks(together(seen_of_row(row) for row in line.rows)) for line, _ in every]
    return marked(made, seen, _LABELS.index("method"), [None] * len(every))


def _rows(
    line: Line,
    collection: Collection,
    numbers: Sequence[PublishedNumber],
    metric: Metric,
    resolution: Resolution | None,
) -> list[tuple[Cell, ...]]:
    kind, record = line.kind, line.runs[0].record
    cells = MeasuredCells(collection, resolution or record.settings.headline, record.folds)
    cells.prepare(line.rows, [metric], [metric])
    claims = claims_of(released(line.runs[0]) or {}, record.folder)
    made = []
    for shot in sorted({shot for row in line.rows for shot in row.runs}):
        folds = sorted({fold for row in line.rows for fold in row.runs.get(shot, {})})
        places: list[FoldOrMean] = [*folds, "mean"]
        for fold in places if len(record.folds) > 1 else places[:-1]:
            place = Place(kind.protocol, kind.way, shot, fold, metric)
            printed = claimed(claims, kind.method, kind.backbone, place, numbers)
            labels = _labels(line, shot, fold)
            made.append(
                (
                    *labels,
                    _claim(printed),
                    *_measured(line.theirs, place, printed, cells),
                    *_measured(line.own, place, printed, cells),
                )
            )
    return made


def _labels(line: Line, shot: int, fold: FoldOrMean) -> list[Cell]:
    kind = line.kind
    said = [f"{where}: {row.variant}" for where, row in ((THEIRS, line.theirs), (OWN, line.own)) if row]
    texts = (kind.method, kind.backbone, kind.protocol, f"{kind.way}-way {shot}-shot")
    cells = [Cell(printable(text)) for text in (*texts, "mean" if fold == "mean" else f"fold {fold}")]
    return [replace(cells[0], note=printable("; ".join([kind.what, *said]))), *cells[1:]]


def _claim(found: Found) -> Cell:
    if found.number is None:
        return Cell(MISSING, note=printable(found.words))
    source = f"{found.number.source} ({found.number.source_kind})"
    return Cell(found.number.text, found.number.value, note=printable(found.words), source=source)


def _measured(row: Row | None, place: Place, printed: Found, cells: MeasuredCells) -> tuple[Cell, Cell]:
    """The measured number and its difference to the claim."""
    if row is None:
        return Cell(MISSING), Cell(MISSING)
    found = cells.at(row.runs.get(place.shot, {}), place.fold, place.metric)
    changes = changed_rules(row)
    if changes and found.value is not None:
        found = replace(found, note="; ".join(filter(None, (f"under {place.protocol}[{changes}]", found.note))))
    return found, _difference(row, printed, found)


def _difference(row: Row, printed: Found, found: Cell) -> Cell:
    if printed.number is None or found.value is None:
        return Cell(MISSING)
    replayed = bool(row.shots[0].episodes)
    if reason := "; ".join(filter(None, ("" if replayed else other_rules(row), unlike_file(row)))):
        return Cell(MISSING, note=f"not comparable: {reason}", runs=found.runs)
    claim = printed.number.value
    low, high = (None if end is None else end - claim for end in (found.low, found.high))
    value = found.value - claim
    return Cell(f"{value:+.2f}", value, low, high, runs=found.runs)
