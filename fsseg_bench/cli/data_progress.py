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
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars

from fsseg_bench.data.prepare.progress import Meter, Progress, Unit

_EVERY = 15.0  # seconds between plain lines


def screen_progress() -> Progress:
    """Bars when standard error is a terminal, plain lines otherwise."""
    return _Bars() if sys.stderr.isatty() else _Lines()


class _BarMeter(Meter):
    def __init__(self, bars: Bars, title: str, total: int, done: int) -> None:
        self._bars = bars
        self._task = bars.add_task(title, total=total, completed=done)

    def advance(self, steps: int = 1) -> None:
        self._bars.advance(self._task, steps)


class _Bars(Progress):
    def __init__(self) -> None:
        self._console = Console(stderr=True)

    @contextmanager
    def meter(self, title: str, total: int, done: int = 0, unit: Unit = "bytes") -> Iterator[Meter]:
        counts: list[ProgressColumn] = [MofNCompleteColumn()]
        if unit == "bytes":
            counts = [DownloadColumn(), TransferSpeedColumn()]
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), *counts, TimeRemainingColumn())
        with Bars(*columns, console=self._console) as bars:
            yield _BarMeter(bars, title, total, done)

    def say(self, message: str) -> None:
        self._console.print(message, markup=False, highlight=False, soft_wrap=True)


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
