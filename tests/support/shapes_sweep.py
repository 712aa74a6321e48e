"""Sweeps of real cells that are small enough for tests: images made by code, a cut ResNet-18."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from fsseg_bench.storage.holder import holder

SECONDS = 900.0
"""Until something hangs."""
TEXT = """
out = "{out}"
[common]
dataset = "shapes5i"
method = "baseline"
backbone = "resnet18-layer3"
iterations = 2
episodes = 40
panels = 0
[grid]
fold = [{folds}]
[cell]
gpus = 0
"""


def write_sweep(path: Path, out: Path, folds: str = "1, 2", more: str = "") -> Path:
    """A sweep's file: a training of two steps and 40 episodes on each of the folds."""
    path.write_text(TEXT.format(out=out, folds=folds) + more)
    return path


def kill_at_episode(root: Path, episode: int = 8, number: int = signal.SIGKILL) -> Path:
    """Sends a signal to the process that writes the first record with so many episodes; the record's folder."""
    limit = time.monotonic() + SECONDS
    while time.monotonic() < limit:
        for path in root.rglob("episodes.jsonl"):
            if path.read_bytes().count(b"\n") >= episode and (writer := holder(path.parent)):
                os.kill(writer.process, number)
                return path.parent
        time.sleep(0.01)
    raise AssertionError("no cell came so far")
