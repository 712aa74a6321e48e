"""Progress on the screen: bars on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from fsseg_bench.engine.progress import Meter, Progress

_EVERY = 15.0  # seconds between plain lines


def screen_progress(prefix: str) -> Progress:
    """Bars when standard error is a terminal, plain lines otherwise; ``prefix`` names the run."""
    return _Bars(prefix) if sys.stderr.isatty() else _Lines(prefix)


class _BarMeter(Meter):
    def __init__(self, bars: Bars, task: int) -> None:
        self._bars = bars
        self._task = task

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._bars.update(self._task, advance=steps, note=note)  # type: ignore[arg-type]


class _Bars(Progress):
    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._console = Console(stderr=True)

    @contextmanager
    def meter(self, title: str, total: int, done: int = 0) -> Iterator[Meter]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Bars(*columns, console=self._console) as bars:
            yield _BarMeter(bars, bars.add_task(f"{self._prefix} {title}", total=total, completed=done, note=""))

    def say(self, message: str) -> None:
        self._console.print(message, markup=False, highlight=False)


class _LineMeter(Meter):
    def __init__(self, title: str, total: int, done: int) -> None:
        self._title = title
        self._total = total
        self._done = done
        self._last = time.monotonic()

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._done += steps
        now = time.monotonic()
        if now - self._last >= _EVERY or self._done == self._total:
            self._last = now
            click.echo(f"{self._title} {self._done}/{self._total} {note}", err=True)


class _Lines(Progress):
    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    @contextmanager
    def meter(self, title: str, total: int, done: int = 0) -> Iterator[Meter]:
        yield _LineMeter(f"{self._prefix} {title}", total, done)

    def say(self, message: str) -> None:
        click.echo(message, err=True)
