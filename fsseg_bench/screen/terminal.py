"""Progress on the screen: bars on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from fsseg_bench.progress import Job, Meter, Progress, Remaining, Unit, about

_INTERVAL = 15.0  # seconds between plain lines
_BAR = 40  # columns
_WIDE = 100  # columns of a terminal that has room for bars of that length


def screen_progress(prefix: str = "") -> Progress:
    """Bars when standard error is a terminal, plain lines otherwise; ``prefix`` stands before each title."""
    return _Bars(prefix) if sys.stderr.isatty() else _Lines(prefix)


class _Amount(ProgressColumn):
    """Bytes with their rate, or how many of how many."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes, self._rate, self._count = DownloadColumn(), TransferSpeedColumn(), MofNCompleteColumn()

    def render(self, task: Task) -> Text:
        if task.fields["unit"] != "bytes":
            return self._count.render(task)
        return Text(" ").join([self._bytes.render(task), self._rate.render(task)])


class JobProgress(Progress):
    """Knows which of several jobs is at work, and how much is left of all."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._jobs: Sequence[Job] = ()
        self._remaining = Remaining(())
        self._now: int | None = None

    def jobs(self, jobs: Sequence[Job]) -> None:
        """What is ahead: these jobs, in this order."""
        self._jobs, self._remaining = jobs, Remaining(jobs)

    @contextmanager
    def job(self, number: int) -> Iterator[None]:
        """Whatever the body does belongs to the job ``number``."""
        self._now = number
        self._remaining.begin(number)
        yield
        self._remaining.end()
        self._now = None

    @property
    def which(self) -> str:
        """``run 3 of 12: panet fold 3``, or what was given where there are no jobs."""
        if self._now is None:
            return self._prefix
        title, several = self._jobs[self._now].title, len(self._jobs) > 1
        return f"run {self._now + 1} of {len(self._jobs)}: {title}" if several else title

    @property
    def left(self) -> str:
        """``about 4 min left in all``, where the speed of everything is known."""
        seconds = self._remaining.seconds() if self.in_job else None
        return f"{about(seconds)} left{' in all' * (len(self._jobs) > 1)}" if seconds else ""

    @property
    def in_job(self) -> bool:
        """Whether a job is at work."""
        return self._now is not None

    def heading(self) -> str:
        """What stands above the bars of a job; empty where none is at work."""
        return ", ".join(filter(None, (self.which, self.left))) if self.in_job else ""

    @contextmanager
    def measured(self, title: str, total: int, done: int) -> Iterator[Callable[[int], None]]:
        """Measures the speed of a meter of the job; yields what is to be told of each advance."""
        if not self.in_job:
            yield lambda _: None
        else:
            with self._remaining.metered(title, total, done) as told:
                yield told


class BarMeter(Meter):
    """A bar."""

    def __init__(self, bars: Bars, task: TaskID, told: Callable[[int], None]) -> None:
        self._bars, self._task, self._told = bars, task, told

    def advance(self, steps: int = 1, note: str = "") -> None:
        """The bar grows by ``steps`` and shows ``note``."""
        self._told(steps)
        self._bars.update(self._task, advance=steps, note=note)


class Display(Bars):
    """Bars below a line that says which job they belong to."""

    def __init__(self, heading: Callable[[], str]) -> None:
        self._heading = heading
        console = Console(stderr=True)
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(_BAR if console.width >= _WIDE else _BAR // 2),
            _Amount(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False, table_column=Column(ratio=1, no_wrap=True)),  # may be cut
            console=console,
            expand=True,
        )

    def get_renderables(self) -> Iterator[RenderableType]:
        """The line and the bars."""
        if heading := self._heading():
            yield Text(heading, no_wrap=True, overflow="ellipsis")
        yield from super().get_renderables()


class _Bars(JobProgress):
    """One display for all bars: a terminal can show only one at a time. Those of a job go with it."""

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self._bars = Display(self.heading)

    @contextmanager
    def job(self, number: int) -> Iterator[None]:
        with super().job(number):
            self._bars.live.transient = True
            self._bars.start()
            try:
                yield
            finally:
                self._bars.stop()

    @contextmanager
    def meter(self, title: str, total: int, done: int = 0, unit: Unit = "steps") -> Iterator[Meter]:
        words = title if self.in_job else f"{self._prefix} {title}".strip()
        task = self._bars.add_task(words, total=total, completed=done, unit=unit, note="")
        self._bars.start()
        try:
            with self.measured(title, total, done) as told:
                yield BarMeter(self._bars, task, told)
        finally:
            stays = unit == "steps" and not self.in_job
            self._bars.live.transient = not stays
            if stays:
                self._bars.stop()  # before the task goes, so that its last loss stays on the screen
            self._bars.remove_task(task)
            if not self._bars.task_ids and not self.in_job:
                self._bars.stop()

    def say(self, message: str) -> None:
        self._bars.console.print(message, markup=False, highlight=False, soft_wrap=True)


class _LineMeter(Meter):
    def __init__(
        self, title: str, total: int, done: int, unit: Unit, told: Callable[[int], None], left: Callable[[], str]
    ) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._told, self._left = told, left
        self._first = self._done = done
        self._start = self._last = time.monotonic()

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._told(steps)
        self._done += steps
        now = time.monotonic()
        if now - self._last >= _INTERVAL or (self._unit == "steps" and self._done == self._total):
            self._last = now
            figures = "; ".join(filter(None, (note, self._left())))
            click.echo(f"{self._title}{self._amounts(now)} {figures}".rstrip(), err=True)

    def _amounts(self, now: float) -> str:
        if self._unit == "steps":
            return f" {self._done}/{self._total}"
        rate = (self._done - self._first) / (now - self._start)
        if self._unit == "files":
            return f": {self._done:,} of {self._total:,} files, {rate:,.0f}/s"
        return f": {self._done / 1e6:,.1f} of {self._total / 1e6:,.1f} MB, {rate / 1e6:.1f} MB/s"


class _Lines(JobProgress):
    @contextmanager
    def meter(self, title: str, total: int, done: int = 0, unit: Unit = "steps") -> Iterator[Meter]:
        words = f"{self.which}{',' if self._now is not None else ''} {title}".strip()
        if unit != "steps":
            click.echo(f"{words} ...", err=True)
        with self.measured(title, total, done) as told:
            yield _LineMeter(words, total, done, unit, told, lambda: self.left)

    def say(self, message: str) -> None:
        click.echo(message, err=True)
