"""The pretended GPU as the engine knows it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fsseg_bench.engine.device import BACKENDS, Backend
from tests.support import pretended
from tests.support.waits import uncounted, wait


class PretendedBackend(Backend):
    """Counts one wait where a result is read, none where a copy begins."""

    is_gpu = True

    def __init__(self, memory: int = 2**33) -> None:
        self.memory = memory
        """Bytes that it says are free."""

    def describe(self, device: torch.device) -> str:
        """Its name."""
        return f"{device}: pretended"

    def synchronise(self, device: torch.device) -> None:
        """One wait."""
        wait("synchronise")

    def free_memory(self, device: torch.device) -> int:
        """As it was told."""
        return self.memory

    def to_device(self, tensor: Tensor, device: torch.device) -> Tensor:
        """Through pinned memory, unless it is there already."""
        if isinstance(tensor, pretended.Pretended):
            return tensor
        pinned = tensor if tensor.is_pinned() else tensor.pin_memory()
        return pinned.to(device, non_blocking=True)

    def to_host(self, tensor: Tensor) -> Callable[[], Tensor]:
        """One wait for each time that it is read."""
        with uncounted():
            copy = tensor.detach().cpu()

        def read() -> Tensor:
            wait("to_host")
            return copy

        return read

    def seconds_between(self, first: Any, second: Any) -> float:
        """One wait."""
        wait("seconds_between")
        return super().seconds_between(first, second)

    def mark(self, device: torch.device) -> Any:
        """A time."""
        return time.perf_counter()


def pretend(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """The pretended device, known to the engine until the test ends."""
    device = pretended.device()
    monkeypatch.setitem(BACKENDS, device.type, PretendedBackend())
    monkeypatch.setattr(Tensor, "pin_memory", pretended.pin)
    monkeypatch.setattr(Tensor, "is_pinned", pretended.is_pinned)
    return device
