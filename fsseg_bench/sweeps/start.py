"""Before the first cell: what a sweep needs of its folder, and the engines by their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from fsseg_bench.storage.lock_test import locks_hold
from fsseg_bench.sweeps.engine import Engine
from fsseg_bench.sweeps.on_local import LocalEngine, gpus_here, local_slots, slots_words
from fsseg_bench.sweeps.plan import Plan, records_of
from fsseg_bench.sweeps.room import check_room
from fsseg_bench.sweeps.states import CellState, states_of

EngineName = Literal["local", "slurm", "ray"]


def ready(folder: Path, plan: Plan, say: Callable[[str], None], *, ignore_disk: bool = False) -> list[CellState]:
    """The states of a sweep's cells, once it is known that what is left of them can be written.

    Says what locks do on the file system of the records, where they are not all that is needed.

    Raises:
        LaterError: there seems to be too little room on the disk, unless that is to be ignored.
        UserError: the folder of records cannot be written.
    """
    root, states = records_of(folder), states_of(folder, plan)
    if not ignore_disk:
        check_room(root, states)
    if any(state.state != "done" for state in states) and (words := locks_hold(root).words):
        say(words)
    return states


def engine_for(
    folder: Path, plan: Plan, name: EngineName, say: Callable[[str], None], *, jobs: int | None = None
) -> tuple[Engine, str]:
    """What makes the cells of a sweep while its driver waits, ``local`` or ``ray``; and where that is, in words.

    Raises:
        UserError: it is not there, or a cell needs what it does not have.
    """
    if name == "ray":
        from fsseg_bench.sweeps.on_ray import RayEngine

        return RayEngine(folder, plan, tell=say), "on Ray"
    slots = local_slots(plan, gpus_here(plan), jobs)
    return LocalEngine(folder, plan, slots), slots_words(slots)


def submit_cells(
    folder: Path,
    plan: Plan,
    states: Sequence[CellState],
    *,
    keep_failed: bool,
    wait: bool,
    say: Callable[[str], None],
) -> list[CellState]:
    """Gives to Slurm what is left of a sweep; the states then, or with ``wait`` when no job of it is left.

    Raises:
        UserError: as :func:`fsseg_bench.sweeps.on_slurm.submit`.
    """
    from fsseg_bench.sweeps import on_slurm

    out = {"done", "failed", "gave up"} if keep_failed else {"done"}
    left = [state.cell for state in states if state.state not in out]
    if left:
        on_slurm.submit(folder, plan, left, say=say)
    return on_slurm.wait(folder, plan, say=say) if wait else states_of(folder, plan)
