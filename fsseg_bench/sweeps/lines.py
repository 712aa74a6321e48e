"""What happens to the cells of a sweep, in lines."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from fsseg_bench.errors import LATER
from fsseg_bench.records.read import RecordError, read_run
from fsseg_bench.records.words import result_words
from fsseg_bench.sweeps.attempts import LOG_FILE
from fsseg_bench.sweeps.driver import Telling
from fsseg_bench.sweeps.plan import Plan, cell_folder
from fsseg_bench.sweeps.states import CellState


class Lines(Telling, AbstractContextManager["Lines"]):
    """Puts a line for each news; with ``quiet`` only for what went wrong."""

    def __init__(self, folder: Path, plan: Plan, done: int, put: Callable[[str], None], *, quiet: bool = False) -> None:
        """``done``: how many cells are so already."""
        self._folder, self._plan, self.put, self._quiet = folder, plan, put, quiet
        self.done, self.lost = done, 0
        self._away: set[str] = set()
        """Cells that were said to be made elsewhere."""

    def began(self, state: CellState, where: str) -> None:
        """Where, and at which step."""
        steps = state.train + state.evaluated
        before = f", goes on at step {steps:,} of {state.cell.steps:,}" if steps else ""
        self._news(f"{state.cell.label}: begins{' on ' * bool(where)}{where}{before}")

    def ended(self, state: CellState, code: int | None, seconds: float) -> None:
        """The score, or why there is none."""
        label, time_words = state.cell.label, minutes(seconds)
        if state.state == "done":
            self.done += 1
            self._news(f"{label}: {_result(state)}, {time_words}{self._counts()}")
        elif state.state in ("failed", "gave up"):
            self.lost += 1
            log = cell_folder(self._folder, state.cell) / LOG_FILE
            self.put(f"{label}: {state.state}, see {log}{self._counts()}")
        elif state.state == "running" or (code == LATER and not state.reason):
            self._elsewhere(state)
        else:
            self._news(f"{label}: {_ending(code)} after {time_words}, goes on later")

    def found(self, state: CellState) -> None:
        """Somebody else has made it, or failed to."""
        self._away.discard(state.cell.label)
        if state.state == "done":
            self.done += 1
            self._news(f"{state.cell.label}: {_result(state)}, made elsewhere{self._counts()}")
        else:
            self.lost += 1
            self.put(f"{state.cell.label}: {state.state} elsewhere: {state.reason}{self._counts()}")

    def say(self, words: str) -> None:
        """As it is."""
        self.put(words)

    def __exit__(self, *_: object) -> None:
        """Nothing is left on the screen."""

    def _news(self, line: str) -> None:
        if not self._quiet:
            self.put(line)

    def _elsewhere(self, state: CellState) -> None:
        if state.cell.label not in self._away:
            who = f" ({state.holder.words})" if state.holder else ""
            self._news(f"{state.cell.label}: is being made elsewhere{who}")
        self._away.add(state.cell.label)

    def _counts(self) -> str:
        lost = f", {self.lost} failed" if self.lost else ""
        return f" ({self.done} of {len(self._plan.cells)} done{lost})"


def minutes(seconds: float) -> str:
    """A length of time, measured."""
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:,.1f} min"


def _result(state: CellState) -> str:
    with suppress(RecordError):
        return result_words(read_run(state.folder).info) if state.folder else "done"
    return "done"


def _ending(code: int | None) -> str:
    if code is None:
        return "ended without a word"
    if code >= 0:
        return f"ended with exit code {code}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"
