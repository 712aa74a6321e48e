"""Tables of generalised runs: base and novel classes labelled at once, with both headlines under their own names."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.generalised import NAMES, Scores, intervals, scores
from fsseg_bench.protocol.spec import RESOLUTIONS, Resolution
from fsseg_bench.protocol.statistics import Interval
from fsseg_bench.records.generalised import GeneralisedRun, generalised_folders, read_generalised
from fsseg_bench.records.info import RecordError
from fsseg_bench.records.read import RecordWarning
from fsseg_bench.report.cells import number
from fsseg_bench.report.intervals import Stated
from fsseg_bench.report.model import MISSING, Cell, Column, Table, printable
from fsseg_bench.report.seen import facts, marked, marks
from fsseg_bench.report.table import SIZES
from fsseg_bench.report.words import short
from fsseg_bench.seen import Seen, read

OVERALL = {"all-classes": "mean over all classes", "mean-of-two": "mean of base and novel"}
"""Value of ``scoring.overall`` to the name of the headline."""
_ROW = (
    "method",
    "backbone",
    "switches",
    "weights",
    "weights_digest",
    "precision",
    "nondeterministic",
    "seed",
    "code_digest",
)
_SHOWN = ("switches", "weights", "precision", "nondeterministic", "seed", "code_digest")
"""What tells rows of one method and backbone apart."""


def find_generalised(root: Path) -> tuple[tuple[GeneralisedRun, ...], tuple[RecordWarning, ...]]:
    """The generalised runs below ``root``, and a warning for each record that cannot be used."""
    found, warnings = [], []
    for folder in generalised_folders(root):
        try:
            run = read_generalised(folder)
            run.confusions("input")
            found.append(run)
        except RecordError as error:
            warnings.append(RecordWarning(folder, str(error)))
    return tuple(found), tuple(warnings)


def fitting(
    runs: Sequence[GeneralisedRun], methods: Sequence[str], where: Mapping[str, str]
) -> tuple[GeneralisedRun, ...]:
    """The runs of ``methods`` (none: all) whose settings have the values; ``dataset`` is the protocol or its label."""

    def fits(run: GeneralisedRun) -> bool:
        for key, value in where.items():
            keys = ("protocol", "protocol_label") if key == "dataset" else (key,)
            if value not in {str(run.settings[k]) for k in keys if k in run.settings}:
                return False
        return not methods or run.settings["method"] in methods

    return tuple(run for run in runs if fits(run))


@cache
def run_scores(run: GeneralisedRun, resolution: Resolution) -> tuple[Scores, ...]:
    """The scores of each draw of supports, computed from the counts of the images.

    Raises:
        UserError: a class has no pixel.
    """
    apart = run.settings["background"] == "apart"
    return tuple(scores(c, run.labels, background_in_base=not apart) for c in run.confusions(resolution))


@cache
def run_intervals(run: GeneralisedRun, resolution: Resolution) -> dict[str, Interval]:
    """95 % intervals over images of the means over draws, by field of the scores."""
    apart = run.settings["background"] == "apart"
    return intervals(run.terms(resolution), run.labels, background_in_base=not apart)


def generalised_tables(runs: Sequence[GeneralisedRun], resolution: Resolution | None = None) -> list[Table]:
    """A table for each protocol (label and digest) and shot: a line a fold of each row, and one of the mean over folds.

    Pixels are counted at ``resolution`` (None: the protocol's headline).
    """
    groups: dict[tuple[str, str, int], list[GeneralisedRun]] = defaultdict(list)
    for run in runs:
        own = run.settings
        groups[own["protocol_label"], own["protocol_digest"], own["shot"]].append(run)
    return [_table(some, resolution or some[0].settings["headline"]) for _, some in sorted(groups.items())]


def _table(runs: Sequence[GeneralisedRun], resolution: Resolution) -> Table:
    about = runs[0].settings
    rows: dict[str, dict[int, GeneralisedRun]] = defaultdict(dict)
    for run in runs:
        rows[json.dumps([run.settings[key] for key in _ROW], sort_keys=True)][run.settings["fold"]] = run
    shown = _differing([next(iter(folds.values())).settings for folds in rows.values()])
    body, seen = [], []
    for folds in rows.values():
        settings = next(iter(folds.values())).settings
        labels = [settings["method"], settings["backbone"], *([_words(settings, shown)] if shown else [])]
        places: list[int | str] = [*sorted(folds), *(["mean"] if about["folds"] > 1 else [])]
        for place in places:
            numbers = _mean(folds, resolution) if place == "mean" else _fold(folds[int(place)], resolution)
            name = "mean" if place == "mean" else f"fold {place}"
            body.append((*map(Cell, map(printable, labels)), Cell(name), *numbers))
            seen.append(marks(_seen(folds.values())))
    heads = ["method", "backbone", *(["settings"] if shown else []), "fold"]
    label, digest = printable(about["protocol_label"]), about["protocol_digest"]
    made = Table(
        name=f"generalised-{label}-{digest[:8]}-{about['shot']}shot-{resolution}",
        title=f"{label}: base and novel classes labelled at once, {about['shot']}-shot",
        caption="Percent; mean over draws of supports ± half the 95 % interval over images. "
        f"Headline: {OVERALL[about['overall']]}.",
        columns=(
            *(Column((name,), merge=name not in {"settings", "fold"}) for name in heads),
            *(Column((name,), {"shot": about["shot"], "metric": name}) for name in NAMES.values()),
        ),
        labels=len(heads),
        rows=tuple(body),
        facts={
            "protocol": printable(about["protocol"]),
            "protocol_label": label,
            "protocol_version": about["protocol_version"],
            "protocol_digest": digest,
            "resolution": resolution,
        },
        remarks=(
            *_remarks(runs, resolution),
            f"Protocol {label}, version {about['protocol_version']}, digest {digest[:8]}.",
        ),
    )
    return marked(made, seen, 0, [None] * len(body))


def _remarks(runs: Sequence[GeneralisedRun], resolution: Resolution) -> list[str]:
    about = runs[0].settings
    apart = about["background"] == "apart"
    classes = f"{len(runs[0].labels.base_places)} base{' classes' if apart else ' classes and the background'}"
    return [
        f"Base: the mean of the IoU of {classes}; novel: of {len(runs[0].labels.novel)} held-out classes. Mean of base "
        "and novel: half the sum of the two. Mean over all classes: of background, base and novel classes alike.",
        f"Every image of the test lists is labelled; pixels are counted at {SIZES[resolution]}. A footnote says what "
        "other supports give.",
    ]


def _fold(run: GeneralisedRun, resolution: Resolution) -> list[Cell]:
    path = (run.folder.as_posix(),)
    try:
        draws, around = run_scores(run, resolution), run_intervals(run, resolution)
    except UserError as error:
        return [Cell(MISSING, note=str(error), runs=path) for _ in NAMES]
    cells = []
    for name in NAMES:
        values = [getattr(draw, name) for draw in draws]
        note = f"standard deviation over {len(values)} draws {100 * stdev(values):.2f}" if len(values) > 1 else ""
        cells.append(_number(fmean(values), Stated(around[name], "images", note), path, [run]))
    return cells


def _mean(folds: Mapping[int, GeneralisedRun], resolution: Resolution) -> list[Cell]:
    """The means over folds, without an interval: the folds' images are the same."""
    runs, wanted = [folds[fold] for fold in sorted(folds)], next(iter(folds.values())).settings["folds"]
    paths = tuple(run.folder.as_posix() for run in runs)
    if len(runs) < wanted:
        return [Cell(MISSING, note=f"{len(runs)} of {wanted} folds", runs=paths) for _ in NAMES]
    try:
        means = [[fmean(getattr(d, name) for d in run_scores(run, resolution)) for run in runs] for name in NAMES]
    except UserError as error:
        return [Cell(MISSING, note=str(error), runs=paths) for _ in NAMES]
    return [_number(fmean(values), Stated(None, "images"), paths, runs) for values in means]


def _number(value: float, stated: Stated, paths: tuple[str, ...], runs: Sequence[GeneralisedRun]) -> Cell:
    made = number(value, stated, paths)
    return Cell(**{**vars(made), "seen": facts(_seen(runs), "record")})


def _seen(runs: Any) -> Seen:
    return read(next(iter(runs)).facts.get("seen"))


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """What tells rows of the same method and backbone apart."""
    return [
        key
        for key in _SHOWN
        if any(
            a[key] != b[key] and (a["method"], a["backbone"]) == (b["method"], b["backbone"])
            for a in settings
            for b in settings
        )
    ]


def _words(settings: Mapping[str, Any], keys: Sequence[str]) -> str:
    return ", ".join(f"{key}={short(settings[key])}" for key in keys)


def record_words(run: GeneralisedRun) -> list[tuple[str, str]]:
    """A record in a screenful: a heading and a text each."""
    own = run.settings
    lines = [
        ("run", f"{own['method']} on {own['backbone']}, weights {own['weights']}"),
        ("task", f"{own['protocol_label']}, fold {own['fold']} of {own['folds']}, {own['shot']}-shot: base and novel "
         "classes at once"),
        ("novel classes", ", ".join(run.facts["labels"][i] for i in run.labels.novel_places)),
        ("headline", OVERALL[own["overall"]]),
    ]  # fmt: skip
    for size in RESOLUTIONS:
        for seed, draw in zip(run.seeds, run_scores(run, size), strict=True):
            text = ", ".join(f"{NAMES[key]} {100 * value:.2f} %" for key, value in draw._asdict().items())
            lines.append((f"at {size} size, supports of seed {seed}", text))
    lines += [
        ("images", f"{len(run.terms('input')[0]):,} labelled"),
        ("what was seen", "; ".join(f"{k.replace('_', ' ')}: {v}" for k, v in run.facts.get("seen", {}).items())),
        ("remarks", "; ".join(run.facts.get("remarks", []))),
        ("device", str(run.facts.get("device") or "")),
        ("identity", run.facts["identity"]),
    ]
    return [(head, text) for head, text in lines if text]
