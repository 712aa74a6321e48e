"""The losses of training steps, read late: asking a GPU for a number makes this process wait for all its work."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fsseg_bench.engine.device import backend_of
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.scoring import constant_loss
from fsseg_bench.records.lines import Row


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
    skipped: bool = False
    """Whether the parameters stayed as they were, since a gradient had no finite number in fp16."""

    def row(self, values: Sequence[float]) -> Row:
        """The step's line of the training log: the minimised sum, the parts that the method named, the queries' pixels
        with each label, and the cross-entropy of the best constant prediction on them, in nats; ``skipped`` where it
        was."""
        *parts, total = values
        row = {
            "iteration": self.iteration,
            "lr": self.lr,
            "loss": total,
            "parts": dict(zip(self.parts, parts, strict=True)),
            "labels": self.labels,
            "constant": constant_loss(self.labels),
        }
        return {**row, "skipped": True} if self.skipped else row


def stacked(parts: dict[str, Tensor], total: Tensor) -> Tensor:
    """Named scalars and their sum as :attr:`StepLosses.values`, exact whatever their precision."""
    return torch.stack([value.detach().double() for value in (*parts.values(), total)])


def read(steps: Sequence[StepLosses], device: torch.device) -> Iterator[tuple[StepLosses, Row]]:
    """Each step with its row, in order, after one wait for all of them.

    Raises:
        UserError: a loss is not finite; the steps before it have been given.
    """
    if not steps:
        return
    values = backend_of(device).to_host(torch.cat([step.values for step in steps]))().tolist()
    at = 0
    for step in steps:
        own = values[at : (at := at + len(step.parts) + 1)]
        if not math.isfinite(own[-1]):
            told = ", ".join(f"{name} {value:.3g}" for name, value in zip(step.parts, own, strict=False))
            raise UserError(
                f"training stopped at iteration {step.iteration}: the loss is not finite ({told}). The last checkpoint "
                "before it is kept. Lower the rate (--set recipe.lr=...), warm up (--set recipe.warmup=...) or clip "
                "gradients (--set recipe.clip=...)"
            )
        yield step, step.row(own)
