"""Progress on the screen: bars on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
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

from fsseg_bench.progress import Meter, Progress, Unit
from fsseg_bench.screen.jobs import JobProgress

_INTERVAL = 15.0  # seconds between plain lines, of all jobs together
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


class BarMeter(Meter):
    """A bar."""

    def __init__(self, bars: Bars, task: TaskID, told: Callable[[int], None]) -> None:
        self._bars, self._task, self._told = bars, task, told

    def advance(self, steps: int = 1, note: str = "") -> None:
        """The bar grows by ``steps`` and shows ``note``."""
        self._told(steps)
        self._bars.update(self._task, advance=steps, note=note)


class Display(Bars):
    """Bars below a line that says which job they belong to, or how many jobs are done."""

    def __init__(self, heading: Callable[[], str]) -> None:
        self._heading = heading
        self._rows: dict[int, TaskID] = {}
        self._used: set[TaskID] = set()
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

    @contextmanager
    def bar(self, title: str, total: int, done: int, unit: Unit, job: int | None = None) -> Iterator[TaskID]:
        """A bar while the body runs. Of a ``job`` it stays until its next one takes its place, or :meth:`end_row`: the
        rows of jobs side by side do not change places."""
        row = None if job is None else self._rows.get(job)
        if row is None or row in self._used:
            task = self.add_task(title, total=total, completed=done, unit=unit, note="")
            if job is not None:
                self._rows.setdefault(job, task)
        else:
            task = row
            self.reset(task, description=title, total=total, completed=done, unit=unit, note="")
        self._used.add(task)
        try:
            yield task
        finally:
            self._used.discard(task)
            if task not in self._rows.values():
                self.remove_task(task)

    def end_row(self, job: int) -> None:
        """The job has no bar any more."""
        if job in self._rows:
            self.remove_task(self._rows.pop(job))


class _Bars(JobProgress):
    """One display for all bars: a terminal can show only one at a time. Those of a job go with it."""

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self._bars = Display(self.heading)

    @contextmanager
    def job(self, number: int) -> Iterator[Progress]:
        with super().job(number) as inside:
            self._bars.live.transient = True
            self._bars.start()
            try:
                yield inside
            finally:
                self._bars.end_row(number)
                if self.at_work == [number]:
                    self._bars.stop()

    @contextmanager
    def meter_of(self, number: int | None, title: str, total: int, done: int, unit: Unit) -> Iterator[Meter]:
        words, row = self.bar_title(number, title)
        stays = unit == "steps" and number is None
        with self._bars.bar(words, total, done, unit, row) as task:
            self._bars.start()
            try:
                with self.measured(number, title, total, done) as told:
                    yield BarMeter(self._bars, task, told)
            finally:
                self._bars.live.transient = not stays
                if stays:
                    self._bars.stop()  # before the task goes, so that its last loss stays on the screen
        if not self._bars.task_ids and not self.in_job:
            self._bars.stop()

    def say(self, message: str) -> None:
        self._bars.console.print(message, markup=False, highlight=False, soft_wrap=True)


class _LineMeter(Meter):
    def __init__(
        self,
        title: str,
        total: int,
        done: int,
        unit: Unit,
        told: Callable[[int], None],
        left: Callable[[], str],
        interval: float,
    ) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._told, self._left, self._interval = told, left, interval
        self._first = self._done = done
        self._start = self._last = time.monotonic()

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._told(steps)
        self._done += steps
        now = time.monotonic()
        if now - self._last >= self._interval or (self._unit == "steps" and self._done == self._total):
            self._last = now
            done = f"{self._title}{self._amounts(now)} {note}".rstrip()
            click.echo("; ".join(filter(None, (done, self._left()))), err=True)

    def _amounts(self, now: float) -> str:
        if self._unit == "steps":
            return f" {self._done}/{self._total}"
        rate = (self._done - self._first) / (now - self._start)
        if self._unit == "files":
            return f": {self._done:,} of {self._total:,} files, {rate:,.0f}/s"
        return f": {self._done / 1e6:,.1f} of {self._total / 1e6:,.1f} MB, {rate / 1e6:.1f} MB/s"


class _Lines(JobProgress):
    @contextmanager
    def meter_of(self, number: int | None, title: str, total: int, done: int, unit: Unit) -> Iterator[Meter]:
        words = f"{self.prefix} {title}".strip() if number is None else f"{self.title_of(number)}, {title}"
        if unit != "steps":
            click.echo(f"{words} ...", err=True)
        with self.measured(number, title, total, done) as told:
            yield _LineMeter(words, total, done, unit, told, lambda: self.left, _INTERVAL * self.at_a_time)

    def say(self, message: str) -> None:
        click.echo(message, err=True)
