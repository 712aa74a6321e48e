"""The runs that a page is about: their names, the rows that they form, their steps, and all that is known of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple, get_args

from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.records.info import Timings
from fsseg_bench.records.read import StoredRun
from fsseg_bench.report.collect import Collection
from fsseg_bench.report.grouping import Row
from fsseg_bench.report.html.page import escape, escape_lines, folded
from fsseg_bench.report.model import MISSING, Cell, Column, Table, printable
from fsseg_bench.report.record_facts import command_text
from fsseg_bench.report.rows import group_rows
from fsseg_bench.report.scored import ScoredRun

_RAW = (
    ("Settings", "settings"),
    ("What the method recorded, mean over episodes", "diagnostics"),
    ("Software", "provenance"),
    ("Options given", "passed"),
    ("Weights", "weights"),
    ("Timings", "timings"),
    ("Continued later, and what had changed", "resumed"),
)


@dataclass(frozen=True)
class ShownRun:
    """A finished run as the page names it."""

    scored: ScoredRun
    path: str
    """Its folder relative to the results folder."""
    variant: str
    """What tells it from other runs of its method and backbone; may be empty."""

    @property
    def anchor(self) -> str:
        """The fragment of its part of the page: different for different paths, whatever characters they have."""
        return f"run-{hashlib.sha256(self.path.encode()).hexdigest()[:12]}"

    @property
    def name(self) -> str:
        """What it is, plain text."""
        s = self.scored.record.settings
        name = f"{s.method}, {s.backbone}, {s.protocol_label} fold {s.fold}, {s.way}-way {s.shot}-shot, seed {s.seed}"
        return f"{name} ({self.variant})" if self.variant else name


class Group(NamedTuple):
    """The rows made under one set of rules."""

    title: str
    rows: Sequence[Row]

    @property
    def shots(self) -> list[int]:
        """The numbers of shots, ascending."""
        return sorted({shot for row in self.rows for shot in row.runs})


def groups(collection: Collection) -> list[Group]:
    """The finished runs' rows by protocol (label, version, digest) and number of ways."""
    labels = [(label, way) for _, label, _, _, way in collection.by_rules]
    return [
        Group(
            f"{label}, {way}-way"
            + (f", version {version}, digest {digest[:8]}" if labels.count((label, way)) > 1 else ""),
            group_rows(runs, collection),
        )
        for (_, label, version, digest, way), runs in sorted(collection.by_rules.items())
    ]


def shown_runs(found: Sequence[Group], collection: Collection) -> Mapping[str, ShownRun]:
    """Folder, as cells name it, to run; in the order of rows, shots and folds."""
    shown = {}
    for row in (row for group in found for row in group.rows):
        for _, runs in sorted(row.runs.items()):
            for _, run in sorted(runs.items()):
                path = collection.path(run.record)
                shown[path] = ShownRun(run, path, row.variant)
    return shown


def step_tables(group: Group) -> Iterator[Table]:
    """A table for each number of shots of which a method recorded lists, one value a step."""
    for shot in group.shots:
        found = [(row, name, steps) for row in group.rows for name, steps in _recorded(row, shot).items()]
        if not found:
            continue
        length = max(len(steps) for _, _, steps in found)
        heads = ("method", "backbone", "settings", "quantity")
        yield Table(
            name=f"steps-{group.title}-{shot}shot",
            title=f"{group.title} {shot}-shot: inner loop by step",
            caption=(
                "What each method recorded before the first step (0) and after each one: the mean over a run's "
                "episodes, then over the row's folds. Angles are in degrees from the start; losses are "
                "of the support."
            ),
            columns=(
                *(Column(("", head), merge=head != "quantity") for head in heads),
                *(Column(("step", str(i)), {"shot": shot, "step": i}) for i in range(length)),
            ),
            labels=len(heads),
            rows=tuple(_line(row, name, steps, length) for row, name, steps in found),
        )


def _line(row: Row, name: str, steps: list[float], length: int) -> tuple[Cell, ...]:
    labels = [Cell(printable(text)) for text in (row.method, row.backbone, row.variant, name)]
    values = [Cell(f"{value:.3f}", value) for value in steps]
    return (*labels, *values, *[Cell(MISSING)] * (length - len(steps)))


def _recorded(row: Row, shot: int) -> dict[str, list[float]]:
    """The lists that all of the row's folds have, averaged over these."""
    folds = [_lists(run) for run in row.runs.get(shot, {}).values()]
    if not folds:
        return {}
    return {
        name: [fmean(values) for values in zip(*(own[name] for own in folds), strict=True)]
        for name, first in folds[0].items()
        if all(len(own.get(name, ())) == len(first) for own in folds)
    }


def _lists(run: ScoredRun) -> dict[str, list[float]]:
    return {
        name: [float(value) for value in values]
        for name, values in run.record.info.diagnostics.items()
        if isinstance(values, list) and len(values) > 1 and all(isinstance(v, (int, float)) for v in values)
    }


def run_html(run: ShownRun) -> str:
    """A part of the page that says how the run's numbers were made."""
    info = run.scored.record.info.document
    listing = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in _facts(run) if value)
    raw = "".join(
        f'<h4>{title}</h4><pre tabindex="0">{escape_lines(json.dumps(info[key], indent=1, ensure_ascii=False))}</pre>'
        for title, key in _RAW
        if info.get(key)
    )
    body = f"<dl>{listing}</dl>{_scores(run)}{_classes(run)}{folded('the record in full', raw)}"
    return folded(escape(run.name), body, name=run.anchor)


def _facts(run: ShownRun) -> list[tuple[str, str]]:
    info, settings = run.scored.record.info, run.scored.record.settings
    software = {"fsseg-bench": info.provenance.fsseg_bench, "Python": info.provenance.python}
    return [
        ("record", run.path),
        *_commands(run.scored.record),
        ("protocol", f"{settings.protocol_label}, version {settings.protocol_version}, {settings.protocol_digest}"),
        ("episodes", f"{len(run.scored.counts.classes):,}, {settings.episode_digest}"),
        ("data", settings.data_fingerprint),
        ("training data", _words(settings.training_data, settings.training_fingerprint)),
        ("method source", settings.method_digest),
        ("weights", _words(settings.weights, settings.weights_digest)),
        ("checkpoint", _words(settings.checkpoint, settings.checkpoint_digest)),
        ("trained in", _words(info.trained.run if info.trained else None)),
        ("training loss", str(info.training or "")),
        ("identity", info.identity),
        ("software", _versions({**software, **info.provenance.packages})),
        ("code", _commit(info.provenance.git or {})),
        ("device", _words(info.device, info.provenance.platform)),
        ("time", _times(info.timings)),
    ]


def _commands(run: StoredRun) -> list[tuple[str, str]]:
    """What repeats the run, and what was typed; for a run made in Python by an earlier version its options."""
    provenance, command = run.info.provenance, command_text(run)
    if command is None:
        return [("options, from Python", ", ".join(f"{k}={v!r}" for k, v in run.info.passed.given().items()))]
    if not run.repeats:
        return [("command", command)]
    return [("to repeat it", command), ("as typed", provenance.typed or "")]


def _words(*values: str | None) -> str:
    return ", ".join(filter(None, values))


def _versions(packages: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in packages.items() if version)


def _commit(git: Mapping[str, Any]) -> str:
    changed = ", with changes that are not committed" if git.get("dirty") else ""
    return f"commit {git['commit']}{changed}" if git.get("commit") else ""


def _times(timings: Timings) -> str:
    seconds = {"training": timings.train_seconds, "evaluation": timings.evaluate_seconds}
    parts = [f"{words} {spent:,.1f} s" for words, spent in seconds.items() if spent]
    return ", ".join([*parts, *([f"finished {timings.finished}"] if timings.finished else [])])


def _scores(run: ShownRun) -> str:
    rows = []
    for metric in run.scored.metrics:
        values = [f"{100 * run.scored.score(metric, resolution):.2f}" for resolution in get_args(Resolution)]
        rows.append(f'<tr><th scope="row">{metric}-IoU</th>' + "".join(f"<td>{v}</td>" for v in values) + "</tr>")
    head = '<tr><td></td><th scope="col">input size</th><th scope="col">native size</th></tr>'
    return f"<h4>Scores of this fold, percent</h4><table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"


def _classes(run: ShownRun) -> str:
    settings = run.scored.record.settings
    resolution = settings.headline
    rows = "".join(
        f'<tr><th scope="row">{escape(settings.class_name(c))}</th><td>{100 * score:.2f}</td></tr>'
        for c, score in run.scored.class_scores(resolution).items()
    )
    title = f"<h4>IoU of each class, percent, {resolution} size</h4>"
    scroll = '<div class="scroll" tabindex="0" role="group" aria-label="IoU of each class">'
    return f"{title}{scroll}<table><tbody>{rows}</tbody></table></div>"
