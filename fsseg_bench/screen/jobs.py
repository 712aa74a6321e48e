"""Which of several jobs are at work, and how much is left of all: what bars, lines and notebooks have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from fsseg_bench.progress import Job, Meter, Progress, Remaining, Unit, about


class JobProgress(Progress):
    """Knows the jobs that are at work, and shows meters of each or of none."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._jobs: Sequence[Job] = ()
        self._remaining = Remaining(())
        self.at_a_time = 1
        """How many jobs may be at work."""
        self.at_work: list[int] = []
        """The numbers of the jobs that are at work."""
        self._done = self._failed = 0

    def jobs(self, jobs: Sequence[Job], side_by_side: int = 1) -> None:
        """What is ahead: these jobs, and so many at a time."""
        self._jobs, self._remaining, self.at_a_time = jobs, Remaining(jobs, side_by_side), side_by_side
        self._done = self._failed = 0

    @contextmanager
    def job(self, number: int) -> Iterator[Progress]:
        """The job ``number``: its own work tells what is given."""
        self.at_work.append(number)
        self._remaining.begin(number)
        failed = True
        try:
            yield _OfJob(self, number)
            failed = False
        finally:
            self.at_work.remove(number)
            self._remaining.end(number, failed=failed)
            self._done += not failed
            self._failed += failed

    @contextmanager
    def meter(self, title: str, total: int, done: int = 0, unit: Unit = "steps") -> Iterator[Meter]:
        """A meter of no job."""
        with self.meter_of(None, title, total, done, unit) as meter:
            yield meter

    @abstractmethod
    def meter_of(
        self, number: int | None, title: str, total: int, done: int, unit: Unit
    ) -> AbstractContextManager[Meter]:
        """A meter of the job ``number``."""

    @property
    def beside(self) -> bool:
        """Whether several jobs are at work at a time."""
        return self.at_a_time > 1

    @property
    def in_job(self) -> bool:
        """Whether a job is at work."""
        return bool(self.at_work)

    def title_of(self, number: int) -> str:
        """A job in words: ``run 3 of 12: panet fold 3``; where several are at work its title alone."""
        title = self._jobs[number].title
        return title if self.beside or len(self._jobs) == 1 else f"run {number + 1} of {len(self._jobs)}: {title}"

    def bar_title(self, number: int | None, title: str) -> tuple[str, int | None]:
        """What stands before a meter's bar, and the job whose row it takes, if there are rows."""
        if number is not None and self.beside:
            return f"{self._jobs[number].title} {title}", number
        return (title if self.in_job else f"{self.prefix} {title}".strip()), None

    @property
    def left(self) -> str:
        """``about 4 min left in all``, where the speed of everything is known; with how many are done, where several
        jobs are at work."""
        seconds = self._remaining.seconds() if self.in_job else None
        time = f"{about(seconds)} left{' in all' * (len(self._jobs) > 1)}" if seconds else ""
        if not self.beside or not self.in_job:
            return time
        failed = f"{self._failed} failed" if self._failed else ""
        return ", ".join(filter(None, (f"{self._done} of {len(self._jobs)} runs done", failed, time)))

    def heading(self) -> str:
        """What stands above the bars of jobs; empty where none is at work."""
        if not self.in_job:
            return ""
        return ", ".join(filter(None, ("" if self.beside else self.title_of(self.at_work[-1]), self.left)))

    @contextmanager
    def measured(self, number: int | None, title: str, total: int, done: int) -> Iterator[Callable[[int], None]]:
        """Measures the speed of a meter of the job; yields what is to be told of each advance."""
        if number is None:
            yield lambda _: None
        else:
            with self._remaining.metered(number, title, total, done) as told:
                yield told


class _OfJob(Progress):
    """What the work of one job tells."""

    def __init__(self, progress: JobProgress, number: int) -> None:
        self._progress, self._number = progress, number

    @contextmanager
    def meter(self, title: str, total: int, done: int = 0, unit: Unit = "steps") -> Iterator[Meter]:
        with self._progress.meter_of(self._number, title, total, done, unit) as meter:
            yield meter

    def say(self, message: str) -> None:
        self._progress.say(message)
