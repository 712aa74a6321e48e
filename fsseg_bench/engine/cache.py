"""Features by key, kept within a memory budget."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

import torch

from fsseg_bench.engine.device import backend_of
from fsseg_bench.engine.inference import levels_of, map_levels
from fsseg_bench.method import Features

GIB = 2**30
_HOST = torch.device("cpu")
_SHARE = 0.4  # of the memory that is free at the start; the rest is for the heads, the loader and other programs


@dataclass(frozen=True)
class Budget:
    """Bytes that may be kept."""

    device: int
    host: int


def default_budget(device: torch.device, gib: float | None = None) -> Budget:
    """A share of the free memory, or ``gib`` GiB in all (0 keeps nothing)."""
    backend = backend_of(device)
    host_free = backend_of(_HOST).free_memory(_HOST)
    device_free = backend.free_memory(device) if backend.is_gpu else 0
    if gib is None:
        return Budget(int(device_free * _SHARE), int(host_free * _SHARE))
    total = int(gib * GIB)
    on_device = min(total, int(device_free * _SHARE))
    return Budget(on_device, total - on_device)


class FeatureCache:
    """Least recently used features go first: from the device to the host, from the host away.

    Holds no rule about what a key means; the caller's keys say everything that the features depend on. One cache
    serves one model state and one protocol, and lives as long as one evaluation.
    """

    def __init__(self, device: torch.device, budget: Budget) -> None:
        self._device = device
        self._beside = backend_of(device).is_gpu
        self._budget = {"device": budget.device if self._beside else 0, "host": budget.host}
        self._used = {"device": 0, "host": 0}
        self._kept: dict[str, OrderedDict[Hashable, Features]] = {"device": OrderedDict(), "host": OrderedDict()}

    @property
    def count(self) -> int:
        """How many features are kept."""
        return sum(map(len, self._kept.values()))

    @property
    def used(self) -> int:
        """Bytes that they take."""
        return sum(self._used.values())

    def holds(self, count: int) -> bool:
        """Whether so many features fit at a time, taking them to be as large as those that are kept.

        While none is kept, nothing is known, and they are taken not to fit.
        """
        return self.count > 0 and count * self.used <= sum(self._budget.values()) * self.count

    def get(self, key: Hashable) -> Features | None:
        """The features of ``key`` on the device, or None."""
        for tier in ("device", "host"):
            kept = self._kept[tier]
            if key in kept:
                kept.move_to_end(key)
                return kept[key] if tier == "device" or not self._beside else self._promote(key)
        return None

    def __contains__(self, key: Hashable) -> bool:
        return key in self._kept["device"] or key in self._kept["host"]

    def put(self, key: Hashable, features: Features) -> None:
        """Keeps ``features`` (on the device) as far as the budget allows."""
        self._insert("device" if self._beside else "host", key, features)

    def shrink(self) -> bool:
        """Halves what may be kept on the device, from what is there now; returns whether that frees anything."""
        used = self._used["device"]
        self._budget["device"] = min(self._budget["device"], used) // 2
        self._evict("device", 0)
        return used > 0

    def _promote(self, key: Hashable) -> Features:
        features = self._kept["host"].pop(key)
        self._used["host"] -= _size(features)
        moved = _to(features, self._device)
        self._insert("device", key, moved)
        return moved

    def _insert(self, tier: str, key: Hashable, features: Features) -> None:
        size = _size(features)
        if size > self._budget[tier]:
            if tier == "device":
                self._insert("host", key, _to(features, _HOST))
            return
        self._evict(tier, size)
        self._kept[tier][key] = features
        self._used[tier] += size

    def _evict(self, tier: str, size: int) -> None:
        """Makes room for ``size`` bytes."""
        while self._used[tier] + size > self._budget[tier]:
            key, features = self._kept[tier].popitem(last=False)
            self._used[tier] -= _size(features)
            if tier == "device":
                self._insert("host", key, _to(features, _HOST))


def _size(features: Features) -> int:
    return sum(level.nbytes for level in levels_of(features))


def _to(features: Features, device: torch.device) -> Features:
    return map_levels(lambda level: level.to(device), features)
