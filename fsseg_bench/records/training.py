"""The training log: what its rows may hold, and its last losses beside those of a constant prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LAST_STEPS = 50
"""Steps at the end of a training over which its loss is averaged."""
_LARGEST = 1e30


@dataclass(frozen=True)
class LossSummary:
    """The means over the last steps of a training log."""

    steps: int
    """How many."""
    loss: float
    parts: Mapping[str, float] | None = None
    """Of a loss that has several."""
    constant_predictor: float | None = None
    """The cross-entropy of the best constant prediction on these query labels, in nats, where all steps counted
    them."""
    skipped: int | None = None
    """In fp16: how many steps of the whole training left the parameters as they were, since a gradient overflowed."""

    def to_json(self) -> dict[str, Any]:
        """As run.json holds it."""
        return {key: value for key, value in vars(self).items() if value is not None}

    def __str__(self) -> str:
        """The reference is named only beside a loss of one part: a sum of several has no such reference."""
        text = f"{self.loss:.4f} (mean of the last {self.steps} steps)"
        if self.parts is not None:
            text += f", the sum of {len(self.parts)} parts"
        elif self.constant_predictor is not None:
            text += f"; constant predictor {self.constant_predictor:.4f}"
        return text if self.skipped is None else f"{text}; {self.skipped} steps skipped, gradients overflowed in fp16"


def training_summary(rows: Sequence[Mapping[str, Any]]) -> LossSummary | None:
    """The summary of a training log; None without rows."""
    from fsseg_bench.protocol.scoring import constant_loss  # it brings numpy, which listing runs does without

    last = rows[-LAST_STEPS:]
    if not last:
        return None
    counts = [row["labels"] for row in last if "labels" in row]
    means = {name: sum(row["parts"][name] for row in last) / len(last) for name in last[0]["parts"]}
    return LossSummary(
        len(last),
        sum(row["loss"] for row in last) / len(last),
        means if len(means) > 1 else None,
        constant_loss(counts) if len(counts) == len(last) else None,
        sum("skipped" in row for row in rows) or None,
    )


def loss_row(i: int, row: Mapping[str, Any]) -> str | None:
    """What is wrong with line ``i`` of ``train.jsonl``; None where nothing is.

    Iterations may be missing before it, where a training went on after its log was damaged.
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
