"""Whether two folders of records hold the same runs with the same numbers, byte for byte where nothing is timed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from fsseg_bench.engine.checkpoint import load_state
from fsseg_bench.records.info import (
    CHECKPOINT_FILE,
    EPISODES_FILE,
    EVALUATED_FILE,
    PREDICTIONS_FILE,
    TABLE_FILE,
    TRAIN_FILE,
)
from fsseg_bench.records.read import StoredRun, find_records

_FILES = (EPISODES_FILE, PREDICTIONS_FILE, TRAIN_FILE, TABLE_FILE, EVALUATED_FILE)
_SAID = ("identity", "settings", "scores", "episodes", "files", "training", "lines")
"""Of run.json; ``episodes`` is the seal. Its other keys tell of time and machine."""


def same_records(first: Path, second: Path) -> int:
    """Asserts that both folders hold the same records, all done, with equal content; how many they are."""
    told, count = differing(first, second)
    assert not told, told
    assert count, f"no records under {first}"
    return count


def differing(first: Path, second: Path) -> tuple[list[str], int]:
    """What differs, in words that begin with the record's folder; and how many records both folders hold."""
    ours, theirs = _records(first), _records(second)
    told = [f"{name}: only in one of the folders" for name in sorted(ours.keys() ^ theirs.keys())]
    both = sorted(ours.keys() & theirs.keys())
    for name in both:
        told += [f"{name}: {what}" for what in _of_run(ours[name], theirs[name])]
    return told, len(both)


def _records(root: Path) -> dict[str, StoredRun]:
    runs, warnings = find_records(root)
    assert not warnings, warnings
    return {str(run.folder.relative_to(root)): run for run in runs}


def _of_run(one: StoredRun, other: StoredRun) -> list[str]:
    told = [f"is {run.status}" for run in (one, other) if run.status != "done"]
    told += [name for name in _FILES if _bytes(one.folder / name) != _bytes(other.folder / name)]
    told += [f"run.json: {key}" for key in _SAID if one.info.document.get(key) != other.info.document.get(key)]
    checkpoints = [run.folder / CHECKPOINT_FILE for run in (one, other)]
    if any(path.exists() for path in checkpoints):
        if not all(path.exists() for path in checkpoints):
            return [*told, f"{CHECKPOINT_FILE}: only one has it"]
        states = [vars(load_state(path)) for path in checkpoints]
        told += [f"{CHECKPOINT_FILE}: {key}" for key in states[0] if not _equal(states[0][key], states[1][key])]
    return told


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _equal(one: Any, other: Any) -> bool:
    """With tensors inside tables and lists."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(_equal(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)
