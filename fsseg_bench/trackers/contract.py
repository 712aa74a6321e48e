"""What a tracker is told of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

PROJECT = "fsseg-bench"
"""What the runs belong to, where a tracker keeps several projects."""

Ending = Literal["done", "stopped", "failed"]


@dataclass(frozen=True)
class TrackedRun:
    """A run as a tracker presents it."""

    title: str
    """For people: protocol, fold, method, backbone, seed."""
    identity: str
    """The hash that tells the run from others: the same command again goes on with the same run."""
    folder: Path
    """Of the record."""
    config: Mapping[str, Any]
    """The run's settings, nested, in JSON's types."""

    def flat(self) -> dict[str, str | int | float | bool]:
        """The settings by dotted names, lists and None as text."""
        return dict(_flat("", self.config))


def _flat(prefix: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [pair for key, one in value.items() for pair in _flat(f"{prefix}.{key}".strip("."), one)]
    return [(prefix, value if isinstance(value, str | int | float | bool) else str(value))]


class Tracker(Protocol):
    """One tracker, for one run. Whatever it raises is told once, and the run goes on without it."""

    def begin(self, run: TrackedRun, step: int) -> None:
        """Opens the run, before whose training step ``step`` (from 0) nothing new comes: it may have been stopped."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Figures of a training step."""

    def finish(self, scores: Mapping[str, float], ending: Ending) -> None:
        """Closes the run; scores are there where it is done."""
