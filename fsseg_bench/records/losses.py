"""The training log's rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LARGEST = 1e30


def loss_row(i: int, row: Mapping[str, Any]) -> str | None:
    """What is wrong with a line of ``train.jsonl``; None where nothing is.

    Args:
        i: its place; iterations may be missing before it, where a training went on after its log was damaged.
        row: the line.
    """
    iteration, parts = row.get("iteration"), row.get("parts")
    if type(iteration) is not int or iteration < i:
        return f"its iteration is {iteration!r}"
    if not isinstance(parts, Mapping) or not parts:
        return "it has no parts of the loss"
    numbers = {"loss": row.get("loss"), "lr": row.get("lr", 0.0), **parts}
    labels = row.get("labels", [0])  # none in logs of earlier versions
    if not isinstance(labels, list) or not labels or not all(type(n) is int and 0 <= n < _LARGEST for n in labels):
        return "its labels are not numbers of pixels"
    wrong = next((key for key, value in numbers.items() if not _finite(value)), None)
    return None if wrong is None else f"{wrong} is {str(numbers[wrong])[:30]}, not a number a loss can be"


def _finite(value: Any) -> bool:
    return type(value) in {int, float} and abs(value) < _LARGEST
