"""The batch script of a sweep's cells as one array of Slurm jobs: text that depends on nothing but its arguments."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Final

from fsseg_bench.errors import UserError, unknown
from fsseg_bench.paths import one_line
from fsseg_bench.schema import Must, Range, parse
from fsseg_bench.sweeps.plan import Cell, Needs
from fsseg_bench.sweeps.slurm_options import KNOWN

WHERE: Final = "[slurm]"
_SITE: Final = "site"
"""The table in it of options that only sbatch on some cluster has."""
OUTPUTS: Final = "slurm"
"""The folder, in that of the sweep, of the scripts and of what they print."""
_EARLY = 60
"""Slurm may send the signal so many seconds earlier than it was asked to."""
_OURS: Final = {
    "array": "at_once says how many cells run at the same time",
    "clusters": "a sweep goes to one cluster",
    "dependency": "cells wait for those that they need",
    "error": "what a cell prints is in its log",
    "help": "it makes no cell",
    "no-requeue": "cells go on after they were preempted",
    "open-mode": "what a cell prints is kept when it goes on",
    "output": "what a cell prints is in its log",
    "parsable": "the number of the job is read",
    "requeue": "it is always said",
    "signal": "signal_seconds says how long before the time limit a cell is told",
    "test-only": "it makes no cell; --dry-run shows them",
    "wait": "--wait of the sweep command follows the cells",
    "wrap": "the cells are what is run",
}
"""Options of sbatch that a sweep needs for itself, and what there is instead."""
_INSTEAD: Final = {
    "gpus": ("gres", "gpus", "gpus-per-node", "gpus-per-task"),
    "cpus": ("cpus-per-task", "cpus-per-gpu"),
    "memory": ("mem", "mem-per-cpu", "mem-per-gpu"),
    "time": ("time",),
}
"""What is not taken from ``[cell]`` when one of these options of sbatch is given."""
_LINE = Annotated[str, Must("one line", one_line)]


@dataclass(frozen=True)
class Options:
    """``[slurm]`` of a sweep's file."""

    at_once: Annotated[int, Range(least=1)] | None = None
    """Cells of one submission that run at the same time; None: as many as the cluster lets."""
    signal_seconds: Annotated[int, Range(least=1, most=65535)] = 120
    """Before the time limit, in which a cell writes its checkpoint."""
    pause_seconds: Annotated[int, Range(least=0)] = 300
    """After an attempt that failed for a reason that may pass."""
    setup: tuple[_LINE, ...] = ()
    """Lines of bash before a cell."""
    others: Mapping[str, str] = field(default_factory=dict)
    """Further options of sbatch, each with what follows its name: ``=gpu``, or nothing."""


@dataclass(frozen=True)
class Batch:
    """Cells that are submitted together."""

    name: str
    """Of the job."""
    folder: Path
    """Of the sweep."""
    labels: tuple[str, ...]
    """Of the cells; the array's indices count them."""
    since: str
    """When they were submitted, in UTC: attempts that began earlier do not count."""
    python: str
    """The interpreter on the nodes."""
    asked: Mapping[str, str]
    """Of sbatch for each cell; see :func:`resources`."""
    options: Options
    path: tuple[str, ...] = ()
    """Where the interpreter looks for modules, beside what it knows and the nodes' own ``PYTHONPATH``."""


def read_options(table: Mapping[str, Any]) -> Options:
    """Checks ``[slurm]``.

    Raises:
        UserError: a value does not fit, or an option is unknown, or one that a sweep needs for itself.
    """
    known = [one.name for one in fields(Options) if one.name != "others"]
    options = parse(Options, {key: value for key, value in table.items() if key in known}, WHERE)
    site = table.get(_SITE, {})
    if not isinstance(site, Mapping):
        raise UserError(f"{WHERE}: {_SITE} must be a table of options that sbatch has on this cluster alone")
    others: dict[str, str] = {}
    for where, given in ((WHERE, table), (f"{WHERE} {_SITE}", site)):
        for key, value in given.items():
            if where == WHERE and key in {*known, _SITE}:
                continue
            name = str(key).replace("_", "-").lstrip("-")
            if name in _OURS:
                raise UserError(f"{where}: {key} cannot be set here: {_OURS[name]}")
            if not (name.isascii() and name.replace("-", "").isalnum()) or (where == WHERE and name not in KNOWN):
                found = unknown("key", name, {*known, *KNOWN} - {*_OURS}, WHERE)
                raise UserError(f"{found} An option that sbatch has on this cluster alone goes into [slurm.{_SITE}].")
            if (text := _value(key, value)) is not None:
                others[name] = text
    return Options(**{name: getattr(options, name) for name in known}, others=others)


def _value(key: str, value: Any) -> str | None:
    """What follows an option's name; None where it is switched off."""
    if isinstance(value, bool):
        return "" if value else None
    if isinstance(value, (str, int, float)):
        if one_line(str(value)):
            return f"={value}"
        raise UserError(f"{WHERE}: {key} holds a line break or another control character: {value!r}")
    raise UserError(f"{WHERE}: {key} must be text, a number, or true for an option without a value")


def resources(needs: Needs, cells: Sequence[Cell], options: Options) -> dict[str, str]:
    """What each cell asks of sbatch for; an option that ``[slurm]`` names takes the place of ours.

    Raises:
        UserError: the time limit leaves no time before the signal.
    """
    asked: dict[str, str] = {}
    free = {what for what, names in _INSTEAD.items() if not set(names) & set(options.others)}
    if "gpus" in free and (gpus := _gpus(needs, cells)):
        asked["gres"] = f"=gpu:{gpus}"
    if "cpus" in free:
        asked["cpus-per-task"] = f"={threads(needs, cells) + (needs.workers or 0)}"
    if "memory" in free and needs.memory_gib is not None:
        asked["mem"] = f"={math.ceil(needs.memory_gib * 1024)}M"
    if "time" in free and needs.minutes is not None:
        seconds = math.ceil(needs.minutes * 60)
        if seconds <= options.signal_seconds + _EARLY:
            raise UserError(
                f"[cell]: minutes = {needs.minutes:g} leaves a cell no time: Slurm tells it {options.signal_seconds} "
                f"seconds before the end, and up to {_EARLY} earlier; more minutes, or fewer {WHERE} signal_seconds"
            )
        asked["time"] = f"={seconds // 60}:{seconds % 60:02}"
    return asked


def _gpus(needs: Needs, cells: Sequence[Cell]) -> int:
    if needs.gpus is not None:
        return needs.gpus
    return int(any(cell.device != "cpu" for cell in cells))


def threads(needs: Needs, cells: Sequence[Cell]) -> int:
    """That compute in one cell, at most."""
    if needs.threads is not None:
        return needs.threads
    return max((cell.threads for cell in cells), default=1)


def script(batch: Batch) -> str:
    """The script, for sbatch.

    Raises:
        UserError: the sweep's folder has a name that Slurm cannot take.
    """
    at_once = f"%{batch.options.at_once}" if batch.options.at_once else ""
    options = {
        "job-name": f"={batch.name}",
        "array": f"=0-{len(batch.labels) - 1}{at_once}",
        "requeue": "",
        "open-mode": "=append",
        "signal": f"=B:USR1@{batch.options.signal_seconds}",
        "output": f"={_pattern(batch.folder / OUTPUTS)}/%A_%a.txt",
        **batch.asked,
        **batch.options.others,
    }
    return _SCRIPT.format(
        options="\n".join(f"#SBATCH --{name}{_quoted(value)}" for name, value in options.items()),
        labels="\n".join(f"  {shlex.quote(label)}" for label in batch.labels),
        setup="\n".join(batch.options.setup) or ":",
        path=_modules(batch.path),
        python=shlex.quote(batch.python),
        folder=shlex.quote(str(batch.folder)),
        since=shlex.quote(batch.since),
        pause=batch.options.pause_seconds,
    )


def _modules(path: Sequence[str]) -> str:
    """Before the command: the current folder, which may hold a package of the same name, is not looked at by itself."""
    found = f"PYTHONPATH={shlex.quote(':'.join(path))}${{PYTHONPATH:+:$PYTHONPATH}} " if path else ""
    return f"PYTHONSAFEPATH=1 {found}"


def _quoted(value: str) -> str:
    """``=value`` as a line ``#SBATCH`` has it: in quotes where a blank or ``#`` would end it."""
    text = value[1:]
    if not text or all(c.isalnum() or c in "-_.,:/=@%+" for c in text):
        return value
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'="{escaped}"'


def _pattern(folder: Path) -> str:
    text = str(folder)
    if "\\" in text or not one_line(text):
        raise UserError(
            f"{folder}: Slurm takes no folder with a backslash or a line break in its name; use another --out"
        )
    return text.replace("%", "%%")


# The shell stays the parent, since Slurm tells only the shell of a near time limit, and does not requeue a job whose
# time is over. A job that was preempted or lost its node, it requeues by itself; one that was cancelled must not come
# back: so TERM alone leads to no requeue. Exit codes are those of on_node.py.
_SCRIPT: Final = """\
#!/bin/bash
{options}
# Written by fsseg-bench: one cell of a sweep for each index.
labels=(
{labels}
)
label=${{labels[$SLURM_ARRAY_TASK_ID]}}
job=${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}
child= told= again=
tell() {{
  told=${{told:-$1}}
  [ -z "$child" ] || kill -"$1" "$child" 2>/dev/null
}}
trap 'again=yes; tell USR1' USR1  # the time limit is near
trap 'tell TERM' TERM             # preempted, cancelled, or at the time limit

{setup}

{path}{python} -m fsseg_bench.sweeps.on_node {folder} "$label" --engine slurm --since {since} &
child=$!
[ -z "$told" ] || kill -"$told" "$child" 2>/dev/null
told=yes
while [ -n "$told" ]; do  # a signal ends a wait, not what is waited for
  told=
  wait "$child"
  code=$?
done
[ "$code" != -1 ] || code=143  # of a child that died of the very signal that ended the wait, bash does not know it

pause=
case $code in
  0 | 1 | 2 | 70 | 126 | 127) again= ;;   # done, or it would end like this again
  143) ;;                                 # stopped
  *) again=yes pause={pause} ;;           # 75, or killed
esac
if [ -n "$again" ]; then
  trap '' TERM  # a requeued job is ended, and so would be the next commands
  scontrol requeue "$job" && [ -n "$pause" ] && scontrol update JobId="$job" StartTime="now+$pause"
fi
exit "$code"
"""
