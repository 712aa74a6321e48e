"""What a method does with its support: the numbers behind the sentences, and the table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.components import Components, Part, components
from fsseg_bench.protocol.controls import MASKS
from fsseg_bench.protocol.image_variance import Estimate, estimates, image_effects
from fsseg_bench.protocol.images import EpisodeImages
from fsseg_bench.protocol.paired import ALIKE, Difference, Replicas, overall_differences, overall_scores
from fsseg_bench.protocol.statistics import FoldCounts, Influence, Interval, averaged
from fsseg_bench.records.controls import ControlCounts, StoredControls, find_controls
from fsseg_bench.records.read import RecordError
from fsseg_bench.records.settings import ShownSettings
from fsseg_bench.report.collect import Collection
from fsseg_bench.report.contender import Contender, match
from fsseg_bench.report.grouping import Row
from fsseg_bench.report.model import MISSING, Cell, Column, Table, printable
from fsseg_bench.report.rows import group_rows
from fsseg_bench.report.scored import ScoredRun, score_runs
from fsseg_bench.storage.json_text import plain

HOW = "fsseg-bench controls"
_PARTS = ("query", "support", "interaction")
_ALIKE = "no interval: every episode counts alike with a support of another class"
_MOST_UNCERTAIN = 25.0
"""Points: shares of the variance with wider intervals than twice that are not said in words."""


@dataclass(frozen=True)
class Number:
    """A number in percent (points for a difference), with its 95 % interval where there is one."""

    value: float
    low: float | None = None
    high: float | None = None
    half: float | None = None
    """Half the width of the interval before its ends were cut off at the ends of the scale."""
    note: str = ""
    """Why there is no interval."""


@dataclass(frozen=True)
class Reading:
    """What the controls of one contender say; None where it was not, or could not be, measured."""

    label: str
    own: Number
    """Mean-IoU with the episodes' own supports."""
    controls: Mapping[str, Number]
    """Mean-IoU with supports of a wrong class, and with other masks, by control."""
    use: Number
    """Mean-IoU with its own supports less that with supports of a wrong class."""
    alarm: Number | None
    """The share of non-void pixels that are predicted foreground where there is none."""
    queries_without: int
    """Of how many of the episodes' queries that is."""
    components: Components | None
    """Of the IoU of an episode."""
    drawn: tuple[int, int]
    """The least and the most draws that a run has."""
    refused: Mapping[str, str]
    """Controls that the method cannot do, with the reason."""
    episodes: int
    """Of all folds."""

    def number(self, key: str) -> Number | None:
        """A number of the table, by its name in ``controls --format json``: ``own``, ``wrong``, ``query`` ..."""
        if key in {"own", "use", "alarm"}:
            number: Number | None = getattr(self, key)
            return number
        if key in self.controls:
            return self.controls[key]
        part: Part | None = getattr(self.components, key, None)
        return None if part is None else _percent(part.share, part.interval)

    @property
    def sentence(self) -> str:
        """The reading in words."""
        said = [self._use]
        if self.alarm is not None:
            said.append(f"predicts {_plus_minus(self.alarm)} % foreground where there is none")
        if self.components is not None:
            said.append(self._variance(self.components))
        return f"{self.label}: {'; '.join(said)}."

    @property
    def _use(self) -> str:
        use = self.use
        scores = f"mean-IoU {self.own.value:.1f}, with a support of another class {self.controls['wrong'].value:.1f}"
        if use.note == _ALIKE:
            return f"does not use its support: every episode counts alike with a support of another class ({scores})"
        if use.low is None or use.high is None:
            return f"uses its support by {use.value:.1f} points, {use.note} ({scores})"
        if use.low <= 0 <= use.high:
            return f"whether it uses its support cannot be told: by {_plus_minus(use)} points ({scores})"
        return f"uses its support by {_plus_minus(use)} points ({scores})"

    def _variance(self, found: Components) -> str:
        shares = [_percent(part.share, part.interval) for part in (found.query, found.support, found.interaction)]
        widest = max(share.half or 0.0 for share in shares)
        if widest > _MOST_UNCERTAIN:
            return (
                "how much of the variance between episodes of a class is the query's and the support's cannot be told "
                f"from so few (± {widest:.0f} points)"
            )
        query, support, both = (f"{share.value:.0f} ± {share.half:.0f} %" for share in shares)
        return (
            f"of the variance between episodes of a class, {query} is the query's, {support} the support's, {both} of "
            "the two together"
        )


def _plus_minus(number: Number) -> str:
    return f"{number.value:.1f}" + ("" if number.half is None else f" ± {number.half:.1f}")


def readings(contenders: Sequence[Contender]) -> tuple[tuple[str, ...], list[Reading]]:
    """What is left out, and a reading for each contender, on the folds and training seeds that they have in common.

    Raises:
        UserError: as :func:`fsseg_bench.report.contender.match`; a run whose controls were not measured; a damaged
            record.
    """
    matched = match(contenders)
    found = []
    for contender, seeds in zip(contenders, matched.seeds, strict=True):
        folds = [[contender.runs[fold][seed] for seed in seeds] for fold in matched.folds]
        runs = iter(score_runs([run for own in folds for run in own]))
        found.append(_reading(contender.label, [[_measured(next(runs)) for _ in own] for own in folds]))
    return matched.notes, found


@dataclass(frozen=True, eq=False)
class _Measured:
    """A run with its controls."""

    run: ScoredRun
    stored: StoredControls

    @property
    def own(self) -> FoldCounts:
        return self.run.fold_counts(self.run.record.settings.headline)

    def fold(self, name: str) -> FoldCounts:
        """The counts of a control of all episodes, whose truth is that of the run."""
        own = self.own
        return FoldCounts(self.stored.by_name[name].counts, own.classes, own.novel, own.images, own.runs)


def _measured(run: ScoredRun) -> _Measured:
    stored = find_controls(run.record)
    if stored is None:
        raise UserError(f"{run.record.folder}: its controls were not measured; '{HOW} {run.record.folder}' does")
    if run.images is None:
        raise UserError(f"{run.record.folder}: the images of its episodes are not known, so there is no interval")
    return _Measured(run, stored)


def _reading(label: str, folds: Sequence[Sequence[_Measured]]) -> Reading:
    every = [one for seeds in folds for one in seeds]
    refused = {name: own.refused for one in every for name, own in one.stored.by_name.items() if own.refused}
    names = [name for name in ("wrong", *MASKS) if name not in refused]
    if "wrong" not in names:
        raise UserError(f"{label}: nothing could be predicted with supports of another class: {refused['wrong']}")
    sides: list[list[Replicas]] = [[[one.own for one in seeds] for seeds in folds]]
    sides += [[[one.fold(name) for one in seeds] for seeds in folds] for name in names]
    scores = [_number(found) for found in overall_scores(sides, "mean")]
    (difference,) = overall_differences(sides, [(1, 0)], "mean")
    use = _percent(difference.value, _interval(difference), difference.unknown)
    use = replace(use, note=_ALIKE) if difference.unknown == ALIKE else use
    alarm, without = _alarm(folds)
    draws = [one.stored.draws for one in every]
    episodes = sum(len(seeds[0].run.counts.classes) for seeds in folds)
    about = alarm, without, _components(folds), (min(draws), max(draws)), refused, episodes
    return Reading(label, scores[0], dict(zip(names, scores[1:], strict=True)), use, *about)


def _number(found: Estimate) -> Number:
    return _percent(found.value, found.interval(), found.unknown)


def _interval(found: Difference) -> Interval | None:
    if found.low is None or found.high is None:
        return None
    return Interval(found.low, found.high, max(found.value - found.low, found.high - found.value))


def _percent(value: float, interval: Interval | None, unknown: str = "") -> Number:
    if interval is None:
        return Number(100 * value, note=f"no interval: {unknown}")
    return Number(100 * value, 100 * interval.low, 100 * interval.high, 100 * interval.half)


def _alarm(folds: Sequence[Sequence[_Measured]]) -> tuple[Number | None, int]:
    """The share of pixels predicted foreground where there is none, the mean over the folds that have such queries."""
    effects, count = [], 0
    for seeds in folds:
        controls = [one.stored.by_name.get("absent") for one in seeds]
        known = [(one, own) for one, own in zip(seeds, controls, strict=True) if own is not None and not own.refused]
        if not known:
            continue
        influence = averaged([_alarms(own.counts) for one, own in known])
        images = _images(known[0][1])
        effects.append((images, image_effects(images, influence)))
        count += len(known[0][1].episodes)
    return (_number(estimates(effects)[0]), count) if effects else (None, 0)


def _alarms(counts: np.ndarray) -> Influence:
    """Of counts (E, 2, 2) without foreground: the share that is predicted to be."""
    pixels = counts.sum(axis=(1, 2)).astype(np.float64)
    predicted = counts[:, :, 1].sum(axis=1)
    value = predicted.sum() / pixels.sum()
    change = (predicted - value * pixels) / pixels.sum()
    return Influence(np.array([value]), change[:, None], pixels[:, None] / pixels.sum())


def _images(control: ControlCounts) -> EpisodeImages:
    """The images of a control's episodes, by the class of their supports."""
    names = tuple(dict.fromkeys((*control.queries, *(image for own in control.supports for image in own))))
    number = {name: i for i, name in enumerate(names)}
    supports = [[[number[image] for image in own]] for own in control.supports]
    queries = [number[query] for query in control.queries]
    return EpisodeImages(names, control.classes[:, None], np.array(queries, np.int64), np.array(supports, np.int64))


def _components(folds: Sequence[Sequence[_Measured]]) -> Components | None:
    """Of the IoU of episodes with drawn supports, the mean over the training seeds; folds side by side."""
    scores: dict[tuple[object, ...], list[float]] = {}
    for number, seeds in enumerate(folds):
        for one in seeds:
            for control in one.stored.drawn:
                cells = control.counts.astype(np.float64)
                union = cells[:, 0, 1] + cells[:, 1, 0] + cells[:, 1, 1]
                for c, query, supports, hit, whole in zip(
                    control.classes.tolist(), control.queries, control.supports, cells[:, 1, 1], union, strict=True
                ):
                    if whole > 0:  # an object so small that it vanished, and nothing was predicted
                        scores.setdefault(((number, c), query, supports), []).append(float(hit / whole))
    if not scores:
        return None
    return components([float(np.mean(own)) for own in scores.values()], *zip(*scores, strict=True))


_HEADS = {
    "own": "own support",
    "wrong": "wrong class",
    "use": "uses its support by",
    "alarm": "foreground where there is none",
    "empty": "mask empty",
    "whole": "mask whole",
    "shifted": "mask shifted",
    "query": "variance: query",
    "support": "variance: support",
    "interaction": "variance: both together",
}


def controls_table(contenders: Sequence[Contender], notes: Sequence[str], found: Sequence[Reading]) -> Table:
    """A row for each contender; percent."""
    return _table(contenders[0].settings, found, notes, "controls")


def tables_of_controls(collection: Collection) -> list[Table]:
    """A table for each protocol and setting of which a run has controls, a row for each row of the table of runs.

    A row with a damaged file of controls is left out, and the table says so, even where it has no row left.
    """
    made = []
    for number, runs in enumerate(runs for _, runs in sorted(collection.by_rules.items())):
        rows = group_rows(runs, collection)
        for shot in sorted({shot for row in rows for shot in row.runs}):
            own = [(row, [row.runs[shot][fold] for fold in sorted(row.runs[shot])]) for row in rows if shot in row.runs]
            damaged: list[str] = []
            known = [(row, of_row) for row, of_row in own if all(_has_controls(run, damaged) for run in of_row)]
            found, told = _readable([(_label(row), [[_measured(run)] for run in of_row]) for row, of_row in known])
            lacking = len(own) - len(known)
            notes = [f"{lacking} of {len(own)} rows are not measured in all folds: '{HOW}' does."] if lacking else []
            notes += map(printable, [*damaged, *told])
            if found or damaged or told:
                settings = own[0][1][0].record.settings
                made.append(_table(settings, found, notes, f"controls-{number + 1}-{settings.way}-way-{shot}-shot"))
    return made


def _readable(measured: Sequence[tuple[str, Sequence[Sequence[_Measured]]]]) -> tuple[list[Reading], list[str]]:
    """The readings, and why some rows have none."""
    found, told = [], []
    for label, folds in measured:
        try:
            found.append(_reading(label, folds))
        except UserError as error:
            told.append(f"Left out: {error}.")
    return found, told


def _label(row: Row) -> str:
    return " ".join(filter(None, (row.method, row.backbone, row.variant)))


def _has_controls(run: ScoredRun, damaged: list[str]) -> bool:
    try:
        return run.images is not None and find_controls(run.record) is not None
    except RecordError as error:
        damaged.append(f"{error}.")
        return False


def _table(settings: ShownSettings, found: Sequence[Reading], notes: Sequence[str], name: str) -> Table:
    rows = tuple((Cell(printable(one.label)), *(_cell(one.number(key), one, key) for key in _HEADS)) for one in found)
    columns = (Column(("method",)), *(Column((head,), {"control": key}) for key, head in _HEADS.items()))
    return Table(
        name=name,
        title=f"What the support is worth: {printable(settings.protocol_label)}, {settings.way}-way "
        f"{settings.shot}-shot",
        caption="Mean-IoU in percent with each kind of support, ± half the 95 % interval over images and episodes; "
        "the share of pixels predicted foreground where there is none; shares of the variance of an episode's IoU "
        "within a class, in percent.",
        columns=columns,
        labels=1,
        rows=rows,
        remarks=(*(printable(one.sentence) for one in found), *notes, *_remarks(found)),
    )


def _remarks(found: Sequence[Reading]) -> list[str]:
    if not found:
        return []
    lacking = [one for one in found if one.queries_without < one.episodes]
    counts = [count for one in found for count in one.drawn]
    draws = " to ".join(map(str, dict.fromkeys((min(counts), max(counts)))))
    said = [
        "The mask shifted is rolled down and to the right by half of the input's side.",
        f"Variance: of the IoU of single episodes, with {draws} further draws of supports for each query. "
        "Shares are unbiased, so that one near 0 may come out below it.",
    ]
    if lacking:
        left = "; ".join(f"{one.label} {one.queries_without:,} of {one.episodes:,}" for one in lacking)
        said.append(printable(f"A query that shows all classes of its fold has no absent one. Episodes left: {left}."))
    return said


def _cell(number: Number | None, one: Reading, key: str) -> Cell:
    if number is None:
        return Cell(MISSING, note=printable(one.refused.get(key, "")))
    if key in _PARTS and (number.half or 0.0) > 100:
        return Cell(MISSING, note=f"cannot be told from so few episodes (± {number.half:.0f} points)")
    return Cell(_plus_minus(number), number.value, number.low, number.high, note=number.note)


def controls_json(contenders: Sequence[Contender], notes: Sequence[str], found: Sequence[Reading]) -> str:
    """All numbers, unrounded; ends with a newline."""
    settings = contenders[0].settings
    document: dict[str, Any] = {
        "schema": 1,
        "unit": "percent",
        "protocol": {key: getattr(settings, f"protocol_{key}") for key in ("label", "version", "digest")},
        "shot": settings.shot,
        "notes": list(notes),
        "methods": [
            {
                "method": one.label,
                **{key: None if (number := one.number(key)) is None else vars(number) for key in _HEADS},
                "episodes": one.episodes,
                "queries_without": one.queries_without,
                "draws": list(one.drawn),
                "refused": dict(one.refused),
                "sentence": one.sentence,
            }
            for one in found
        ],
    }
    return json.dumps(plain(document), indent=1, ensure_ascii=False) + "\n"
