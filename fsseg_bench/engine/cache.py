"""Keeps encoded features within a stated memory budget: on the device first, then on the host."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

import torch

from fsseg_bench.method import Features

GIB = 2**30
_SHARE = 0.4  # of the memory that is free at the start; the rest is for the heads, the loader and other programs


@dataclass(frozen=True)
class Budget:
    """Bytes that may be kept."""

    device: int
    host: int


def default_budget(device: torch.device, gib: float | None = None) -> Budget:
    """A share of the free memory, or ``gib`` GiB in all (0 keeps nothing)."""
    host_free = _host_free()
    device_free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
    if gib is None:
        return Budget(int(device_free * _SHARE), int(host_free * _SHARE))
    total = int(gib * GIB)
    on_device = min(total, int(device_free * _SHARE))
    return Budget(on_device, total - on_device)


def _host_free() -> int:
    """Bytes of host memory that can be had; half of the total where the system does not say."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 4 * GIB


class FeatureCache:
    """Least recently used features go first: from the device to the host, from the host away.

    Holds no rule about what a key means; the caller's keys say everything that the features depend on. One cache
    serves one model state and one protocol, and lives as long as one evaluation.
    """

    def __init__(self, device: torch.device, budget: Budget) -> None:
        self._device = device
        self._budget = {"device": budget.device if device.type != "cpu" else 0, "host": budget.host}
        self._used = {"device": 0, "host": 0}
        self._kept: dict[str, OrderedDict[Hashable, Features]] = {
            "device": OrderedDict(),
            "host": OrderedDict(),
        }
        self.hits = 0
        self.misses = 0

    def get(self, key: Hashable) -> Features | None:
        """The features of ``key`` on the device, or None."""
        for tier in ("device", "host"):
            kept = self._kept[tier]
            if key in kept:
                self.hits += 1
                kept.move_to_end(key)
                return kept[key] if tier == "device" or self._device.type == "cpu" else self._promote(key)
        self.misses += 1
        return None

    def __contains__(self, key: Hashable) -> bool:
        return key in self._kept["device"] or key in self._kept["host"]

    def put(self, key: Hashable, features: Features) -> None:
        """Keeps ``features`` (on the device) as far as the budget allows."""
        tier: Literal["device", "host"] = "host" if self._device.type == "cpu" else "device"
        self._insert(tier, key, features)

    @property
    def used(self) -> Budget:
        """Bytes kept now."""
        return Budget(self._used["device"], self._used["host"])

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
                self._insert("host", key, _to(features, torch.device("cpu")))
            return
        kept = self._kept[tier]
        while self._used[tier] + size > self._budget[tier]:
            old_key, old = kept.popitem(last=False)
            self._used[tier] -= _size(old)
            if tier == "device":
                self._insert("host", old_key, _to(old, torch.device("cpu")))
        kept[key] = features
        self._used[tier] += size


def _size(features: Features) -> int:
    tensors = (features,) if isinstance(features, torch.Tensor) else features
    return sum(t.numel() * t.element_size() for t in tensors)


def _to(features: Features, device: torch.device) -> Features:
    if isinstance(features, torch.Tensor):
        return features.to(device)
    return tuple(t.to(device) for t in features)
