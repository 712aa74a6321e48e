"""Seconds that a device spends on kinds of work, measured without waiting for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from fsseg_bench.engine.device import backend_of


class Span(NamedTuple):
    """A piece of work between two marks of a backend."""

    name: str
    begin: Any
    end: Any


class Stopwatch:
    """Lists spans of a device's work by name; their seconds are read later, when the device has passed them."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._backend = device, backend_of(device)
        self._spans: list[Span] = []

    @contextmanager
    def measuring(self, name: str) -> Iterator[None]:
        """The work that the body gives to the device is called ``name``; of a body that fails nothing is kept."""
        begin = self._backend.mark(self._device)
        yield
        self._spans.append(Span(name, begin, self._backend.mark(self._device)))

    def taken(self) -> list[Span]:
        """The spans since they were last taken."""
        spans, self._spans = self._spans, []
        return spans

    def add(self, spans: Sequence[Span], sums: dict[str, float]) -> None:
        """Adds the seconds of ``spans`` to the sums of the same names; a GPU that has not passed one is waited for."""
        for span in spans:
            sums[span.name] += self._backend.seconds_between(span.begin, span.end)
