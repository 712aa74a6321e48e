"""A sweep of cells that compute nothing, see :mod:`tests.support.fakes`, planned with what an engine wants to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from fsseg_bench.sweeps.attempts import Attempt, read_attempts
from fsseg_bench.sweeps.plan import Plan, cell_folder, read_plan, write_plan
from fsseg_bench.sweeps.states import states_of
from tests.support.fakes import EPISODES, doubles, episodes, fake, until
from tests.support.sweeps import planned

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
MAKES: Final = {}
WAITS: Final = {"waits": 1}
"""After one episode, until :meth:`FakeSweep.go`, or until it is stopped."""
FAILS: Final = {"after": 0, "code": 2, "says": "error: this can never be"}
FALLS: Final = {"after": 0, "signal": 9}


class FakeSweep:
    """The sweep, planned."""

    def __init__(
        self,
        folder: Path,
        turns: Mapping[str, Mapping[str, Any]],
        waits_for: Mapping[str, str] = NOTHING,
        slurm: Mapping[str, Any] = NOTHING,
        ray: Mapping[str, Any] = NOTHING,
        **needs: Any,
    ) -> None:
        """``turns`` by the labels of the cells; ``needs`` of one cell, beside a GPU and a thread."""
        self.root = folder / "it's 100% here"  # what shells and Slurm have a meaning for
        cells = [fake(self.root, label, dict(turn), waits_for=waits_for.get(label)) for label, turn in turns.items()]
        self.folder = planned(self.root, cells, **{"gpus": 1, "threads": 1, **needs})
        write_plan(self.folder, replace(read_plan(self.folder), slurm=slurm, ray=ray))

    @property
    def plan(self) -> Plan:
        """As it is on the disk."""
        return read_plan(self.folder)

    def states(self) -> dict[str, str]:
        """Of the cells."""
        return {state.cell.label: state.state for state in states_of(self.folder)}

    def attempts(self, label: str) -> list[Attempt]:
        """At a cell."""
        return read_attempts(cell_folder(self.folder, self.plan.by_label[label]))

    def codes(self, label: str) -> list[int | None]:
        """How the attempts at a cell have ended."""
        return [attempt.code for attempt in self.attempts(label)]

    def waiting(self) -> list[str]:
        """The cells that have recorded one episode."""
        paths = [(cell.label, self.root / cell.folder / "episodes.jsonl") for cell in self.plan.cells]
        return [label for label, path in paths if path.exists() and path.read_bytes().count(b"\n") == 1]

    def until_waiting(self, *labels: str) -> None:
        """Waits until cells wait in their middle."""
        until(lambda: set(labels) <= set(self.waiting()))

    def go(self) -> None:
        """Lets the cells go on that wait in the middle."""
        (self.root / "fakes" / "go").touch()

    def made_once(self) -> None:
        """All cells are done, each episode was made once, and nobody was at a cell at the same time as another."""
        assert set(self.states().values()) == {"done"}
        assert all(episodes(self.root, cell) == list(range(EPISODES)) for cell in self.plan.cells)
        assert doubles(self.root) == []
