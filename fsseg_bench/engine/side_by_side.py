"""The runs of one command side by side, each in a process that makes one after the other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsseg_bench.engine.relay import Replay
from fsseg_bench.engine.slots import Slots
from fsseg_bench.errors import BugError, LaterError, UserError
from fsseg_bench.machine.pool import Listener, Pool
from fsseg_bench.machine.pool_worker import Done, Failure
from fsseg_bench.machine.share import Share
from fsseg_bench.progress import Job, Progress
from fsseg_bench.records.request import RunRequest

_WORKER = "fsseg_bench.engine.run_worker:worker"
_LESS = "fewer --jobs need less"


@dataclass(frozen=True)
class RunTask:
    """A run to make."""

    request: RunRequest
    share: Share
    done: bool
    """Whether it was done before: there is no news of it."""


@dataclass(frozen=True)
class RunDone:
    """A run that is done."""

    folder: Path
    words: str
    """Its result."""


class RunFailedError(BugError):
    """Runs have failed, one of them at least by a bug. Where all is the user's to mend, it is a ``UserError``."""


class _Tracebacks(Exception):  # noqa: N818 - shown as the cause of the error above
    """Where the bugs were raised, in other processes."""


def make_side_by_side(tasks: Sequence[RunTask], jobs: Sequence[Job], slots: Slots, progress: Progress) -> list[Path]:
    """Makes the runs in so many processes at a time; the folders of all.

    When one fails, the others are made all the same, unless they would fail as well (a full disk, a process that
    died).

    Raises:
        UserError: runs have failed; says which, and why.
        LaterError: as well, and all of them may succeed later.
        RunFailedError: so have some by a bug.
    """
    progress.jobs(jobs, slots.count)
    with Pool(_WORKER, slots.environments, _LESS) as pool, _Telling(tasks, jobs, progress) as telling:
        outcomes = pool.run(tasks, telling, longest_first(jobs))
    if None in outcomes:
        raise _error(jobs, outcomes, telling.failures) from _tracebacks(telling.failures)
    return [outcome.result.folder for outcome in outcomes if outcome]


def longest_first(jobs: Sequence[Job]) -> list[int]:
    """The order in which jobs are begun, so that none is still at work long after the others: numbers from 0; as they
    come where it is not known how long they take."""
    seconds = [job.seconds for job in jobs]
    numbers = range(len(jobs))
    if None in seconds:
        return list(numbers)
    return sorted(numbers, key=lambda number: -(seconds[number] or 0.0))


class _Telling(Listener, AbstractContextManager["_Telling"]):
    """Tells a :class:`Progress` what becomes of runs."""

    def __init__(self, tasks: Sequence[RunTask], jobs: Sequence[Job], progress: Progress) -> None:
        self._tasks, self._jobs, self._progress = tasks, jobs, progress
        self._at_work: dict[int, tuple[ExitStack, Replay, float]] = {}
        self.failures: dict[int, Failure] = {}
        self._told: dict[str, str] = {}
        """The title of the first run that failed so, by its message."""

    def began(self, task: int) -> None:
        stack = ExitStack()
        replay = Replay(stack.enter_context(self._progress.job(task)))
        stack.callback(replay.close)
        self._at_work[task] = stack, replay, time.monotonic()

    def told(self, task: int, event: Any) -> None:
        self._at_work[task][1].take(event)

    def printed(self, task: int, line: str) -> None:
        self._progress.say(f"{self._jobs[task].title}: {line}")

    def ended(self, task: int, outcome: Done | Failure) -> None:
        stack, _, begin = self._at_work.pop(task)
        title = self._jobs[task].title
        if isinstance(outcome, Done):
            stack.close()
            if not self._tasks[task].done:
                self._progress.say(f"{title}: {outcome.result.words}, {time.monotonic() - begin:,.0f} s")
        else:
            self.failures[task] = outcome
            error = RunFailedError(outcome.message)
            stack.__exit__(type(error), error, None)
            alike = self._told.setdefault(outcome.message, title)
            self._progress.say(f"{title} failed{f' as {alike} did' if alike != title else f': {outcome.message}'}")

    def __exit__(self, *error: object) -> None:
        """Clears the screen of runs that were interrupted."""
        interrupt = KeyboardInterrupt()
        for stack, _, _ in self._at_work.values():
            stack.__exit__(type(interrupt), interrupt, None)


def _error(
    jobs: Sequence[Job], outcomes: Sequence[Done | None], failures: dict[int, Failure]
) -> UserError | RunFailedError:
    done = sum(outcome is not None for outcome in outcomes)
    left = len(jobs) - done - len(failures)
    words = f"{len(failures)} of {len(jobs)} runs failed, {done} {'is' if done == 1 else 'are'} done"
    words += f", {left} {'was' if left == 1 else 'were'} not begun" if left else ""
    titles: dict[str, list[str]] = {}
    for task, failure in sorted(failures.items()):
        titles.setdefault((failure.message.splitlines() or [""])[0], []).append(jobs[task].title)
    told = [f"{', '.join(those)}: {message}" for message, those in titles.items()]
    if any(failure.bug for failure in failures.values()):
        return RunFailedError(f"{words}: {'; '.join(told)}")
    kind = LaterError if all(failure.later for failure in failures.values()) else UserError
    return kind("\n  ".join([f"{words}; the same command goes on from there", *told]))


def _tracebacks(failures: dict[int, Failure]) -> Exception | None:
    texts = [failure.bug for failure in failures.values() if failure.bug]
    return _Tracebacks("\n" + "\n".join(texts)) if texts else None
