"""Features by key, kept within a memory budget."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch

from fsseg_bench.engine.device import backend_of
from fsseg_bench.engine.inference import levels_of, map_levels
from fsseg_bench.machine.share import ALONE, Share
from fsseg_bench.method import Features

GIB = 2**30
V = TypeVar("V")
_HOST = torch.device("cpu")
_SHARE = 0.4  # of the memory that is free at the start; the rest is for the heads, the loader and other programs


@dataclass(frozen=True)
class Budget:
    """Bytes that may be kept."""

    device: int
    host: int


def default_budget(device: torch.device, gib: float | None = None, share: Share = ALONE) -> Budget:
    """A part of the free memory that is the run's to share, or ``gib`` GiB in all (0 keeps nothing)."""
    backend = backend_of(device)
    host_free = backend_of(_HOST).free_memory(_HOST) / share.machine
    device_free = backend.free_memory(device) / share.device if backend.is_gpu else 0
    if gib is None:
        return Budget(int(device_free * _SHARE), int(host_free * _SHARE))
    total = int(gib * GIB)
    on_device = min(total, int(device_free * _SHARE))
    return Budget(on_device, total - on_device)


@dataclass
class _Tier(Generic[V]):
    """Values by key with their sizes, the least recently used first."""

    budget: int
    used: int = 0
    kept: OrderedDict[Hashable, tuple[int, V]] = field(default_factory=OrderedDict)

    def read(self, key: Hashable) -> V:
        """The value, which is the most recently used now."""
        self.kept.move_to_end(key)
        return self.kept[key][1]

    def take(self, key: Hashable) -> V:
        """The value, which is not kept any longer."""
        size, value = self.kept.pop(key)
        self.used -= size
        return value

    def make_room(self, size: int) -> Iterator[tuple[Hashable, V]]:
        """What goes so that ``size`` bytes more are within the budget."""
        while self.kept and self.used + size > self.budget:
            key = next(iter(self.kept))
            yield key, self.take(key)

    def keep(self, key: Hashable, size: int, value: V) -> None:
        """Keeps a value of ``size`` bytes, for which there is room."""
        self.kept[key] = (size, value)
        self.used += size


class FeatureCache:
    """Least recently used features go first: from the device to the host, from the host away.

    Holds no rule about what a key means; the caller's keys say everything that the features depend on. One cache
    serves one model state and one protocol, and lives as long as one evaluation.
    """

    def __init__(self, device: torch.device, budget: Budget) -> None:
        self._place, self._backend = device, backend_of(device)
        self._device: _Tier[Features] = _Tier(budget.device if self._backend.is_gpu else 0)
        self._host: _Tier[Callable[[], Features]] = _Tier(budget.host)

    @property
    def count(self) -> int:
        """How many features are kept."""
        return len(self._device.kept) + len(self._host.kept)

    @property
    def used(self) -> int:
        """Bytes that they take."""
        return self._device.used + self._host.used

    def holds(self, count: int) -> bool:
        """Whether so many features fit at a time, taking them to be as large as those that are kept.

        While none is kept, nothing is known, and they are taken not to fit.
        """
        return self.count > 0 and count * self.used <= (self._device.budget + self._host.budget) * self.count

    def get(self, key: Hashable) -> Features | None:
        """The features of ``key`` on the device, or None."""
        if key in self._device.kept:
            return self._device.read(key)
        if key not in self._host.kept:
            return None
        if not self._backend.is_gpu:
            return self._host.read(key)()
        features = map_levels(
            lambda level: self._backend.to_device(level, self._place),
            self._host.take(key)(),  # the one place that waits, for a copy that was begun long ago
        )
        self.put(key, features)
        return features

    def __contains__(self, key: Hashable) -> bool:
        return key in self._device.kept or key in self._host.kept

    def put(self, key: Hashable, features: Features) -> None:
        """Keeps ``features`` (on the device) as far as the budget allows."""
        size = sum(level.nbytes for level in levels_of(features))
        if size > self._device.budget:
            self._put_on_host(key, features)
            return
        for old in self._device.make_room(size):
            self._put_on_host(*old)
        self._device.keep(key, size, features)

    def shrink(self) -> bool:
        """Halves what may be kept on the device, from what is there now; returns whether that frees anything."""
        used = self._device.used
        self._device.budget = min(self._device.budget, used) // 2
        for old in self._device.make_room(0):
            self._put_on_host(*old)
        return used > 0

    def _put_on_host(self, key: Hashable, features: Features) -> None:
        size = sum(self._backend.host_bytes(level) for level in levels_of(features))
        if size > self._host.budget:
            return
        for _ in self._host.make_room(size):
            pass
        # the copy is only queued, and the features' memory on the device is free for others from here on: whatever
        # writes there is queued in the same stream, behind the copy
        arriving = [self._backend.to_host(level) for level in levels_of(features)]
        alone = isinstance(features, torch.Tensor)
        self._host.keep(key, size, lambda: arriving[0]() if alone else tuple(level() for level in arriving))
