"""Features of images by key: encoded once, and kept within a memory budget, on the device first, then on the host."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from fsseg_bench.engine.feed import Feed, ImageKey, MaskKey
from fsseg_bench.engine.inference import InferenceModel, levels_of, map_levels
from fsseg_bench.method import Features

GIB = 2**30
K = TypeVar("K", bound=Hashable)
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
        self._kept: dict[str, OrderedDict[Hashable, Features]] = {"device": OrderedDict(), "host": OrderedDict()}

    def get(self, key: Hashable) -> Features | None:
        """The features of ``key`` on the device, or None."""
        for tier in ("device", "host"):
            kept = self._kept[tier]
            if key in kept:
                kept.move_to_end(key)
                return kept[key] if tier == "device" or self._device.type == "cpu" else self._promote(key)
        return None

    def __contains__(self, key: Hashable) -> bool:
        return key in self._kept["device"] or key in self._kept["host"]

    def put(self, key: Hashable, features: Features) -> None:
        """Keeps ``features`` (on the device) as far as the budget allows."""
        self._insert("host" if self._device.type == "cpu" else "device", key, features)

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
    return sum(level.nbytes for level in levels_of(features))


def _to(features: Features, device: torch.device) -> Features:
    return map_levels(lambda level: level.to(device), features)


@dataclass(frozen=True)
class UnlabelledKey:
    """An image whose features are those of an image without a mask."""

    image: ImageKey


@dataclass(eq=False)
class FeatureReader:
    """Reads features of one model through one cache."""

    model: InferenceModel
    cache: FeatureCache
    encoded: int = 0
    """Images encoded so far."""

    def images(self, feed: Feed, keys: Sequence[ImageKey]) -> list[Features]:
        """Features of whole images: queries, and supports whose mask stays out of the encoder."""
        return self._fetch(keys, lambda missing: self.model.encode([feed.image(key) for key in missing]))

    def supports(self, feed: Feed, keys: Sequence[MaskKey], masks: Sequence[Tensor], size: int) -> list[Features]:
        """Features of supports at side ``size``, encoded with their masks (one a key) where the model wants that."""
        if not self.model.mask_enters_encoder:
            return self.images(feed, [ImageKey(key.image, size) for key in keys])
        by_key = dict(zip(keys, masks, strict=True))
        return self._fetch(
            keys,
            lambda missing: self.model.encode_support(
                [feed.image(ImageKey(key.image, size)) for key in missing], [by_key[key] for key in missing]
            ),
        )

    def unlabelled(self, feed: Feed, keys: Sequence[ImageKey]) -> list[Features]:
        """Features of images that come without a mask."""
        if not self.model.unlabelled_encoded_apart:
            return self.images(feed, keys)
        return self._fetch(
            [UnlabelledKey(key) for key in keys],
            lambda missing: self.model.encode_unlabelled([feed.image(key.image) for key in missing]),
        )

    def lacks(self, key: ImageKey, *, unlabelled: bool = False) -> bool:
        """Whether the image will have to be loaded."""
        apart = unlabelled and self.model.unlabelled_encoded_apart
        return (UnlabelledKey(key) if apart else key) not in self.cache

    def lacks_support(self, key: MaskKey, size: int) -> bool:
        """The same for a support."""
        if self.model.mask_enters_encoder:
            return key not in self.cache
        return self.lacks(ImageKey(key.image, size))

    def _fetch(self, keys: Sequence[K], encode: Callable[[list[K]], list[Features]]) -> list[Features]:
        distinct = dict.fromkeys(keys)
        # all are looked up before any is kept: keeping one may drop another of this batch from the cache
        found = {key: features for key in distinct if (features := self.cache.get(key)) is not None}
        missing = [key for key in distinct if key not in found]
        for key, features in zip(missing, encode(missing) if missing else [], strict=True):
            self.cache.put(key, features)
            found[key] = features
        self.encoded += len(missing)
        return [found[key] for key in keys]
