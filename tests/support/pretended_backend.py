"""The pretended GPU as the engine knows it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from fsseg_bench.engine.device import BACKENDS, Backend
from tests.support import pretended
from tests.support.waits import uncounted, wait


class Mark(NamedTuple):
    """A point in the device's work."""

    place: int
    """How many marks and copies were given to the device before it, itself included."""
    time: float
    """Seconds."""


class PretendedBackend(Backend):
    """Counts a wait where the host reads what the device is not known to have done: not where a copy begins."""

    is_gpu = True

    def __init__(self, memory: int = 2**33) -> None:
        self.memory = memory
        """Bytes that it says are free."""
        self._given = self._done = 0

    def describe(self, device: torch.device) -> str:
        """Its name."""
        return f"{device}: pretended"

    def synchronise(self, device: torch.device) -> None:
        """Waits for everything."""
        wait("synchronise")
        self._done = self._given

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
        """Waits when it is first read, unless the device was waited for since."""
        with uncounted():
            copy = tensor.detach().cpu()
        place = self._next()

        def read() -> Tensor:
            self._reach(place, "to_host")
            return copy

        return read

    def mark(self, device: torch.device) -> Mark:
        """The place, and the time."""
        return Mark(self._next(), time.perf_counter())

    def seconds_between(self, first: Mark, second: Mark) -> float:
        """Waits unless the device is past the second."""
        self._reach(second.place, "seconds_between")
        return second.time - first.time

    def _next(self) -> int:
        self._given += 1
        return self._given

    def _reach(self, place: int, call: str) -> None:
        if place > self._done:
            wait(call)
            self._done = place


def pretend(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """The pretended device, known to the engine until the test ends."""
    device = pretended.device()
    monkeypatch.setitem(BACKENDS, device.type, PretendedBackend())
    monkeypatch.setattr(pretended.MODULE, "available", True)
    monkeypatch.setattr(Tensor, "pin_memory", pretended.pin)
    monkeypatch.setattr(Tensor, "is_pinned", pretended.is_pinned)
    return device
