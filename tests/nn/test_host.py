"""Between host and device: what may be read at once, and what is sent without a wait."""

from __future__ import annotations

import pytest
import torch

from fsseg_bench.nn.host import may_look, sent
from tests.support.pretended import Pretended
from tests.support.pretended_backend import pretend
from tests.support.waits import watched


def test_on_the_cpu_nothing_is_copied() -> None:
    numbers = torch.arange(3)
    assert may_look(numbers)
    assert sent(numbers, torch.device("cpu")) is numbers


def test_elsewhere_nothing_is_looked_at_and_copies_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    device, numbers = pretend(monkeypatch), torch.arange(3)
    with watched() as waits:
        there = sent(numbers, device)
    assert waits == []
    assert not may_look(there)
    assert isinstance(there, Pretended)
    assert there.inner.tolist() == [0, 1, 2]
