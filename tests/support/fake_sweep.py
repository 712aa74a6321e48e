"""A sweep of cells that take no time; see :mod:`tests.support.fake_cell`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fsseg_bench.sweeps.attempts import Attempt, read_attempts
from fsseg_bench.sweeps.plan import Plan, cell_folder, read_plan, write_plan
from fsseg_bench.sweeps.states import states_of
from tests.support.fake_cell import GO
from tests.support.fresh import python
from tests.support.slurm import until
from tests.support.sweeps import cell, planned

NOTHING: Mapping[str, Any] = MappingProxyType({})


class FakeSweep:
    """The sweep, planned."""

    def __init__(
        self,
        folder: Path,
        behaviours: Mapping[str, str],
        waits_for: Mapping[str, str] = NOTHING,
        slurm: Mapping[str, Any] = NOTHING,
        ray: Mapping[str, Any] = NOTHING,
        **needs: Any,
    ) -> None:
        """``behaviours`` by the labels of the cells; ``needs`` of one cell, beside a GPU and a thread."""
        self.root = folder / "it's 100% here"  # what shells and Slurm have a meaning for
        cells = [
            replace(
                cell(self.root, label, train=0, waits_for=waits_for.get(label)),
                command=("run", str(self.root), label, behaviour),
            )
            for label, behaviour in behaviours.items()
        ]
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

    def episodes(self, label: str) -> bytes:
        """That are recorded of a cell; nothing when it was not begun."""
        path = self.root / self.plan.by_label[label].folder / "episodes.jsonl"
        return path.read_bytes() if path.exists() else b""

    def until_in_the_middle(self, *labels: str) -> None:
        """Waits until cells have recorded one episode and wait for :meth:`go`."""
        for label in labels:
            until(lambda label=label: self.episodes(label).count(b"\n") == 1, f"{label} is in the middle")  # type: ignore[misc]

    def go(self) -> None:
        """Lets the cells go on that wait in the middle."""
        (self.root / GO).touch()


def undisturbed(folder: Path, label: str) -> bytes:
    """The episodes that a cell records when nothing happens to it."""
    root = folder / "undisturbed"
    python(
        "import sys; from pathlib import Path; from tests.support.fake_cell import main\n"
        f"sys.exit(main(Path({str(root)!r}), {label!r}, 'makes'))"
    )
    (path,) = root.rglob("episodes.jsonl")
    return path.read_bytes()
