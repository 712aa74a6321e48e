"""Spans of work and their seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from fsseg_bench.engine.device import BACKENDS, Backend
from fsseg_bench.engine.stopwatch import Stopwatch


class Marking(Backend):
    """Marks are numbers in order; a unit is 10 seconds. Notes when seconds are read."""

    is_gpu = True

    def __init__(self) -> None:
        self.marks = self.read = 0

    def mark(self, device: torch.device) -> int:
        self.marks += 1
        return self.marks

    def seconds_between(self, first: int, second: int) -> float:
        self.read += 1
        return 10.0 * (second - first)


@pytest.fixture
def marking(monkeypatch: pytest.MonkeyPatch) -> Iterator[Marking]:
    backend = Marking()
    monkeypatch.setitem(BACKENDS, "cpu", backend)
    yield backend


def test_seconds_are_read_when_they_are_asked_for_alone(marking: Marking) -> None:
    watch, sums = Stopwatch(torch.device("cpu")), {"outer": 1.0, "inner": 0.0}
    with watch.measuring("outer"), watch.measuring("inner"):
        pass
    assert (marking.marks, marking.read) == (4, 0)
    spans = watch.taken()
    with watch.measuring("inner"):
        pass
    watch.add(spans, sums)
    assert sums == {"outer": 31.0, "inner": 10.0}
    assert len(watch.taken()) == 1
    assert not watch.taken()


def test_of_work_that_fails_nothing_is_kept(marking: Marking) -> None:
    watch = Stopwatch(torch.device("cpu"))
    with pytest.raises(ValueError), watch.measuring("work"):
        raise ValueError
    assert not watch.taken()
