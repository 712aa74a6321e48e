"""A backend that says it is a GPU beside the CPU, where everything is computed: it notes copies, and memory may end."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fsseg_bench.engine.device import Backend


class NoMemoryError(Exception):
    """What the backend calls out of memory."""


class Beside(Backend):
    """Put into ``BACKENDS`` in the CPU's place."""

    is_gpu = True

    def __init__(self, free: int = 2**40) -> None:
        """``free`` bytes of memory are free."""
        self.free = free
        self.done: list[str] = []
        """``sent``, ``fetching`` (to the host), ``waited`` (for it) and ``released``, in order; users add to it."""

    def free_memory(self, device: torch.device) -> int:
        """As stated."""
        return self.free

    def is_out_of_memory(self, error: BaseException) -> bool:
        """The one kind of error."""
        return isinstance(error, NoMemoryError)

    def release_memory(self, device: torch.device) -> None:
        """Noted."""
        self.done.append("released")

    def to_device(self, tensor: Tensor, device: torch.device) -> Tensor:
        """A copy, so that nothing is shared with the host."""
        self.done.append("sent")
        return tensor.clone()

    def to_host(self, tensor: Tensor) -> Callable[[], Tensor]:
        """A copy of what the tensor is now."""
        self.done.append("fetching")
        copy = tensor.clone()

        def wait() -> Tensor:
            self.done.append("waited")
            return copy

        return wait
