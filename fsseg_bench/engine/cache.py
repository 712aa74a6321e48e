"""What episodes need, by key: images decoded ahead, and features, encoded once and kept within a memory budget."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from fsseg_bench.data.loading import load_image, query_label, support_mask
from fsseg_bench.data.source import Source
from fsseg_bench.engine.device import backend_of
from fsseg_bench.engine.inference import InferenceModel, levels_of, map_levels
from fsseg_bench.method import Features

GIB = 2**30
K = TypeVar("K", bound=Hashable)
_HOST = torch.device("cpu")
_MASK_BYTES = 512 * 2**20
_SHARE = 0.4  # of the memory that is free at the start; the rest is for the heads, the loader and other programs


@dataclass(frozen=True)
class ImageKey:
    """An image at an input side of ``size`` pixels."""

    image: str
    size: int


@dataclass(frozen=True)
class MaskKey:
    """A support mask, or with ``way`` 0 a query label, of an image for an episode's classes."""

    image: str
    classes: tuple[int, ...]
    way: int
    size: int | None


class Feed(AbstractContextManager["Feed"]):
    """Loads what is asked for, and what was announced earlier, with ``workers`` threads (0: in the caller).

    Masks are kept (they are small and come back often); images are not: their features are cached instead.
    """

    def __init__(self, source: Source, workers: int) -> None:
        self._source = source
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="decode") if workers else None
        self._pending: dict[Hashable, Future[Tensor]] = {}
        self._masks: OrderedDict[MaskKey, Tensor] = OrderedDict()
        self._mask_bytes = 0

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def announce(self, key: ImageKey | MaskKey) -> None:
        """Starts loading ``key`` in the background."""
        if self._pool is not None and key not in self._pending and key not in self._masks:
            self._pending[key] = self._pool.submit(self._load, key)

    def image(self, key: ImageKey) -> Tensor:
        """(3, S, S) uint8 RGB."""
        return self._take(key)

    def mask(self, key: MaskKey) -> Tensor:
        """(S, S) uint8, or native size where the key has no size."""
        if key in self._masks:
            self._masks.move_to_end(key)
            return self._masks[key]
        mask = self._take(key)
        self._masks[key] = mask
        self._mask_bytes += mask.numel()
        while self._mask_bytes > _MASK_BYTES and len(self._masks) > 1:
            self._mask_bytes -= self._masks.popitem(last=False)[1].numel()
        return mask

    def _take(self, key: ImageKey | MaskKey) -> Tensor:
        pending = self._pending.pop(key, None)
        return pending.result() if pending is not None else self._load(key)

    def _load(self, key: ImageKey | MaskKey) -> Tensor:
        if isinstance(key, ImageKey):
            return load_image(self._source, key.image, key.size)
        if key.way == 0:
            return torch.from_numpy(query_label(self._source, key.image, key.classes, key.size))
        if key.size is None:
            raise ValueError("support masks have the input size")
        return torch.from_numpy(support_mask(self._source, key.image, key.classes, key.way, key.size))


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
        kept = self._kept[tier]
        while self._used[tier] + size > self._budget[tier]:
            old_key, old = kept.popitem(last=False)
            self._used[tier] -= _size(old)
            if tier == "device":
                self._insert("host", old_key, _to(old, _HOST))
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
