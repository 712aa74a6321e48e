"""Runs by several processes: what ``torchrun`` starts in tests, and how they start it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fsseg_bench.engine import run_training
from fsseg_bench.engine.batch import plan_all
from fsseg_bench.engine.jobs import run_all
from fsseg_bench.engine.train import Cadence, Trainer
from fsseg_bench.machine import stopping
from tests.support.tiny_run import tiny_request

_ROOT = Path(__file__).parents[2]
_SECONDS = 900


def torchrun(words: Sequence[str], processes: int = 2) -> subprocess.CompletedProcess[str]:
    """The end of a command of so many processes on this machine, each on one thread."""
    path = os.pathsep.join([str(_ROOT), str(_ROOT / "methods"), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *words],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )


def run_several(
    folder: Path, requests: Sequence[dict[str, Any]], signal_at: int = -1, number: int = signal.SIGKILL
) -> subprocess.CompletedProcess[str]:
    """Tiny requests, one after the other, by two processes, with a checkpoint every second step; the second process
    gets a signal when it begins a step."""
    given = {"folder": str(folder), "requests": list(requests), "signal_at": signal_at, "number": number}
    return torchrun(["-m", "tests.support.several", json.dumps(given)])


def _main() -> None:
    given = json.loads(sys.argv[1])
    run_training.Cadence = lambda *_: Cadence(iterations=2)
    step = Trainer.step

    def signalled(self: Trainer, optimizer: Any, batch: Any, iteration: int) -> None:
        if iteration == given["signal_at"] and os.environ["RANK"] == "1":
            os.kill(os.getpid(), given["number"])
        step(self, optimizer, batch, iteration)

    Trainer.step = signalled
    requests = [tiny_request(Path(given["folder"]), **changes) for changes in given["requests"]]
    with stopping.listening():
        try:
            run_all(plan_all(requests, {}), {})
        except stopping.Stopped:
            print(f"process {os.environ['RANK']} is stopped", flush=True)
            sys.exit(143)


if __name__ == "__main__":
    _main()
