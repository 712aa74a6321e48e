"""What became of a sweep's cells: from their records, their locks and what was tried of them, never from an engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from glob import escape
from pathlib import Path
from typing import Final, Literal

from fsseg_bench.errors import BUG, MISTAKE
from fsseg_bench.storage.holder import Holder, holder
from fsseg_bench.sweeps.attempts import LOG_FILE, Attempt, read_attempts
from fsseg_bench.sweeps.glance import Glance, evaluated_episodes, glance, last_line, stage_glance, trained_steps
from fsseg_bench.sweeps.plan import Cell, Plan, cell_folder, read_plan, records_of

State = Literal["done", "running", "waiting", "stopped", "failed", "gave up"]
"""``running``: its record or its claim is locked. ``waiting``: nothing was tried, or the cell that it waits for is not
done. ``stopped``: begun, and nobody has it. ``failed``: its command said that it would fail again. ``gave up``: too
many attempts brought no progress."""
STATES: Final[tuple[State, ...]] = ("done", "running", "waiting", "stopped", "failed", "gave up")
FAILED_CODES: Final = frozenset({MISTAKE, BUG})
"""Exit codes after which the same command would fail again."""
Since = str | Mapping[str, int]
"""From when attempts count: a time in UTC as attempts have it, or by label how many are earlier, whatever the clocks of
their machines say."""


@dataclass(frozen=True)
class CellState:
    """What became of a cell."""

    cell: Cell
    state: State
    folder: Path | None = None
    """Of its record; None where there is none yet."""
    train: int = 0
    """Training steps that are logged; all of them when the training is done."""
    evaluated: int = 0
    """Episodes that are logged."""
    holder: Holder | None = None
    """Who is at work."""
    attempts: tuple[Attempt, ...] = ()
    """All that was tried, the oldest first."""
    reason: str = ""
    """Of what is not done and not at work: why."""
    seconds_left: float | None = None
    """Of what is at work, at the speed of this attempt; None where that is not known."""
    resumed_on: tuple[str, ...] = ()
    """What was different in software and machine when the run went on, as the record says it."""
    train_seconds: float | None = None
    """How long the training took, where all is done."""
    evaluate_seconds: float | None = None
    """How long the evaluation took, where all is done."""

    @property
    def attempt(self) -> Attempt | None:
        """The last one."""
        return self.attempts[-1] if self.attempts else None


def steps_done(state: CellState) -> int:
    """Training steps and episodes that are logged, of ``state.cell.steps``."""
    return state.train + state.evaluated


def states_of(folder: Path, plan: Plan | None = None, *, since: Since | None = None) -> list[CellState]:
    """The states of all cells of the sweep in ``folder``, in the order of its plan.

    Args:
        folder: of the sweep.
        plan: of the sweep, where it was read before.
        since: earlier attempts do not make a cell fail or be given up.

    Raises:
        UserError: the plan is missing or damaged.
    """
    plan = read_plan(folder) if plan is None else plan
    root = str(records_of(folder))
    known: dict[str, CellState] = {}

    def of(label: str) -> CellState:
        if label not in known:
            known[label] = _state(root, folder, plan, plan.by_label[label], since, of)
        return known[label]

    return [of(cell.label) for cell in plan.cells]


def state_of(root: Path, folder: Path, plan: Plan, cell: Cell, *, since: Since | None = None) -> CellState:
    """The state of one cell of the sweep in ``folder``, whose records are in ``root``; see :func:`states_of`."""

    @cache
    def of(label: str) -> CellState:
        return _state(str(root), folder, plan, plan.by_label[label], since, of)

    return of(cell.label)


def _state(
    root: str, folder: Path, plan: Plan, cell: Cell, since: Since | None, of: Callable[[str], CellState]
) -> CellState:
    found_at, record = _record(root, plan, cell)
    place = Path(found_at) if record else None
    resumed = record.resumed if record else ()
    if record and record.status == "done":
        took = _seconds(record, "train_seconds"), _seconds(record, "evaluate_seconds")
        return CellState(cell, "done", place, cell.train, cell.evaluate, None, (), "", None, resumed, *took)
    own = cell_folder(folder, cell)
    attempts = tuple(read_attempts(own))
    found = CellState(cell, "waiting", place, *_steps(cell, place, record), attempts=attempts, resumed_on=resumed)
    # who has just begun a record by a command of its own has locked its folder, and there is no run.json yet
    if who := record_holder(root, cell, place) or holder(own):
        return replace(found, state="running", holder=who, seconds_left=_left(found))
    if cell.waits_for is not None and (first := of(cell.waits_for)).state != "done":
        return replace(found, reason=f"{cell.waits_for} is first ({first.state})")
    counted = [one for one in _later(attempts, cell, since) if not one.excused]
    if counted and counted[-1].code in FAILED_CODES:
        return replace(found, state="failed", reason=_reason(own, record, counted[-1]))
    tried = _fruitless(counted, steps_done(found))
    if tried > plan.needs.retries:
        words = f"{tried} attempt{'s' * (tried > 1)} without progress"
        return replace(found, state="gave up", reason=f"{words}; {_reason(own, record, counted[-1])}")
    if record or attempts:
        return replace(found, state="stopped", reason=_reason(own, record, found.attempt))
    return found


def _later(attempts: Sequence[Attempt], cell: Cell, since: Since | None) -> Sequence[Attempt]:
    if isinstance(since, str):
        return [one for one in attempts if one.begun >= since]
    return attempts if since is None else attempts[since.get(cell.label, 0) :]


def record_holder(root: Path | str, cell: Cell, place: Path | None) -> Holder | None:
    """Who has a cell's record, which is in ``place`` or will be where the plan says; None if nobody has."""
    if place is None and not cell.folder.endswith("*"):
        place = Path(root, cell.folder)
    return None if place is None else holder(place)


def _record(root: str, plan: Plan, cell: Cell) -> tuple[str, Glance | None]:
    """The folder of a cell's record and what run.json says; None where there is none yet."""
    if not cell.folder.endswith("*"):
        place = f"{root}/{cell.folder}"
        found = stage_glance(place) if cell.is_stage else glance(place)
        if found and found.identity != cell.identity and found.status != "damaged":
            found = replace(found, status="damaged", reason=f"{place}: holds another run")
        return place, found
    training = plan.by_label[cell.waits_for].identity if cell.waits_for is not None else None
    for place in sorted(map(str, Path(root).glob(escape(cell.folder[:-1]) + "*"))):
        found = glance(place)
        if found and found.training == training and found.without_checkpoint == cell.identity:
            return place, found
    return "", None


def _seconds(record: Glance, name: str) -> float | None:
    number = record.timings.get(name)
    return float(number) if isinstance(number, (int, float)) else None


def _steps(cell: Cell, place: Path | None, record: Glance | None) -> tuple[int, int]:
    """How many training steps and episodes are done."""
    if place is None or record is None:
        return 0, 0
    evaluated = min(evaluated_episodes(place), cell.evaluate)
    trained = cell.train if evaluated or record.status == "evaluating" else min(trained_steps(place), cell.train)
    return trained, evaluated


def _left(state: CellState) -> float | None:
    attempt = state.attempt
    if attempt is None or attempt.ended is not None:
        return None
    done = steps_done(state) - attempt.done_before
    with suppress(ValueError):
        spent = (datetime.now(UTC) - datetime.fromisoformat(attempt.begun)).total_seconds()
        if done > 0 and spent > 0:
            return spent / done * (state.cell.steps - steps_done(state))
    return None


def _fruitless(attempts: Sequence[Attempt], done: int) -> int:
    """How many of the last attempts brought no progress; of one that nobody saw ending, the next one knows."""
    count = 0
    for attempt in reversed(attempts):
        if (done if attempt.done_after is None else attempt.done_after) > attempt.done_before:
            break
        done = attempt.done_before
        count += 1
    return count


def _reason(own: Path, record: Glance | None, attempt: Attempt | None) -> str:
    if record and record.status == "damaged":
        return f"{record.reason}; move that folder away, and the same command makes the cell anew"
    if record and record.status == "failed" and record.reason:
        return record.reason
    words = "" if attempt is None else _ended(attempt)
    return ": ".join(filter(None, (words, last_line(own / LOG_FILE))))


def _ended(attempt: Attempt) -> str:
    if attempt.code is None:
        return f"ended without a word on {attempt.host}"
    return f"killed by signal {-attempt.code}" if attempt.code < 0 else f"exit code {attempt.code}"
