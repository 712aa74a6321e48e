"""Everything that is known about one run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any, get_args

from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import Metric
from fsseg_bench.records.info import RunInfo, Timings
from fsseg_bench.report.html.page import escape, escape_lines, folded
from fsseg_bench.report.html.runs import ShownRun

_RAW = (
    ("Settings", "settings"),
    ("What the method recorded, mean over episodes", "diagnostics"),
    ("Software", "provenance"),
    ("Options given", "passed"),
    ("Weights", "weights"),
    ("Timings", "timings"),
    ("Continued later, and what had changed", "resumed"),
)


def run_html(run: ShownRun) -> str:
    """A part of the page that says how the run's numbers were made."""
    info = run.scored.record.info.document
    listing = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in _facts(run) if value)
    raw = "".join(
        f"<h4>{title}</h4><pre>{escape_lines(json.dumps(info[key], indent=1, ensure_ascii=False))}</pre>"
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
        _command(info),
        ("protocol", f"{settings.protocol_label}, version {settings.protocol_version}, {settings.protocol_digest}"),
        ("episodes", f"{len(run.scored.counts.classes):,}, {settings.episode_digest}"),
        ("data", settings.data_fingerprint),
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


def _command(info: RunInfo) -> tuple[str, str]:
    """The command as typed; for a run made in Python, the options it was given."""
    command = info.provenance.command
    if command:
        return "command", command if isinstance(command, str) else shlex.join(command)
    return "options, from Python", ", ".join(f"{key}={value!r}" for key, value in info.passed.given().items())


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
    for metric in get_args(Metric):
        values = [f"{100 * run.scored.score(metric, resolution):.2f}" for resolution in get_args(Resolution)]
        rows.append(f'<tr><th scope="row">{metric}-IoU</th>' + "".join(f"<td>{v}</td>" for v in values) + "</tr>")
    head = '<tr><th></th><th scope="col">input size</th><th scope="col">native size</th></tr>'
    return f"<h4>Scores of this fold, percent</h4><table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"


def _classes(run: ShownRun) -> str:
    settings = run.scored.record.settings
    resolution = settings.headline
    rows = "".join(
        f'<tr><th scope="row">{escape(settings.class_name(c))}</th><td>{100 * score:.2f}</td></tr>'
        for c, score in run.scored.class_scores(resolution).items()
    )
    title = f"<h4>IoU of each class, percent, {resolution} size</h4>"
    return f'{title}<div class="scroll"><table><tbody>{rows}</tbody></table></div>'
