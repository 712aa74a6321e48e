"""What a training log says in the end: its last losses, beside those of a predictor that looks at no image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fsseg_bench.protocol.constant import constant_loss

LAST_STEPS = 50
"""Steps at the end of a training over which its loss is averaged."""


def training_summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The means over the last steps of a training log, JSON-able; empty without rows.

    Returns:
        ``steps`` averaged over, the mean ``loss`` and, where it has several, its ``parts``; ``constant_predictor``: the
        cross-entropy of the best constant prediction on these query labels, in nats, where all steps counted them.
    """
    last = rows[-LAST_STEPS:]
    if not last:
        return {}
    counts = [row["labels"] for row in last if "labels" in row]
    means = {name: sum(row["parts"][name] for row in last) / len(last) for name in last[0]["parts"]}
    return {
        "steps": len(last),
        "loss": sum(row["loss"] for row in last) / len(last),
        **({"parts": means} if len(means) > 1 else {}),
        **({"constant_predictor": constant_loss(counts)} if len(counts) == len(last) else {}),
    }


def training_words(info: Mapping[str, Any]) -> str | None:
    """The summary in run.json's content as one line; None where there is none.

    The reference is named only beside a loss of one part: a sum of several has no such reference.
    """
    found = info.get("training")
    if not isinstance(found, Mapping):
        return None
    loss, constant, steps = (found.get(key) for key in ("loss", "constant_predictor", "steps"))
    if not isinstance(loss, float) or not isinstance(steps, int):
        return None
    text = f"{loss:.4f} (mean of the last {steps} steps)"
    parts = found.get("parts")
    if isinstance(parts, Mapping):
        return f"{text}, the sum of {len(parts)} parts"
    return f"{text}; constant predictor {constant:.4f}" if isinstance(constant, float) else text
