"""A sweep is planned once: its plan is kept in its folder, and made anew only where it would be another one."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from fsseg_bench.errors import MISTAKE, LockedError, UserError
from fsseg_bench.storage.lock import FolderLock
from fsseg_bench.sweeps.attempts import LOG_FILE, read_attempts
from fsseg_bench.sweeps.code_state import code_state
from fsseg_bench.sweeps.glance import last_line
from fsseg_bench.sweeps.plan import PLAN_FILE, Plan, cell_folder, read_plan, sweep_folder, write_plan
from fsseg_bench.sweeps.spec import Spec

_SECONDS = 0.5
_IDENTITY = "--identity"


def planned(
    spec: Spec,
    root: Path,
    make: Callable[[], Plan],
    say: Callable[[str], None] = lambda _: None,
    *,
    replan: bool = False,
) -> tuple[Path, Plan]:
    """The folder of a sweep, and its plan: the one that is kept there, or a new one.

    Another process that plans the sweep is waited for. Cells that are at work by an older plan go on: each has its
    command from its own driver, and its record counts in the new plan if it is a run of it.

    Args:
        spec: of the sweep.
        root: the folder of records.
        make: plans it, see :func:`fsseg_bench.engine.plan_sweep.plan_sweep`; not called where the kept plan is good.
        say: is told why a plan is made anew, and that another process is waited for.
        replan: makes it anew in any case.

    Raises:
        UserError: as ``make``, or the folder cannot be written.
    """
    folder = sweep_folder(root, spec.name)
    with _locked(folder, say):
        kept, why = kept_plan(folder, spec)
        if kept is None or replan:
            if why or replan:
                say(f"{folder / PLAN_FILE}: planned anew, {why or 'as you asked'}")
            made = make()
        else:
            gpus = kept.needs.gpus if spec.cell.gpus is None else spec.cell.gpus
            made = replace(kept, needs=replace(spec.cell, gpus=gpus), slurm=spec.slurm, ray=spec.ray)
        if made != kept:
            write_plan(folder, made)
    return folder, made


def kept_plan(folder: Path, spec: Spec) -> tuple[Plan | None, str]:
    """The plan in a sweep's folder if it is still one of ``spec``; else None and why not: no words where there is none.

    A plan is not good any more where the sweep's file asks for other cells, code, protocols or places have changed, or
    a cell refused to begin because its data have.
    """
    if not (folder / PLAN_FILE).exists():
        return None, ""
    try:
        plan = read_plan(folder)
    except UserError as error:
        return None, f"since the earlier plan cannot be read: {error}"
    if plan.spec != spec.digest:
        return None, "since the sweep's file asks for other cells"
    if plan.code != code_state(spec, folder.parent.parent):
        return None, "since code, protocols, or places of data have changed"
    begun = datetime.fromisoformat(plan.created)
    if refusing := [cell.label for cell in plan.cells if _refused(cell_folder(folder, cell), begun)]:
        return None, f"since code or data have changed: {refusing[0]} would be another run now"
    return plan, ""


def _refused(folder: Path, planned: datetime) -> bool:
    """Whether the last attempt at a cell, after it was planned, found that its run is not the planned one any more."""
    attempts = read_attempts(folder)
    if not attempts or attempts[-1].code != MISTAKE or datetime.fromisoformat(attempts[-1].begun) < planned:
        return False
    return _IDENTITY in last_line(folder / LOG_FILE)


def _locked(folder: Path, say: Callable[[str], None]) -> FolderLock:
    with suppress(LockedError):
        return FolderLock(folder)
    say(f"{folder}: another process plans this sweep; waiting for it")
    while True:
        time.sleep(_SECONDS)
        with suppress(LockedError):
            return FolderLock(folder)
