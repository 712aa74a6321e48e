"""Progress in a notebook: bars below the cell while something runs, and one line for each run that is done.

The bars are an output that is drawn again, so that they need neither ``ipywidgets`` nor any other extension: they are
there in Jupyter, VS Code and Colab alike.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console

from fsseg_bench.progress import Meter, Progress, Unit
from fsseg_bench.screen.jobs import JobProgress
from fsseg_bench.screen.terminal import BarMeter, Display, screen_progress

_PAUSE = 0.5  # seconds between two drawings: each is a message to the browser


def progress_from_python(wanted: Progress | bool | None) -> Progress:
    """Who is told of work that a Python program asks for.

    ``wanted`` is a receiver; True for bars or lines, on standard error outside a notebook; False for silence; None for
    bars in a notebook and silence elsewhere.
    """
    if isinstance(wanted, Progress):
        return wanted
    if wanted is False:
        return Progress()
    if Console().is_jupyter:
        return NotebookProgress()
    return screen_progress() if wanted else Progress()


class NotebookProgress(JobProgress):
    """Bars in one output of a cell; what is said is printed."""

    def __init__(self) -> None:
        """Nothing is shown before there is something to tell."""
        super().__init__("")
        self._bars = Display(self.heading)
        self._handle: Any = None
        self._drawn = 0.0

    @contextmanager
    def job(self, number: int) -> Iterator[Progress]:
        """The job ``number``: its own work tells what is given; its bars go with it."""
        with super().job(number) as inside:
            yield inside
        self._bars.end_row(number)
        self._draw()

    @contextmanager
    def meter_of(self, number: int | None, title: str, total: int, done: int, unit: Unit) -> Iterator[Meter]:
        """A bar while the body runs."""
        words, row = self.bar_title(number, title)
        try:
            with (
                self._bars.bar(words, total, done, unit, row) as task,
                self.measured(number, title, total, done) as told,
            ):
                self._draw()
                yield _Drawn(BarMeter(self._bars, task, told), self)
        finally:
            self._draw()

    def say(self, message: str) -> None:
        """Prints a line, which stays."""
        click.echo(message)

    def draw_soon(self) -> None:
        """Draws the bars unless they were drawn a moment ago."""
        if time.monotonic() - self._drawn >= _PAUSE:
            self._draw()

    def _draw(self) -> None:
        from IPython.display import display

        self._drawn = time.monotonic()
        if self._handle is None:
            self._handle = display(self._bars, display_id=True)  # type: ignore[no-untyped-call, unused-ignore]
        else:
            self._handle.update(self._bars)


class _Drawn(Meter):
    def __init__(self, meter: Meter, progress: NotebookProgress) -> None:
        self._meter, self._progress = meter, progress

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._meter.advance(steps, note)
        self._progress.draw_soon()
