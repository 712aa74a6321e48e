"""The states of a sweep's cells as numbers and words: for the screen, for JSON, for a frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

from fsseg_bench.progress import about
from fsseg_bench.sweeps.states import STATES, CellState, State, steps_done

if TYPE_CHECKING:
    import pandas as pd

_FIRST: Final[tuple[State, ...]] = ("failed", "gave up", "running", "stopped", "waiting", "done")
"""What a reader looks for first."""
_WITHIN: Final = ("fold", "seed")
"""Options that say nothing of how fast a cell is."""


@dataclass(frozen=True)
class Row:
    """A cell, in words."""

    cell: str
    state: State
    done: str
    """In percent."""
    attempts: str
    where: str
    """Host, job, GPU and since when; of what is not at work, where it was tried last."""
    note: str
    """How much time is left, or why it is not done."""


def counts(states: Iterable[CellState]) -> dict[State, int]:
    """How many cells are in each state; all states are there."""
    found: dict[State, int] = dict.fromkeys(STATES, 0)
    for state in states:
        found[state.state] += 1
    return found


def counts_words(states: Sequence[CellState]) -> str:
    """``24 cells: 10 done, 2 running, 12 waiting``."""
    parts = [f"{count} {state}" for state, count in counts(states).items() if count]
    return f"{len(states)} cell{'s' * (len(states) != 1)}: {', '.join(parts) or 'none'}"


def part_done(states: Iterable[CellState]) -> float:
    """Of all steps of all cells, 0..1."""
    pairs = [(steps_done(state), state.cell.steps) for state in states]
    return sum(done for done, _ in pairs) / max(sum(steps for _, steps in pairs), 1)


def rows(states: Iterable[CellState], shown: Iterable[State] = STATES) -> list[Row]:
    """A row for each cell in one of these states: what failed first, then what is at work; else as in the plan."""
    of_state: dict[State, list[CellState]] = {state: [] for state in _FIRST if state in shown}
    for state in states:
        of_state.get(state.state, []).append(state)
    return [_row(state) for found in of_state.values() for state in found]


def _row(state: CellState) -> Row:
    percent = 100 * steps_done(state) // max(state.cell.steps, 1)
    note = state.reason if state.seconds_left is None else f"{about(state.seconds_left)} left"
    if state.resumed_on:
        note = "; ".join(filter(None, (note, f"resumed with other {', '.join(state.resumed_on)}")))
    attempts = str(len(state.attempts) or "")
    return Row(state.cell.label, state.state, f"{percent} %", attempts, _where(state), note)


def _where(state: CellState) -> str:
    attempt = state.attempt
    if state.holder is not None:
        words = state.holder.words.split(", ")
        gpu = f"GPU {attempt.gpu}" if attempt and attempt.gpu and attempt.ended is None else ""
        return ", ".join(filter(None, (*words[:-1], gpu, words[-1])))
    return ", ".join(filter(None, (attempt.host, attempt.job))) if attempt else ""


def seconds_left(states: Sequence[CellState]) -> float | None:
    """Until all cells are done at the present pace, with as many at a time as are at work now; None where nothing is
    at work or a speed is not known. Cells that failed or were given up are not waited for."""
    speeds = _Speeds(states)
    running = [speeds.left(state) for state in states if state.state == "running"]
    coming = [speeds.left(state) for state in states if state.state in {"waiting", "stopped"}]
    known = [seconds for seconds in (*running, *coming) if seconds is not None]
    if not running or len(known) < len(running) + len(coming):
        return None
    return max(sum(known) / len(running), *known)


class _Speeds:
    """Seconds a training step and an episode take: those of finished cells with the same options but for fold and
    seed, else of all."""

    def __init__(self, states: Iterable[CellState]) -> None:
        self._of: dict[str, dict[tuple[Any, ...], list[float]]] = {"train": {}, "evaluate": {}}
        for state in states:
            if state.state == "done":
                self._add("train", state, state.train_seconds, state.cell.train)
                self._add("evaluate", state, state.evaluate_seconds, state.cell.evaluate)

    def _add(self, what: str, state: CellState, seconds: float | None, steps: int) -> None:
        if seconds and steps:
            for kind in (_kind(state), ()):
                self._of[what].setdefault(kind, []).append(seconds / steps)

    def left(self, state: CellState) -> float | None:
        """Seconds that a cell still takes."""
        if state.seconds_left is not None:
            return state.seconds_left
        total = 0.0
        left = {"train": state.cell.train - state.train, "evaluate": state.cell.evaluate - state.evaluated}
        for what, steps in left.items():
            known = self._of[what].get(_kind(state)) or self._of[what].get(())
            if steps > 0 and not known:
                return None
            total += steps * fmean(known) if known else 0.0
        return total


def _kind(state: CellState) -> tuple[Any, ...]:
    return ("of", *(f"{key}={value}" for key, value in state.cell.options.items() if key not in _WITHIN))


def to_json(name: str, folder: str, states: Sequence[CellState]) -> dict[str, Any]:
    """A document for machines."""
    return {
        "sweep": name,
        "folder": folder,
        "counts": counts(states),
        "done": part_done(states),
        "seconds_left": seconds_left(states),
        "cells": [_values(state) for state in states],
    }


def _values(state: CellState) -> dict[str, Any]:
    attempt, holder = state.attempt, state.holder
    return {
        "cell": state.cell.label,
        "state": state.state,
        "options": dict(state.cell.options),
        "trained": state.train,
        "iterations": state.cell.train,
        "evaluated": state.evaluated,
        "episodes": state.cell.evaluate,
        "attempts": len(state.attempts),
        "host": holder.host if holder else attempt.host if attempt else None,
        "job": holder.job if holder else attempt.job if attempt else None,
        "gpu": attempt.gpu if attempt else None,
        "since": (holder.since or None) if holder else None,
        "seconds_left": state.seconds_left,
        "reason": state.reason or None,
        "resumed_on": list(state.resumed_on),
        "record": str(state.folder) if state.folder else None,
    }


def states_frame(states: Sequence[CellState]) -> pd.DataFrame:
    """A row for each cell, in the order of the plan.

    Columns: ``cell``, ``state`` (``done``, ``running``, ``waiting``, ``stopped``, ``failed``, ``gave up``), one for
    each option that tells cells apart (a missing one is NA), then ``trained`` of ``iterations`` and ``evaluated`` of
    ``episodes``, ``attempts``, ``host``, ``job``, ``gpu``, ``since``, ``seconds_left``, ``reason``, ``resumed_on``,
    ``record`` (its folder).
    """
    import pandas as pd

    options = list(dict.fromkeys(key for state in states for key in state.cell.options))
    records = [_flat(_values(state), options) for state in states]
    names = ("trained", "iterations", "evaluated", "episodes", "attempts", "host", "job", "gpu", "since")
    rest = ("seconds_left", "reason", "resumed_on", "record")
    return pd.DataFrame(records, columns=[*dict.fromkeys(("cell", "state", *options, *names, *rest))])


def _flat(values: Mapping[str, Any], options: Sequence[str]) -> dict[str, Any]:
    own = values["options"]
    # an option that has the name of a column gives way: "episodes" is in both, and means the same
    return {key: own.get(key) for key in options} | {key: value for key, value in values.items() if key != "options"}
