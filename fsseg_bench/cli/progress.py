"""Progress on the screen: bars on a terminal, a plain line now and then elsewhere."""

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

from fsseg_bench.progress import Meter, Progress, Unit

_INTERVAL = 15.0  # seconds between plain lines


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


class _BarMeter(Meter):
    def __init__(self, bars: Bars, task: TaskID) -> None:
        self._bars, self._task = bars, task

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._bars.update(self._task, advance=steps, note=note)


class _Bars(Progress):
    """One display for all bars: a terminal can show only one at a time."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), _Amount(), TimeRemainingColumn())
        self._bars = Bars(*columns, TextColumn("{task.fields[note]}", markup=False), console=Console(stderr=True))

    @contextmanager
    def meter(self, title: str, total: int, done: int = 0, unit: Unit = "steps") -> Iterator[Meter]:
        task = self._bars.add_task(f"{self._prefix} {title}".strip(), total=total, completed=done, unit=unit, note="")
        self._bars.start()
        try:
            yield _BarMeter(self._bars, task)
        finally:
            self._bars.live.transient = unit != "steps"
            if unit == "steps":
                self._bars.stop()  # before the task goes, so that its last loss stays on the screen
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

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._done += steps
        now = time.monotonic()
        if now - self._last >= _INTERVAL or (self._unit == "steps" and self._done == self._total):
            self._last = now
            click.echo(f"{self._title}{self._amounts(now)} {note}".rstrip(), err=True)

    def _amounts(self, now: float) -> str:
        if self._unit == "steps":
            return f" {self._done}/{self._total}"
        rate = (self._done - self._first) / (now - self._start)
        if self._unit == "files":
            return f": {self._done:,} of {self._total:,} files, {rate:,.0f}/s"
        return f": {self._done / 1e6:,.1f} of {self._total / 1e6:,.1f} MB, {rate / 1e6:.1f} MB/s"


class _Lines(Progress):
    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    @contextmanager
    def meter(self, title: str, total: int, done: int = 0, unit: Unit = "steps") -> Iterator[Meter]:
        if unit != "steps":
            click.echo(f"{self._prefix} {title} ...".strip(), err=True)
        yield _LineMeter(f"{self._prefix} {title}".strip(), total, done, unit)

    def say(self, message: str) -> None:
        click.echo(message, err=True)
