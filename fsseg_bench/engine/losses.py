"""The losses of training steps, read late: asking a GPU for a number makes this process wait for all its work."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fsseg_bench.engine.device import backend_of
from fsseg_bench.errors import TrainingError
from fsseg_bench.protocol.scoring import constant_loss
from fsseg_bench.records.lines import Row

_LEAST_SCALE = 2.0**-10  # it begins at 2 ** 16, and no gradient that helps is as large as what overflows here


@dataclass(frozen=True)
class StepLosses:
    """The losses of one step, still on the device."""

    iteration: int
    lr: float
    parts: tuple[str, ...]
    """The names that the method gave them."""
    values: Tensor
    """(P + 1,) float64: the parts and then their sum, which is minimised."""
    labels: list[int]
    """Pixels of the batch's queries with each label 0..N."""
    images: int
    """Supports and queries of the step."""
    scales: Tensor | None = None
    """(2,) float64, in fp16: by how much losses were multiplied in this step, and are in the next. Where it fell, a
    gradient overflowed and the parameters stayed as they were."""

    def row(self, values: Sequence[float]) -> Row:
        """The step's line of the training log: the minimised sum, the parts that the method named, the queries' pixels
        with each label, and the cross-entropy of the best constant prediction on them, in nats; ``skipped`` where it
        was."""
        count = len(self.parts)
        parts, total, scales = values[:count], values[count], values[count + 1 :]
        row = {
            "iteration": self.iteration,
            "lr": self.lr,
            "loss": total,
            "parts": dict(zip(self.parts, parts, strict=True)),
            "labels": self.labels,
            "constant": constant_loss(self.labels),
        }
        return {**row, "skipped": True} if scales and scales[1] < scales[0] else row


def stacked(parts: dict[str, Tensor], total: Tensor) -> Tensor:
    """Named scalars and their sum as :attr:`StepLosses.values`, exact whatever their precision."""
    return torch.stack([value.detach().double() for value in (*parts.values(), total)])


def read(steps: Sequence[StepLosses], device: torch.device) -> Iterator[tuple[StepLosses, Row]]:
    """Each step with its row, in order, after one wait for all of them.

    Raises:
        TrainingError: a loss is not finite, or gradients are not whatever losses are multiplied by; the steps before it
            have been given.
    """
    if not steps:
        return
    own = [torch.cat((step.values, *([] if step.scales is None else [step.scales]))) for step in steps]
    values = backend_of(device).to_host(torch.cat(own))().tolist()
    at = 0
    for step, size in zip(steps, map(len, own), strict=True):
        found = values[at : (at := at + size)]
        row = step.row(found)
        if not math.isfinite(row["loss"]):
            told = ", ".join(f"{name} {value:.3g}" for name, value in row["parts"].items())
            raise TrainingError(
                f"training stopped at iteration {step.iteration}: the loss is not finite ({told})",
                ". The last checkpoint before it is kept. Lower the rate (--set {recipe}.lr=...), warm up "
                "(--set {recipe}.warmup=...) or clip gradients (--set {recipe}.clip=...)",
            )
        if "skipped" in row and found[-1] < _LEAST_SCALE:
            raise TrainingError(
                f"training stopped at iteration {step.iteration}: gradients are not finite in fp16 even of losses "
                f"times {found[-1]:.3g}",
                ". The last checkpoint before it is kept. Use --precision bf16 or fp32, or lower the rate "
                "(--set {recipe}.lr=...)",
            )
        yield step, row
