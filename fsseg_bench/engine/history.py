"""What a method remembers of training samples, between the steps that visit them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fsseg_bench.engine.device import backend_of
from fsseg_bench.method import History

_GPU_BYTES = 2**30  # 160,000 maps of CANet's at 321 pixels: more pairs (image, class) than COCO trains a fold on
_TOGETHER = 1024  # maps in a transfer


@dataclass(eq=False)
class HistoryStore:
    """Maps by training sample, in half precision; part of a training's checkpoint.

    On a GPU they stay there, so that no step waits for them, up to 1 GiB; what is beyond lies on the host.
    """

    maps: dict[str, Tensor]
    """Sample key to its map."""
    device: torch.device
    gpu_bytes: int = _GPU_BYTES
    """How much of a GPU's memory :meth:`settle` leaves them."""
    _near: dict[str, None] = field(default_factory=dict)
    """Keys of the maps that lie on a GPU, the one stored longest ago first."""

    def of(self, keys: Sequence[str]) -> History:
        """The history of a batch of samples, as float32 on the device."""
        return History([self._on_device(key) if key in self.maps else None for key in keys])

    def store(self, keys: Sequence[str], history: History) -> None:
        """Remembers what the method kept, if anything.

        Raises:
            ValueError: the maps are not one an episode.
        """
        if history.kept is None:
            return
        if history.kept.shape[0] != len(keys):
            raise ValueError(f"history.keep got {history.kept.shape[0]} maps for {len(keys)} episodes")
        is_gpu = backend_of(self.device).is_gpu
        for key, one in zip(keys, history.kept.half(), strict=True):
            self.maps[key] = one.clone()  # not a view that keeps the whole batch alive
            if is_gpu:
                self._near.pop(key, None)
                self._near[key] = None

    def settle(self) -> None:
        """Moves what is beyond the budget to the host, and waits for it: nothing for the middle of a step."""
        if not self._near:
            return
        affordable = self.gpu_bytes // self.maps[next(iter(self._near))].nbytes
        oldest = list(self._near)[: max(len(self._near) - affordable, 0)]
        for key, one in zip(oldest, self._copies(oldest), strict=True):
            self.maps[key] = one
            del self._near[key]

    def on_host(self) -> dict[str, Tensor]:
        """All maps on the host, for the checkpoint; waits for those that lie on a GPU."""
        copies = dict(zip(self._near, self._copies(list(self._near)), strict=True))
        return {key: copies.get(key, one) for key, one in self.maps.items()}

    def _copies(self, keys: Sequence[str]) -> Iterator[Tensor]:
        """Maps that lie on a GPU, copied to the host many at a time."""
        for start in range(0, len(keys), _TOGETHER):
            together = torch.stack([self.maps[key] for key in keys[start : start + _TOGETHER]])
            # each in memory of its own, which is not pinned: the transfer's is to be used again
            yield from (one.clone() for one in backend_of(self.device).to_host(together)())

    def _on_device(self, key: str) -> Tensor:
        one = self.maps[key]
        return (one if key in self._near else backend_of(self.device).to_device(one, self.device)).float()
