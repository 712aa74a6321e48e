"""What ``run`` says before it runs: in one line, as ``--dry-run`` shows it, and as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fsseg_bench.cli.output import put_tables, show
from fsseg_bench.progress import Remaining, about
from fsseg_bench.records.settings import flat
from fsseg_bench.report.model import Cell, Column, Table, printable
from fsseg_bench.report.recipes import differences_table, differing

if TYPE_CHECKING:
    from fsseg_bench.engine.batch import Batch, Planned

_GIB = 2**30
_MOST_NAMED = 6  # methods in one line
_MOST_FOLDERS = 2
_COLUMNS = 3  # methods side by side
_DIGESTS = ("data_fingerprint", "episode_digest", "evaluated_digest", "method_digest")
_WORK = {"train": ("training step", "training steps"), "evaluate": ("episode", "episodes")}


def headline(batch: Batch) -> str:
    """What runs, in one line: methods, protocol, episodes, folds, how many are done, how long the rest takes."""
    runs = batch.runs
    first = runs[0].settings
    names = list(dict.fromkeys(run.settings.method for run in runs))
    methods = ", ".join(names) if len(names) <= _MOST_NAMED else f"{len(names)} methods"
    folds = sorted({run.settings.fold for run in runs})
    row = folds == list(range(folds[0], folds[-1] + 1)) and len(folds) > 2
    listed = f"{folds[0]} to {folds[-1]}" if row else ", ".join(map(str, folds))
    which = f"fold{'s' * (len(folds) > 1)} {listed}"
    seeds = sorted({run.request.seed for run in runs})
    seeded = f", seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else ""
    done = sum(not run.left.steps for run in runs)
    parts = [f"{len(runs)} run{'s' * (len(runs) > 1)}"]
    if done:
        parts.append("all done" if done == len(runs) else f"{done} done")
    if seconds := seconds_left(batch):
        parts.append(f"{about(seconds)} in all" if len(runs) > 1 else about(seconds))
    where = f"{runs[0].label}, {first.way}-way {first.shot}-shot, {which}{seeded}"
    return printable(f"{methods} on {where}: {', '.join(parts)}")


def seconds_left(batch: Batch) -> float | None:
    """The time that all runs still take; None where it was not measured."""
    from fsseg_bench.engine.jobs import jobs_of

    return Remaining(jobs_of(batch), batch.slots.count).seconds()


def say_differences(batch: Batch, say: Callable[[str], None], *, verbose: bool) -> None:
    """Says in what the methods' trainings differ: which facts, or with ``verbose`` the whole table."""
    shown = [(run.shown.method, run.shown) for run in batch.runs]
    facts = differing(shown)
    table = differences_table(shown) if verbose else None
    if table:
        show([table], stderr=True)
    elif facts:
        say(f"the methods' trainings differ in {', '.join(facts)} (-v shows how)")


def plan_text(batch: Batch, notes: Sequence[str], details: Sequence[str], *, verbose: bool) -> None:
    """Prints the plan for people: runs, differences, time and memory; with ``verbose`` all settings and details."""
    shown = [(run.shown.method, run.shown) for run in batch.runs]
    click.echo(headline(batch))
    for note in [*notes, *(details if verbose else ())]:
        click.echo(printable(note))
    for lacking in _lacking(batch):
        click.echo("\n".join(map(printable, f"not here: {lacking}".splitlines())))
    tables = [_runs_table(batch.runs), differences_table(shown)]
    if verbose:
        tables += _settings_tables(batch.runs)
    tables.append(_estimate_table(batch))
    click.echo()
    put_tables([table for table in tables if table])
    if not verbose:
        click.echo("\n-v shows all settings")


def _lacking(batch: Batch) -> list[str]:
    """What is not here, each once."""
    return list(dict.fromkeys(text for run in batch.runs for text in run.lacking))


def _runs_table(runs: Sequence[Planned]) -> Table:
    """A row a run, with what is left of it and the name of its record."""
    seeds = len({run.request.seed for run in runs}) > 1
    heads = ("method", "fold", *(("seed",) if seeds else ()), "left to do", "record")
    rows = [
        (run.settings.method, str(run.settings.fold), *((str(run.request.seed),) if seeds else ()), *_state(run))
        for run in runs
    ]
    folders = sorted({str(run.left.folder.parent) for run in runs if run.left.folder})
    caption = f"Records are in {', '.join(folders)}." if folders else ""
    if len(folders) > _MOST_FOLDERS:
        caption = f"Records are in {os.path.commonpath(folders)}, in a folder for each method."
    return _texts("runs", "Runs", caption, heads, rows)


def _state(run: Planned) -> tuple[str, str]:
    """What is left, and the last folder of the record."""
    left = ", ".join(f"{n:,} {_words(name)[n != 1]}" for name, n in run.left.steps.items())
    failed = " (failed)" if run.left.status == "failed" else ""
    return (left or "nothing: done") + failed, run.left.folder.name if run.left.folder else "-"


def _words(work: str) -> tuple[str, str]:
    """One and several steps of a kind of work; what has no words of its own is a stage."""
    return _WORK.get(work, (f"step of {work}", f"steps of {work}"))


def _settings_tables(runs: Sequence[Planned]) -> list[Table]:
    """All settings, a column a method, of its first fold and seed; a few methods a table."""
    values: dict[str, dict[str, str]] = {}
    for run in runs:
        given = flat(known_settings(run))
        values.setdefault(run.settings.method, {key: _short(value) for key, value in given})
    tables = []
    for chunk in _chunks(list(values.items())):
        keys = dict.fromkeys(key for _, given in chunk for key in given)
        groups = list(dict.fromkeys(key.partition(".")[0] for key in keys))
        ordered = sorted(keys, key=lambda key: groups.index(key.partition(".")[0]))
        rows = [(key, *(given.get(key, "-") for _, given in chunk)) for key in ordered]
        caption = f"Of fold {runs[0].settings.fold}, seed {runs[0].request.seed}."
        tables.append(_texts("settings", "Settings", caption, ("setting", *(name for name, _ in chunk)), rows))
    return tables


def _chunks(items: list[tuple[str, dict[str, str]]]) -> list[list[tuple[str, dict[str, str]]]]:
    return [items[start : start + _COLUMNS] for start in range(0, len(items), _COLUMNS)]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"{text[:8]}..." if len(text) == 64 and " " not in text else text


def _estimate_table(batch: Batch) -> Table | None:
    """Times a method, and the sum; None where nothing was measured."""
    from fsseg_bench.engine.estimate import LEFT_OUT

    kinds: dict[str, list[Planned]] = {}
    for run in batch.runs:
        if run.speed:
            kinds.setdefault(run.kind, []).append(run)
    if not kinds:
        return None
    rows = []
    stages = any(run.speed and run.speed.stages for runs in kinds.values() for run in runs)
    for runs in kinds.values():
        first, speed = runs[0], runs[0].speed
        if speed is None:
            continue
        whole = {"train": first.settings.iterations or 0, "evaluate": first.episodes}
        seconds = sum(steps * first.speeds[name] for name, steps in whole.items())
        left = sum(steps * run.speeds[name] for run in runs for name, steps in run.left.steps.items())
        step = _duration(speed.step) if speed.step else "-"
        before = [
            f"{title}: {_duration(one.step)} a step, {about(one.step * first.stages[title])}"
            for title, one in speed.stages.items()
        ]
        of_run = (step, _duration(first.speeds["evaluate"]), about(seconds), about(left))
        rows.append((first.settings.method, *(["; ".join(before) or "-"] if stages else []), *of_run))
    memory = max(run.memory(batch.slots.count) for run in batch.runs)
    total = seconds_left(batch)
    once = (
        " What comes before is trained once for all runs that need it: the time of one run is without it, and all that "
        "is left is with what is not trained yet."
    )
    parts = [
        f"{run.settings.method} {run.speed.step_episodes} of {run.settings.recipe['batch']}"
        for run in (runs[0] for runs in kinds.values())
        if run.speed and run.speed.step and run.speed.step_episodes < run.settings.recipe["batch"]
    ]
    parts += [
        f"{runs[0].settings.method} {title} {one.images} images"
        for runs in kinds.values()
        if runs[0].speed
        for title, one in runs[0].speed.stages.items()
        if one.images < one.batch
    ]
    scaled = f" Training steps are scaled from a part of their episodes ({', '.join(parts)})." if parts else ""
    bound = "at least" if parts else "up to"
    count = batch.slots.count
    each, beside = "", ""
    if count > 1:
        each = " a run"
        beside = f" {count} runs at a time are taken to be as fast as one alone, which they are not quite."
    caption = (
        f"From a few steps on made-up images, measured here and now. Memory: {bound} {memory / _GIB:.1f} GiB{each}."
        f"{scaled}{beside}{once if stages else ''} "
        f"{about(total).capitalize() if total else 'An unknown time'} for all that is left. Not in it: {LEFT_OUT}."
    )
    heads = ("method", *(["before"] if stages else []), "training step", "episode", "one run", "all that is left")
    return _texts("estimate", "Estimate of the time", caption, heads, rows, labels=1)


def _duration(seconds: float) -> str:
    if seconds >= 10:
        return f"{seconds:,.0f} s"
    return f"{seconds:.2g} s" if seconds >= 0.1 else f"{1000 * seconds:.2g} ms"


def _texts(
    name: str, title: str, caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]], labels: int | None = None
) -> Table:
    columns = tuple(Column((head,)) for head in heads)
    cells = tuple(tuple(Cell(printable(text)) for text in row) for row in rows)
    return Table(name, title, caption, columns, labels or len(columns), cells)


def known_settings(run: Planned) -> dict[str, Any]:
    """The settings of a run; without the digests of data that are not here."""
    given = run.settings.to_json()
    return {k: v for k, v in given.items() if v != "" or k not in (*_DIGESTS, "weights_digest")}


def plan_json(batch: Batch, notes: Sequence[str]) -> str:
    """The plan as one JSON document: ``runs``, ``differences``, ``notes``, ``not_here`` and ``estimate``."""
    document = {
        "schema": 1,
        "runs": [_run_json(run) for run in batch.runs],
        "differences": differing([(run.shown.method, run.shown) for run in batch.runs]),
        "notes": list(notes),
        "not_here": _lacking(batch),
        "estimate": _estimate_json(batch),
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)


def _run_json(run: Planned) -> dict[str, Any]:
    folder: Path | None = run.left.folder
    return {
        "method": run.settings.method,
        "fold": run.settings.fold,
        "seed": run.request.seed,
        "identity": run.settings.identity if folder else None,
        "record": str(folder) if folder else None,
        "status": run.left.status,
        "left": {name: run.left.steps.get(name, 0) for name in (*run.stages, *_WORK)},
        "seconds": sum(n * run.speeds[name] for name, n in run.left.steps.items()) if run.speed else None,
        "settings": known_settings(run),
    }


def _estimate_json(batch: Batch) -> dict[str, Any] | None:
    from fsseg_bench.engine.estimate import LEFT_OUT

    measured = [run for run in batch.runs if run.speed]
    if not measured:
        return None
    return {
        "seconds": seconds_left(batch),
        "memory_bytes": max(run.memory(batch.slots.count) for run in measured),
        "jobs": batch.slots.count,
        "not_in_it": LEFT_OUT,
    }
