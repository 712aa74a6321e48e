"""States that a training kept on its way (``run --keep-checkpoints N``), and what each counts on the test episodes.

``kept/step-000200.pt`` holds the parameters after 200 steps. ``kept/step-000200.jsonl`` is made later, by ``conventions
--checkpoints``: its first line says of which state it is, then there is a line for each episode.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fsseg_bench.protocol.spec import RESOLUTIONS
from fsseg_bench.records.lines import Chain, read_lines
from fsseg_bench.records.read import RecordError, StoredRun
from fsseg_bench.records.sweep import counts_of_values

if TYPE_CHECKING:
    from fsseg_bench.conventions import Int64

KEPT_FOLDER: Final = "kept"
_STATE = re.compile(r"step-(\d{6,})\.pt")
_COUNTS = re.compile(r"step-(\d{6,})\.jsonl")
_OF_STATE = ("kept", "state", "identity")


@dataclass(frozen=True, eq=False)
class KeptCounts:
    """What a kept state counts on the E test episodes of its run, N ways."""

    step: int
    """Training steps before it."""
    input: Int64
    """(E, N+1, N+1) pixels at the protocol's input size: rows are labels, columns predictions."""
    native: Int64
    """The same at the query's native size."""


def equal_steps(count: int, iterations: int) -> tuple[int, ...]:
    """After which of ``iterations`` steps ``count`` states are kept: equally spaced, the last one included."""
    steps = (part * iterations // count for part in range(1, count + 1))
    return tuple(dict.fromkeys(step for step in steps if step))


def state_path(folder: Path, step: int) -> Path:
    """Where a run keeps its state after ``step`` steps."""
    return folder / KEPT_FOLDER / f"step-{step:06d}.pt"


def counts_path(folder: Path, step: int) -> Path:
    """Where the counts of that state belong."""
    return state_path(folder, step).with_suffix(".jsonl")


def kept_steps(folder: Path) -> tuple[int, ...]:
    """After which steps a run has kept its state."""
    return _steps(folder, _STATE)


def kept_header(run: StoredRun, step: int, state: str) -> dict[str, Any]:
    """The first line of counts; ``state`` is the SHA-256 of the state's file."""
    return {"kept": step, "state": state, "identity": run.info.identity}


def same_state(header: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two first lines are of the same state."""
    return all(header.get(key) == other.get(key) for key in _OF_STATE)


def find_kept(run: StoredRun) -> tuple[KeptCounts, ...]:
    """The counts of all states of which all episodes are counted, in the order of their steps.

    Raises:
        RecordError: the run is not done; a file is damaged, was edited, or belongs to another run or state.
    """
    found = (_counts(run, step) for step in _steps(run.folder, _COUNTS))
    return tuple(one for one in found if one is not None)


def _steps(folder: Path, name: re.Pattern[str]) -> tuple[int, ...]:
    files = (folder / KEPT_FOLDER).iterdir() if (folder / KEPT_FOLDER).is_dir() else ()
    return tuple(sorted(int(found[1]) for file in files if (found := name.fullmatch(file.name))))


def _counts(run: StoredRun, step: int) -> KeptCounts | None:
    path, recorded = counts_path(run.folder, step), run.counts()
    header, *rows = read_lines(path, Chain(run.info.identity, required=True)) or [{}]
    if len(rows) < len(recorded.classes):
        return None
    if not same_state(header, kept_header(run, step, str(header.get("state")))):
        raise RecordError(f"{path}: belongs to another run or another state; remove it and count again")
    if [row.get("episode") for row in rows] != list(range(len(recorded.classes))):
        raise RecordError(f"{path}: the episodes are not numbered 0, 1, 2, ...; remove it and count again")
    at_input, native = (counts_of_values(rows, key, 1, getattr(recorded, key), path)[0] for key in RESOLUTIONS)
    return KeptCounts(step, at_input, native)
