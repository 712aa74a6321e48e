"""Progress of long work, and how much time it still needs. These classes are silent; those of ``screen`` show it."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

Unit = Literal["steps", "bytes", "files"]
_LEAST_SECONDS = 2.0
"""What is measured for less time says little of the speed: the first step is slower than the others."""


class Meter:
    """One piece of work of a known size."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """``steps`` more are done, negative when work must be done again; ``note`` is a short figure to show (loss)."""


@dataclass(frozen=True)
class Job:
    """One of several pieces of long work: a run."""

    title: str
    kind: str
    """Jobs of one kind have the same speed."""
    steps: Mapping[str, int]
    """The titles of the job's meters, and how many steps of each are left."""
    speeds: Mapping[str, float] = field(default_factory=dict)
    """Seconds a step by the meter's title, as far as they were estimated before."""

    @property
    def seconds(self) -> float | None:
        """How long it was estimated to take; None where a speed is not known."""
        if self.steps.keys() - self.speeds.keys():
            return None
        return sum(steps * self.speeds[title] for title, steps in self.steps.items())


class Progress:
    """Receives what happens."""

    @contextmanager
    def meter(self, title: str, total: int, done: int = 0, unit: Unit = "steps") -> Iterator[Meter]:
        """A meter for work of which ``done`` of ``total`` were done earlier."""
        yield Meter()

    def say(self, message: str) -> None:
        """One line worth reading."""

    def jobs(self, jobs: Sequence[Job], side_by_side: int = 1) -> None:
        """What is ahead: these jobs, and so many of them at a time; of one at a time in this order."""

    @contextmanager
    def job(self, number: int) -> Iterator[Progress]:
        """The job ``number`` (from 0) of those ahead; its own work tells what is given."""
        yield self


class Remaining:
    """How long a list of jobs still takes, of which so many are at work at a time: from what was measured so far of
    jobs of the same kind, else from what was estimated before, corrected by how far other estimates were off, else
    from the mean of the other kinds."""

    def __init__(self, jobs: Sequence[Job], side_by_side: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self._jobs, self._lanes, self._clock = jobs, side_by_side, clock
        self._left = [dict(job.steps) for job in jobs]
        self._waiting = [*range(len(jobs))]
        self._measured: dict[tuple[str, str], tuple[int, float]] = {}
        """Steps done and seconds they took, by kind and meter."""
        self._around: list[float] = []
        """Seconds of each finished job outside its meters."""
        self._begun: dict[int, float] = {}
        """When each job that is at work began; seconds in its meters are taken for none."""

    def begin(self, number: int) -> None:
        """The job ``number`` begins."""
        self._waiting.remove(number)
        self._begun[number] = self._clock()

    def end(self, number: int, *, failed: bool = False) -> None:
        """The job is done; of one that ``failed`` nothing is left either."""
        spent = self._clock() - self._begun.pop(number)
        if not failed and any(self._jobs[number].steps.values()):  # one done before says nothing of the others
            self._around.append(max(spent, 0.0))
        self._left[number] = {}

    @contextmanager
    def metered(self, number: int, title: str, total: int, done: int) -> Iterator[Callable[[int], None]]:
        """Measures a meter of the job ``number``; yields what is to be told of each advance."""
        job, left = self._jobs[number], self._left[number]
        left[title] = total - done
        before = last = self._clock()

        def advanced(steps: int) -> None:
            nonlocal last
            count, seconds = self._measured.get((job.kind, title), (0, 0.0))
            now = self._clock()
            self._measured[job.kind, title] = count + max(steps, 0), seconds + now - last
            left[title] -= steps
            last = now

        yield advanced
        self._begun[number] += self._clock() - before

    def seconds(self) -> float | None:
        """Until all are done; None where nothing is known of the speed of some work.

        A job that waits is taken to begin when one before it is done, the longest first.
        """
        around = fmean(self._around) if self._around else 0.0
        lanes: list[float] = []
        waiting: list[float] = []
        for number, job in enumerate(self._jobs):
            left = [*self._left[number].items()]  # a copy: a display asks from a thread of its own
            speeds = [(steps, self._speed(job, title)) for title, steps in left if steps > 0]
            if any(speed is None for _, speed in speeds):
                return None
            seconds = sum(steps * speed for steps, speed in speeds if speed is not None)
            if number in self._begun:
                lanes.append(seconds)
            elif number in self._waiting and any(job.steps.values()):
                waiting.append(seconds + around)
        lanes += [0.0] * (self._lanes - len(lanes))
        heapq.heapify(lanes)
        for seconds in sorted(waiting, reverse=True):
            heapq.heapreplace(lanes, lanes[0] + seconds)
        return max(lanes)

    def _speed(self, job: Job, title: str) -> float | None:
        steps, seconds = self._measured.get((job.kind, title), (0, 0.0))
        if steps and (seconds >= _LEAST_SECONDS or title not in job.speeds):
            return seconds / steps
        if title in job.speeds:
            return job.speeds[title] * self._correction(title)
        known = [s / n for (_, name), (n, s) in [*self._measured.items()] if name == title and n]
        known = known or [other.speeds[title] for other in self._jobs if title in other.speeds]
        return fmean(known) if known else None

    def _correction(self, title: str) -> float:
        """How much slower than estimated the same work of other kinds was; else any work; 1 where nothing is known."""
        estimates = {(job.kind, name): speed for job in self._jobs for name, speed in job.speeds.items()}
        pairs = [
            (name, seconds, steps * estimates[kind, name])
            for (kind, name), (steps, seconds) in [*self._measured.items()]
            if seconds >= _LEAST_SECONDS and steps * estimates.get((kind, name), 0.0) > 0
        ]
        pairs = [pair for pair in pairs if pair[0] == title] or pairs
        return sum(pair[1] for pair in pairs) / sum(pair[2] for pair in pairs) if pairs else 1.0


def about(seconds: float) -> str:
    """A length of time in words, as exact as an estimate is: ``about 40 s``, ``about 4 min``, ``about 2 h 10 min``."""
    if seconds < 55:
        return f"about {max(5 * round(seconds / 5), 5)} s"
    if seconds < 57.5 * 60:
        return f"about {round(seconds / 60)} min"
    if seconds < 24 * 3600:
        hours, minutes = divmod(10 * round(seconds / 600), 60)
        return f"about {hours} h" + (f" {minutes} min" if minutes else "")
    days, hours = divmod(round(seconds / 3600), 24)
    if days >= 10:
        return f"about {round(days, 2 - len(str(days)))} days"
    return f"about {days} day{'s' * (days > 1)}" + (f" {hours} h" if hours else "")
