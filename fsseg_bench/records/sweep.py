"""A run's episodes counted for several values of one switch: ``sweep-<switch>.jsonl`` beside ``episodes.jsonl``.

The first line says what follows: ``{"sweep": switch, "values": [...], "identity": the run's, ...}``. Then one line an
episode: ``{"episode": i, "input": [[...], ...], "native": [[...], ...]}``, row-major counts in the order of the values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsseg_bench.records.lines import Chain, read_lines
from fsseg_bench.records.read import RecordError, StoredRun

if TYPE_CHECKING:
    from fsseg_bench.conventions import Int64


@dataclass(frozen=True, eq=False)
class Sweep:
    """The counts of a run for V values of a switch; E episodes, N ways."""

    switch: str
    values: tuple[Any, ...]
    """In the order evaluated."""
    input: Int64
    """(V, E, N+1, N+1) pixels at the protocol's input size: rows are labels, columns predictions."""
    native: Int64
    """The same at the query's native size."""


def sweep_path(folder: Path, switch: str) -> Path:
    """Where a run's sweep of ``switch`` belongs."""
    return folder / f"sweep-{re.sub(r'[^A-Za-z0-9_]', '_', switch)}.jsonl"


def sweep_header(run: StoredRun, switch: str, values: Sequence[Any]) -> dict[str, Any]:
    """The first line; what else it may hold (versions, device) does not matter."""
    return {"sweep": switch, "values": list(values), "identity": run.info.identity}


def same_sweep(header: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two first lines announce the same counts."""
    return all(header.get(key) == other.get(key) for key in ("sweep", "values", "identity"))


def find_sweep(run: StoredRun, switch: str) -> Sweep | None:
    """The run's sweep of ``switch``; None where there is none or it is not complete.

    Raises:
        RecordError: the run is not done; the file is damaged, was edited, or belongs to another run.
    """
    path = sweep_path(run.folder, switch)
    # the chain is not required: files of earlier versions have no checks
    header, *rows = read_lines(path, Chain(run.info.identity)) or [{}]
    counts = run.counts()
    if not header or len(rows) < len(counts.classes):
        return None
    values = header.get("values")
    if (
        not isinstance(values, list)
        or not values
        or any(isinstance(value, (list, dict)) for value in values)
        or not same_sweep(header, sweep_header(run, switch, values))
    ):
        raise RecordError(f"{path}: belongs to another run or another switch; remove it and sweep again")
    if [row.get("episode") for row in rows] != list(range(len(counts.classes))):
        raise RecordError(f"{path}: the episodes are not numbered 0, 1, 2, ...; remove it and sweep again")
    return Sweep(
        switch,
        tuple(values),
        counts_of_values(rows, "input", len(values), counts.input, path),
        counts_of_values(rows, "native", len(values), counts.native, path),
    )


def counts_of_values(rows: Sequence[Mapping[str, Any]], key: str, values: int, recorded: Int64, path: Path) -> Int64:
    """(V, E, N+1, N+1) from V lists of counts a row, each of which must count the same labels as the run did.

    Raises:
        RecordError: they do not; names ``path``.
    """
    import numpy as np

    side = recorded.shape[1]
    try:
        cells = np.array([row.get(key) for row in rows])
        counts = cells.reshape(len(rows), values, side, side).swapaxes(0, 1)
    except (ValueError, TypeError, OverflowError):
        raise RecordError(f"{path}: {key!r} must hold {values} lists of {side * side} numbers in every row") from None
    if counts.dtype.kind != "i" or (counts < 0).any() or (counts.sum(axis=3) != recorded.sum(axis=2)).any():
        raise RecordError(f"{path}: {key!r} does not count the labels of the run's episodes; remove it and count again")
    return counts.astype(np.int64)
