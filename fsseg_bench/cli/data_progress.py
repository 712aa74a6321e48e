"""Progress of a preparation: bars with rates on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
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
from rich.text import Text

from fsseg_bench.data.prepare.progress import Meter, Progress, Unit

_EVERY = 15.0  # seconds between plain lines


def screen_progress() -> Progress:
    """Bars when standard error is a terminal, plain lines otherwise."""
    return _Bars() if sys.stderr.isatty() else _Lines()


class _Amount(ProgressColumn):
    """Bytes with their rate, or files."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes, self._rate, self._files = DownloadColumn(), TransferSpeedColumn(), MofNCompleteColumn()

    def render(self, task: Task) -> Text:
        if task.fields["unit"] == "files":
            return self._files.render(task)
        return Text(" ").join([self._bytes.render(task), self._rate.render(task)])


class _BarMeter(Meter):
    def __init__(self, bars: Bars, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def advance(self, steps: int = 1) -> None:
        self._bars.advance(self._task, steps)


class _Bars(Progress):
    """One display for all bars: a terminal can show only one at a time."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), _Amount(), TimeRemainingColumn())
        self._bars = Bars(*columns, console=Console(stderr=True), transient=True)

    @contextmanager
    def meter(self, title: str, total: int, done: int = 0, unit: Unit = "bytes") -> Iterator[Meter]:
        task = self._bars.add_task(title, total=total, completed=done, unit=unit)
        self._bars.start()
        try:
            yield _BarMeter(self._bars, task)
        finally:
            self._bars.remove_task(task)
            if not self._bars.task_ids:
                self._bars.stop()

    def say(self, message: str) -> None:
        self._bars.console.print(message, markup=False, highlight=False, soft_wrap=True)


class _LineMeter(Meter):
    def __init__(self, title: str, total: int, done: int, unit: Unit) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._first = self._done = done
        self._start = self._last = time.monotonic()

    def advance(self, steps: int = 1) -> None:
        self._done += steps
        now = time.monotonic()
        if now - self._last >= _EVERY:
            self._last = now
            rate = (self._done - self._first) / (now - self._start)
            click.echo(f"{self._title}: {self._amounts(rate)}", err=True)

    def _amounts(self, rate: float) -> str:
        if self._unit == "files":
            return f"{self._done:,} of {self._total:,} files, {rate:,.0f}/s"
        return f"{self._done / 1e6:,.1f} of {self._total / 1e6:,.1f} MB, {rate / 1e6:.1f} MB/s"


class _Lines(Progress):
    @contextmanager
    def meter(self, title: str, total: int, done: int = 0, unit: Unit = "bytes") -> Iterator[Meter]:
        click.echo(f"{title} ...", err=True)
        yield _LineMeter(title, total, done, unit)

    def say(self, message: str) -> None:
        click.echo(message, err=True)
