"""A sweep of true runs, as small as they can be, made by the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fsseg_bench.sweeps.plan import read_plan, sweep_folder
from fsseg_bench.sweeps.states import states_of
from tests.support.fakes import until
from tests.support.fresh import ROOT
from tests.support.same_records import same_records
from tests.support.shapes_sweep import write_sweep


class RealSweep:
    """Two folds of shapes5i, for the CPU."""

    def __init__(self, folder: Path, more: str) -> None:
        """``more`` is added to the sweep's file."""
        self.root = folder / "runs"
        self.folder = sweep_folder(self.root, "real")
        self._file = write_sweep(folder / "real.toml", self.root, more=more)

    def command(self, *words: str) -> subprocess.Popen[bytes]:
        """``fsseg-bench sweep FILE ...``, begun."""
        return subprocess.Popen([sys.executable, "-m", "fsseg_bench", "sweep", str(self._file), *words], cwd=ROOT)

    @contextmanager
    def held(self, count: int) -> Iterator[None]:
        """So many cells have recorded some episodes, and stand still inside: none is done before another one begins."""
        processes: set[int] = set()

        def caught() -> bool:
            for one in states_of(self.folder):
                if one.state == "running" and one.evaluated > 4 and one.holder is not None:
                    with suppress(ProcessLookupError):  # done meanwhile
                        os.kill(one.holder.process, signal.SIGSTOP)
                        processes.add(one.holder.process)
            return len(processes) >= count

        until((self.folder / "plan.json").exists)
        try:
            until(caught)
            yield
        finally:
            for process in processes:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGCONT)

    def as_undisturbed(self, by_hand: Path) -> None:
        """All runs are done, and as those that nobody disturbed, each by its command alone."""
        cells = read_plan(self.folder).cells
        for cell in cells:
            words = [str(by_hand) if word == str(self.root) else word for word in cell.command]
            subprocess.run([sys.executable, "-m", "fsseg_bench", *words, "--quiet"], cwd=ROOT, check=True)
        assert same_records(by_hand, self.root) == len(cells) == 2
