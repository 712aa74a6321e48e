"""What is remembered of training samples: the same wherever it lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from fsseg_bench.engine import history as module
from fsseg_bench.engine.device import BACKENDS, Backend
from fsseg_bench.engine.history import HistoryStore

CPU = torch.device("cpu")


class Transfers(Backend):
    """A GPU as far as the store knows; how many maps were copied to the host and to it."""

    is_gpu = True

    def __init__(self) -> None:
        self.out: list[int] = []
        self.back = 0

    def to_host(self, tensor: Tensor) -> Callable[[], Tensor]:
        self.out.append(len(tensor))
        copy = tensor.clone()
        return lambda: copy

    def to_device(self, tensor: Tensor, device: torch.device) -> Tensor:
        self.back += 1
        return tensor


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Transfers:
    backend = Transfers()
    monkeypatch.setitem(BACKENDS, "cpu", backend)
    return backend


def maps(keys: Sequence[str], step: int) -> Tensor:
    return torch.stack([torch.full((2, 3, 3), step + ord(key) / 1000) for key in keys])


STEPS = ("ab", "cd", "ae", "bf", "ca")


def visit(store: HistoryStore) -> list[list[Tensor | None]]:
    """What each step of a training finds, and then leaves behind."""
    found = []
    for step, keys in enumerate(STEPS):
        history = store.of(keys)
        found.append(list(history.past))
        history.keep(maps(keys, step))
        store.store(keys, history)
        store.settle()
    return found


def test_each_sample_finds_what_its_last_visit_left() -> None:
    last: dict[str, Tensor] = {}
    for step, (keys, past) in enumerate(zip(STEPS, visit(HistoryStore({}, CPU)), strict=True)):
        for key, one, new in zip(keys, past, maps(keys, step), strict=True):
            expected = last.get(key)
            assert (one is None) == (expected is None)
            if one is not None and expected is not None:
                assert one.dtype == torch.float32
                assert torch.equal(one, expected.half().float())
            last[key] = new


@pytest.mark.parametrize("kept", [0, 1, 3, 100])
def test_a_gpu_keeps_as_many_as_it_may_and_forgets_none(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = HistoryStore({}, CPU)
    found = visit(expected)
    gpu = Transfers()
    monkeypatch.setitem(BACKENDS, "cpu", gpu)
    store = HistoryStore({}, CPU, gpu_bytes=kept * 2 * 3 * 3 * 2)
    for one, other in zip(visit(store), found, strict=True):
        assert all((a is None and b is None) or torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert len(store._near) == min(kept, 6)
    moved = sum(gpu.out)
    assert (moved == 0) == (kept >= 6)
    on_host = store.on_host()
    assert sum(gpu.out) - moved == len(store._near)
    assert list(on_host) == list(expected.maps)
    assert all(torch.equal(one, expected.maps[key]) and one.dtype == torch.half for key, one in on_host.items())


def test_steps_themselves_copy_nothing_to_the_host(gpu: Transfers) -> None:
    store = HistoryStore({}, CPU, gpu_bytes=0)
    for step, keys in enumerate(STEPS):
        history = store.of(keys)
        history.keep(maps(keys, step))
        store.store(keys, history)
    assert (gpu.out, gpu.back) == ([], 0)


def test_many_maps_travel_together(gpu: Transfers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TOGETHER", 4)
    store = HistoryStore({}, CPU)
    visit(store)
    store.on_host()
    assert gpu.out == [4, 2]


def test_maps_of_a_checkpoint_go_to_the_gpu_when_they_are_asked_for(gpu: Transfers) -> None:
    store = HistoryStore({"a": torch.ones(2, 2).half(), "b": torch.ones(2, 2).half()}, CPU)
    (one, none) = store.of("ax").past
    assert one is not None
    assert torch.equal(one, torch.ones(2, 2))
    assert none is None
    assert gpu.back == 1
