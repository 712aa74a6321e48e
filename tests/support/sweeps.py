"""Sweeps planned by hand: their cells are records of :mod:`tests.support.runs`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsseg_bench.records.info import run_folder
from fsseg_bench.records.settings import RunSettings, identity_hash
from fsseg_bench.sweeps.plan import Cell, Needs, Plan, sweep_folder, write_plan
from tests.support.fresh import ROOT
from tests.support.runs import settings

TRAIN, EPISODES = 100, 3
_HOLD = """
import sys
from pathlib import Path
from fsseg_bench.storage.lock import FolderLock
with FolderLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def cell(root: Path, label: str, run: RunSettings | None = None, **changes: Any) -> Cell:
    """The cell that makes the run, whose record is in ``root``; without one that of the label as a method's name."""
    run = run or settings(method=label)
    folder = str(run_folder(root, run).relative_to(root))
    values: dict[str, Any] = {"folder": folder, "identity": run.identity, "train": TRAIN, "evaluate": EPISODES}
    return Cell(label=label, command=("run", label), **(values | changes))


def cell_of_checkpoint(root: Path, label: str, training: Cell, run: RunSettings) -> Cell:
    """The cell that evaluates the checkpoint that the cell ``training`` makes."""
    known = run.without("checkpoint_digest")
    folder = str(run_folder(root, run).relative_to(root)).rpartition("-")[0] + "-*"
    return cell(root, label, run, folder=folder, identity=identity_hash(known), train=0, waits_for=training.label)


def planned(root: Path, cells: Sequence[Cell], name: str = "table", **needs: Any) -> Path:
    """The folder of a sweep with a plan of these cells."""
    plan = Plan(1, name, "s" * 64, "c" * 64, "2026-01-01T00:00:00+00:00", Needs(**needs), {}, {}, tuple(cells))
    folder = sweep_folder(root, name)
    folder.mkdir(parents=True, exist_ok=True)
    write_plan(folder, plan)
    return folder


@contextmanager
def held(folder: Path) -> Iterator[int]:
    """The id of a process that has the lock of the folder."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield process.pid
        finally:
            process.communicate()
