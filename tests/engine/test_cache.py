"""The feature cache: least recently used goes first, and the budget holds."""

from __future__ import annotations

import torch

from fsseg_bench.engine.cache import GIB, Budget, FeatureCache, default_budget
from fsseg_bench.engine.device import BACKENDS, CudaBackend

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


def test_the_device_tier_spills_to_the_host(monkeypatch) -> None:
    monkeypatch.setitem(BACKENDS, "meta", CudaBackend())
    cache = FeatureCache(torch.device("meta"), Budget(device=200, host=100))
    moved = []
    monkeypatch.setattr("fsseg_bench.engine.cache._to", lambda f, d: moved.append(str(d)) or f)
    for key in "abcd":
        cache.put(key, feature(ord(key)))
    assert moved == ["cpu", "cpu"]
    assert [key in cache for key in "abcd"] == [False, True, True, True]  # a: device -> host -> away
    assert cache.get("b") is not None  # promoted; c makes room
    assert moved == ["cpu", "cpu", "meta", "cpu"]
    assert all(key in cache for key in "bcd")


def test_a_stated_budget_is_kept_to() -> None:
    assert default_budget(CPU, 2.0) == Budget(0, 2 * GIB)
    assert default_budget(CPU, 0.0) == Budget(0, 0)
    assert default_budget(CPU).host > 0
