"""The engines by their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol

from fsseg_bench.sweeps.engine import Engine
from fsseg_bench.sweeps.on_local import LocalEngine, gpus_here, local_slots
from fsseg_bench.sweeps.plan import Plan
from fsseg_bench.sweeps.states import CellState, states_of

EngineName = Literal["local", "slurm", "ray"]


class _Told(Engine, Protocol):
    words: str
    """How many cells are made at a time, and where."""


def engine_for(folder: Path, plan: Plan, name: str, *, jobs: int | None = None) -> _Told:
    """What makes the cells of a sweep while its driver waits: ``local`` or ``ray``.

    Raises:
        UserError: it is not there, or a cell needs what it does not have.
    """
    if name == "ray":
        from fsseg_bench.sweeps.on_ray import RayEngine

        return RayEngine(folder, plan)
    return LocalEngine(folder, plan, local_slots(plan, gpus_here(plan), jobs))


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
