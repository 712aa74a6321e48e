"""What episodes need of the data, by key, loaded by threads ahead of need."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor

from fsseg_bench.conventions import VOID
from fsseg_bench.data.loading import load_image, query_label, support_mask
from fsseg_bench.data.source import Source

_MASK_BYTES = 512 * 2**20


class ImageKey(NamedTuple):
    """An image at an input side of ``size`` pixels."""

    image: str
    size: int


class MaskKey(NamedTuple):
    """A support mask, or with ``way`` 0 a query label, of an image for an episode's classes."""

    image: str
    classes: tuple[int, ...]
    way: int
    size: int | None
    change: str = ""
    """How a support mask is changed: see :func:`changed`."""


def changed(mask: Tensor, change: str) -> Tensor:
    """A support mask (S, S) uint8 as a control shows it (:data:`fsseg_bench.protocol.controls.MASKS`)."""
    if change == "shifted":
        return torch.roll(mask, (mask.shape[0] // 2, mask.shape[1] // 2), (0, 1))
    if change in {"empty", "whole"}:
        return torch.where(mask == VOID, mask, torch.full_like(mask, int(change == "whole")))
    return mask


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
        mask = support_mask(self._source, key.image, key.classes, key.way, key.size)
        return changed(torch.from_numpy(mask), key.change)
