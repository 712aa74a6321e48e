"""What is at work of a sweep, on a terminal: below the lines that say what happened, drawn again and again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from fsseg_bench.progress import about
from fsseg_bench.report.model import printable
from fsseg_bench.sweeps.lines import Lines, minutes
from fsseg_bench.sweeps.plan import Plan, records_of
from fsseg_bench.sweeps.states import CellState, state_of

_LOOK = 2.0
"""Seconds between two looks at the records of what is at work."""
_ROWS = 12


class Screen(Lines):
    """Below the lines, what is at work: drawn again while it goes on."""

    def __init__(self, folder: Path, plan: Plan, done: int, console: Console | None = None) -> None:
        super().__init__(folder, plan, done, self._above)
        self._console = console or Console(stderr=True)
        self._at_work: dict[str, tuple[CellState, str, float]] = {}
        self.looked = 0.0
        """When the records were."""
        self._live = Live(Text(""), console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(self, *error: Any) -> None:
        """Takes it away."""
        self._live.stop()

    def began(self, state: CellState, where: str) -> None:
        """As for lines, and one row more."""
        super().began(state, where)
        self._at_work[state.cell.label] = (state, where, time.monotonic())
        self.beat()

    def ended(self, state: CellState, code: int | None, seconds: float) -> None:
        """As for lines, and one row less."""
        self._at_work.pop(state.cell.label, None)
        super().ended(state, code, seconds)
        self.beat()

    def beat(self) -> None:
        """Draws it again, with what the records say now."""
        if time.monotonic() - self.looked >= _LOOK:
            self.looked = time.monotonic()
            root = records_of(self._folder)
            for label, (before, where, begun) in self._at_work.items():
                self._at_work[label] = (state_of(root, self._folder, self._plan, before.cell), where, begun)
        rows = [Text(row, no_wrap=True, overflow="ellipsis") for row in self._rows()]
        self._live.update(Group(*rows), refresh=True)

    def _above(self, line: str) -> None:
        self._console.print(printable(line), markup=False, highlight=False, soft_wrap=True)

    def _rows(self) -> list[str]:
        rows = [f"{self.done} of {len(self._plan.cells)} cells done, {len(self._at_work)} at work"]
        if self.lost:
            rows[0] += f", {self.lost} failed"
        for label, (state, where, begun) in [*self._at_work.items()][:_ROWS]:
            parts = (where, _steps(state), minutes(time.monotonic() - begun), _left(state))
            rows.append(f"  {label}: {', '.join(filter(None, parts))}")
        more = len(self._at_work) - _ROWS
        return [*rows, f"  and {more} more"] if more > 0 else rows


def _steps(state: CellState) -> str:
    if state.train < state.cell.train:
        return f"iteration {state.train:,} of {state.cell.train:,}"
    return f"episode {state.evaluated:,} of {state.cell.evaluate:,}"


def _left(state: CellState) -> str:
    return f"{about(state.seconds_left)} left" if state.seconds_left else ""
