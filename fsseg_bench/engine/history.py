"""What methods remember of training samples between their visits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fsseg_bench.method import History


class HistoryStore:
    """Maps by training sample, in half precision on the CPU; part of a training's checkpoint."""

    def __init__(self, maps: Mapping[str, Tensor], device: torch.device) -> None:
        self.maps = dict(maps)
        """Sample key to its map."""
        self._device = device

    def of(self, keys: Sequence[str]) -> History:
        """The history of a batch of samples."""
        found = (self.maps.get(key) for key in keys)
        return History([None if one is None else one.to(self._device).float() for one in found])

    def store(self, keys: Sequence[str], history: History) -> None:
        """Remembers what the method kept, if anything.

        Raises:
            ValueError: the maps are not one an episode.
        """
        if history.kept is None:
            return
        if history.kept.shape[0] != len(keys):
            raise ValueError(f"history.keep got {history.kept.shape[0]} maps for {len(keys)} episodes")
        for key, one in zip(keys, history.kept.half().cpu(), strict=True):
            self.maps[key] = one.clone()  # not a view that keeps the whole batch alive
