"""Everything that is known about one run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any, get_args

from fsseg_bench.protocol.statistics import Metric
from fsseg_bench.records.training import training_words
from fsseg_bench.report.collect import Resolution
from fsseg_bench.report.html.runs import ShownRun
from fsseg_bench.report.html.text import escape, escape_lines, folded

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
    info = run.scored.record.info
    listing = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in _facts(run) if value)
    raw = "".join(f"<h4>{title}</h4><pre>{_json(info[key])}</pre>" for title, key in _RAW if info.get(key))
    body = f"<dl>{listing}</dl>{_scores(run)}{_classes(run)}{folded('the record in full', raw)}"
    return folded(escape(run.name), body, name=run.anchor)


def _facts(run: ShownRun) -> list[tuple[str, str]]:
    info, settings = run.scored.record.info, run.scored.record.settings
    provenance = _mapping(info.get("provenance"))
    software = {"fsseg-bench": provenance.get("fsseg_bench"), "Python": provenance.get("python")}
    return [
        ("record", run.path),
        *_command(provenance, _mapping(info.get("passed"))),
        (
            "protocol",
            f"{settings['protocol_label']}, version {settings['protocol_version']}, {settings['protocol_digest']}",
        ),
        ("episodes", f"{len(run.scored.counts.classes):,}, {settings['episode_digest']}"),
        ("data", _text(settings.get("data_fingerprint"))),
        ("method source", _text(settings.get("method_digest"))),
        ("weights", _words(settings.get("weights"), settings.get("weights_digest"))),
        ("checkpoint", _words(settings.get("checkpoint"), settings.get("checkpoint_digest"))),
        ("trained in", _text(_mapping(info.get("trained")).get("run"))),
        ("training loss", training_words(info) or ""),
        ("identity", _text(info.get("identity"))),
        ("software", _versions({**software, **_mapping(provenance.get("packages"))})),
        ("code", _commit(_mapping(provenance.get("git")))),
        ("device", _words(info.get("device"), provenance.get("platform"))),
        ("time", _times(_mapping(info.get("timings")))),
    ]


def _command(provenance: Mapping[str, Any], passed: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The command as typed; for a run made in Python, the options it was given."""
    command = provenance.get("command")
    if command:
        return [("command", shlex.join(map(str, command)) if isinstance(command, list) else _text(command))]
    return [("options, from Python", ", ".join(f"{key}={value!r}" for key, value in passed.items()))]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _words(*values: object) -> str:
    return ", ".join(filter(None, map(_text, values)))


def _versions(packages: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in packages.items() if version)


def _commit(git: Mapping[str, Any]) -> str:
    changed = ", with changes that are not committed" if git.get("dirty") else ""
    return f"commit {git['commit']}{changed}" if git.get("commit") else ""


def _times(timings: Mapping[str, Any]) -> str:
    parts = []
    for key, words in (("train_seconds", "training"), ("evaluate_seconds", "evaluation")):
        if isinstance(timings.get(key), (int, float)):
            parts.append(f"{words} {timings[key]:,.1f} s")
    return ", ".join([*parts, *([f"finished {timings['finished']}"] if timings.get("finished") else [])])


def _scores(run: ShownRun) -> str:
    rows = []
    for metric in get_args(Metric):
        values = [f"{100 * run.scored.score(metric, resolution):.2f}" for resolution in get_args(Resolution)]
        rows.append(f'<tr><th scope="row">{metric}-IoU</th>' + "".join(f"<td>{v}</td>" for v in values) + "</tr>")
    head = '<tr><th></th><th scope="col">input size</th><th scope="col">native size</th></tr>'
    return f"<h4>Scores of this fold, percent</h4><table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"


def _classes(run: ShownRun) -> str:
    resolution: Resolution = run.scored.record.settings["headline"]
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{100 * score:.2f}</td></tr>'
        for name, score in run.scored.class_scores(resolution).items()
    )
    title = f"<h4>IoU of each class, percent, {resolution} size</h4>"
    return f'{title}<div class="scroll"><table><tbody>{rows}</tbody></table></div>'


def _json(value: Any) -> str:
    return escape_lines(json.dumps(value, indent=1, ensure_ascii=False))
