"""Which cell is next: those of a sweep that are left are given to an engine until nothing is left that it could do.

What became of a cell, its record and what was tried of it say: another driver may be at work on the same sweep.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fsseg_bench.errors import LATER
from fsseg_bench.machine.stopping import asked
from fsseg_bench.sweeps.attempts import read_attempts
from fsseg_bench.sweeps.engine import Ended, Engine
from fsseg_bench.sweeps.plan import Cell, Plan, cell_folder, records_of
from fsseg_bench.sweeps.room import Room
from fsseg_bench.sweeps.states import CellState, Since, state_of, states_of, steps_done

LOOK: Final = 5.0
"""Seconds between two looks at a cell that somebody else makes, and before one that came no further begins again."""
_BEAT = 0.5
"""Seconds in which a signal that was noted is heard of."""
_OUT = ("failed", "gave up")


class Telling:
    """Is told what happens, in the driver's thread."""

    def began(self, state: CellState, where: str) -> None:
        """An attempt at a cell has begun, which was in this state."""

    def ended(self, state: CellState, code: int | None, seconds: float) -> None:
        """An attempt has ended after so long, and the cell is in this state. It may be somebody else who has it."""

    def found(self, state: CellState) -> None:
        """Somebody else has made the cell, or it is out of the question."""

    def beat(self) -> None:
        """Some time has passed."""

    def say(self, words: str) -> None:
        """One line worth reading."""


@dataclass(frozen=True)
class Outcome:
    """How a sweep stands when its driver ends."""

    states: tuple[CellState, ...]
    """Of all cells."""
    attempts: int
    """That this driver began."""

    def of(self, *states: str) -> list[CellState]:
        """The cells that are in one of the states."""
        return [state for state in self.states if state.state in states]

    @property
    def left(self) -> list[CellState]:
        """The cells that are not done."""
        return [state for state in self.states if state.state != "done"]

    @property
    def code(self) -> int:
        """The exit code: 0 done; 1 some cells failed or were given up; 75 the same command may do what is left."""
        if not self.left:
            return 0
        return 1 if self.of(*_OUT) else LATER


@dataclass
class _Work:
    state: CellState
    """When it began."""
    began: float


def drive(
    folder: Path,
    plan: Plan,
    engine: Engine,
    telling: Telling | None = None,
    *,
    keep_failed: bool = False,
    wait: bool = True,
    room: Room | None = None,
    look: float = LOOK,
) -> Outcome:
    """Makes what is left of the sweep in ``folder``, until :func:`fsseg_bench.machine.stopping.asked`.

    Args:
        folder: of the sweep.
        plan: of the sweep.
        engine: makes the cells; it is entered and left here.
        telling: is told what happens.
        keep_failed: leaves alone what failed or was given up earlier.
        wait: for cells that somebody else makes, and makes them if they are left undone.
        room: of the disk.
        look: see :data:`LOOK`.

    Raises:
        UserError: the plan is damaged, or something cannot be written.
    """
    driver = _Driver(folder, plan, engine, telling or Telling(), room, look)
    if not keep_failed:
        driver.since = {cell.label: len(read_attempts(cell_folder(folder, cell))) for cell in plan.cells}
    return driver.run(wait=wait)


class _Driver:
    def __init__(
        self, folder: Path, plan: Plan, engine: Engine, telling: Telling, room: Room | None, look: float
    ) -> None:
        self._folder, self._plan, self._engine, self._telling = folder, plan, engine, telling
        self._root, self._look = records_of(folder), look
        self._room = room or Room(self._root)
        self.since: Since | None = None
        """Earlier attempts do not count."""
        first = {cell.waits_for for cell in plan.cells}
        ordered = sorted(
            plan.cells, key=lambda cell: (cell.label not in first, cell.waits_for is not None, -cell.steps)
        )
        self._left = {cell.label: cell for cell in ordered}
        """Neither done nor out of the question, in the order in which they are wanted."""
        self._done: set[str] = set()
        self._at_work: dict[str, _Work] = {}
        self._later: dict[str, float] = {}
        """Before when a cell is not looked at again."""
        self._elsewhere: set[str] = set()
        """Had somebody else at the last look."""
        self._full: Counter[str] = Counter()
        """How often a cell found the disk full, or for another reason could not even note that it was tried."""
        self._attempts = 0
        self._lacking = self._said = False
        """Whether the disk had no room for another cell at the last look, and whether that was said."""

    def run(self, *, wait: bool) -> Outcome:
        for state in states_of(self._folder, self._plan, since=self.since):
            self._sorted(state)
        try:
            with self._engine:
                self._until_nothing_is_left(wait)
        except KeyboardInterrupt:
            if not asked():
                raise
        for ended in self._engine.ended(0):
            self._take(ended)
        return self._outcome()

    def _until_nothing_is_left(self, wait: bool) -> None:
        while not asked():
            self._begin()
            if not self._at_work and not self._worth_waiting(wait):
                break
            for ended in self._engine.ended(min(_BEAT, self._look)):
                self._take(ended)
            self._telling.beat()

    def _outcome(self) -> Outcome:
        states = tuple(states_of(self._folder, self._plan, since=self.since))
        return Outcome(states, self._attempts)

    def _begin(self) -> None:
        """Gives cells to the engine while it has room for them, and the disk."""
        self._lacking = False
        while not asked() and self._engine.has_room() and (state := self._next()):
            if lacking := self._room.lacking(self._working(), state):
                self._lacking = True
                if not self._said:
                    self._telling.say(f"{lacking}. No further cell begins until there is room")
                self._said = True
                return
            self._said = False
            label = state.cell.label
            self._at_work[label] = _Work(state, time.monotonic())
            where = self._engine.begin(state.cell)
            self._attempts += 1
            self._telling.began(state, where)

    def _working(self) -> list[CellState]:
        return [self._seen(work.state.cell) for work in self._at_work.values()]

    def _next(self) -> CellState | None:
        """The next cell that can be made."""
        moment = time.monotonic()
        for label, cell in list(self._left.items()):
            if label in self._at_work or self._later.get(label, 0.0) > moment or not self._ready(cell):
                continue
            state = self._seen(cell)
            self._sorted(state, tell=True)
            if label in self._left and label not in self._elsewhere:
                return state
        return None

    def _ready(self, cell: Cell) -> bool:
        return cell.waits_for is None or cell.waits_for in self._done

    def _seen(self, cell: Cell) -> CellState:
        return state_of(self._root, self._folder, self._plan, cell, since=self.since)

    def _sorted(self, state: CellState, *, tell: bool = False) -> None:
        """Notes how a cell stands that is not at work here."""
        label = state.cell.label
        self._elsewhere.discard(label)
        if state.state == "done" or state.state in _OUT:
            self._left.pop(label, None)
            if state.state == "done":
                self._done.add(label)
            if tell:
                self._telling.found(state)
        elif state.state == "running":
            self._elsewhere.add(label)
            self._later[label] = time.monotonic() + self._look

    def _take(self, ended: Ended) -> None:
        """An attempt has ended: how the cell stands now."""
        work = self._at_work.pop(ended.cell.label)
        state = self._seen(ended.cell)
        self._sorted(state)
        if steps_done(state) <= steps_done(work.state):
            self._later[ended.cell.label] = time.monotonic() + self._look
        if ended.code == LATER and ended.cell.label not in self._elsewhere and _excused(work.state, state):
            self._full[ended.cell.label] += 1
            if self._full[ended.cell.label] > self._plan.needs.retries:
                self._left.pop(ended.cell.label, None)  # where a quota is used up, the disk seems to have room
        self._telling.ended(state, ended.code, time.monotonic() - work.began)

    def _worth_waiting(self, wait: bool) -> bool:
        """Whether there will be something to do later, with nothing at work now."""
        if self._lacking:
            return False
        ours = [label for label in self._left if label in self._later and label not in self._elsewhere]
        return bool(ours) or (wait and bool(self._elsewhere))


def _excused(before: CellState, after: CellState) -> bool:
    """Whether an attempt that may succeed later does not count: for want of room on the disk it may not be noted."""
    return len(after.attempts) == len(before.attempts) or (after.attempt is not None and after.attempt.excused)
