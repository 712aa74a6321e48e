"""The feature cache: least recently used goes first, and the budget holds."""

from __future__ import annotations

import pytest
import torch

from fsseg_bench.engine.cache import GIB, Budget, FeatureCache, default_budget
from fsseg_bench.engine.device import BACKENDS, CudaBackend
from tests.support.beside import Beside

CPU = torch.device("cpu")


def feature(value: float) -> torch.Tensor:
    return torch.full((25,), float(value))  # 100 bytes


def test_the_least_recently_used_goes_first() -> None:
    cache = FeatureCache(CPU, Budget(device=0, host=300))
    for key in "abc":
        cache.put(key, feature(ord(key)))
    assert cache.get("a") is not None
    cache.put("d", feature(0))
    assert "b" not in cache
    assert all(key in cache for key in "acd")


def test_what_is_larger_than_the_budget_is_not_kept() -> None:
    cache = FeatureCache(CPU, Budget(device=0, host=150))
    cache.put("small", feature(1))
    cache.put("large", (feature(1), feature(2)))
    assert "large" not in cache
    assert "small" in cache


def test_a_budget_of_zero_keeps_nothing() -> None:
    cache = FeatureCache(CPU, Budget(0, 0))
    cache.put("a", feature(1))
    assert cache.get("a") is None


def test_what_comes_back_is_what_was_put() -> None:
    cache = FeatureCache(CPU, Budget(0, 1000))
    levels = (feature(1), feature(2))
    cache.put("a", levels)
    back = cache.get("a")
    assert isinstance(back, tuple)
    assert all(torch.equal(x, y) for x, y in zip(levels, back, strict=True))


def test_how_many_fit_is_known_once_the_size_is() -> None:
    cache = FeatureCache(CPU, Budget(device=0, host=350))
    assert not cache.holds(1)
    cache.put("a", feature(1))
    assert cache.holds(3)
    assert not cache.holds(4)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Beside:
    backend = Beside()
    monkeypatch.setitem(BACKENDS, "cpu", backend)
    return backend


def test_the_device_tier_spills_to_the_host_without_a_wait(gpu: Beside) -> None:
    cache = FeatureCache(CPU, Budget(device=200, host=100))
    for key in "abcd":
        cache.put(key, feature(ord(key)))
    assert gpu.done == ["fetching", "fetching"]
    assert [key in cache for key in "abcd"] == [False, True, True, True]  # a: device -> host -> away
    back = cache.get("b")  # promoted; c makes room
    assert back is not None and torch.equal(back, feature(ord("b")))  # type: ignore[arg-type]
    assert gpu.done[2:] == ["waited", "sent", "fetching"]
    assert all(key in cache for key in "bcd")
    gpu.done.clear()
    assert cache.get("b") is back
    assert gpu.done == []


def test_features_of_several_levels_come_back_from_the_host(gpu: Beside) -> None:
    cache = FeatureCache(CPU, Budget(device=0, host=1000))
    levels = (feature(1), torch.arange(6.0).view(2, 3))
    cache.put("a", levels)
    back = cache.get("a")
    assert isinstance(back, tuple)
    assert all(torch.equal(x, y) for x, y in zip(levels, back, strict=True))
    assert "a" in cache


def test_what_the_host_has_no_room_for_is_not_copied_there(gpu: Beside) -> None:
    cache = FeatureCache(CPU, Budget(device=100, host=50))
    for key in "ab":
        cache.put(key, feature(1))
    assert gpu.done == []
    assert [key in cache for key in "ab"] == [False, True]


def test_pinned_memory_is_counted_as_it_is_taken(gpu: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Beside, "host_bytes", CudaBackend.host_bytes)
    for nbytes, taken in ((100, 128), (128, 128), (129, 256), (1, 1)):
        assert CudaBackend().host_bytes(torch.zeros(nbytes, dtype=torch.uint8)) == taken
    cache = FeatureCache(CPU, Budget(device=100, host=255))  # one feature of 100 bytes, not two
    for key in "abc":
        cache.put(key, feature(1))
    assert [key in cache for key in "abc"] == [False, True, True]
    assert cache.used == 100 + 128


def test_less_memory_keeps_the_latest_on_the_device(gpu: Beside) -> None:
    cache = FeatureCache(CPU, Budget(device=1000, host=1000))
    for key in "abcd":
        cache.put(key, feature(ord(key)))
    assert cache.shrink()
    assert gpu.done == ["fetching", "fetching"]  # a and b
    assert all(cache.get(key) is not None for key in "cdab")
    assert gpu.done.count("waited") == 2
    assert [cache.shrink(), cache.shrink(), cache.shrink()] == [True, True, False]
    assert all(key in cache for key in "abcd")


def test_a_stated_budget_is_kept_to() -> None:
    assert default_budget(CPU, 2.0) == Budget(0, 2 * GIB)
    assert default_budget(CPU, 0.0) == Budget(0, 0)
    assert default_budget(CPU).host > 0
