"""A method ready to be evaluated: frozen, folded, and encoding images the same way whatever their company."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from fsseg_bench.engine.device import Precision, autocast, exact
from fsseg_bench.engine.images import normalise
from fsseg_bench.method import Episode, Features, Method, Prediction
from fsseg_bench.nn.backbones import folded

_GPU_BATCH = 8


class InferenceModel:
    """Wraps a trained method for evaluation.

    Images are encoded in batches of one fixed size (1 on the CPU, where it is fastest; 8 on a GPU, the last batch
    filled up with repetitions), so that the features of an image do not depend on which images it is encoded with.
    """

    def __init__(self, method: Method, device: torch.device, precision: Precision) -> None:
        self.device = device
        self._precision = precision
        self._method = copy.deepcopy(method).eval()
        self._method.backbone = folded(method.backbone)
        self._method.to(device).requires_grad_(False)
        self._encode_batch = 1 if device.type == "cpu" else _GPU_BATCH

    def with_head(self, method: Method) -> InferenceModel:
        """A model of ``method`` that reads features encoded by this one, whose backbone it shares."""
        other = copy.copy(self)
        other._method = copy.deepcopy(method).eval()
        other._method.backbone = self._method.backbone
        other._method.to(self.device).requires_grad_(False)
        return other

    @property
    def mask_enters_encoder(self) -> bool:
        """Whether supports must be encoded together with their masks."""
        return self._method.mask_enters_encoder

    @torch.no_grad()
    def encode(self, images: list[Tensor]) -> list[Features]:
        """Features of single images (3, H, W) uint8, all of one size; each result has no image axis."""
        return self._in_batches(images, None)

    @torch.no_grad()
    def encode_support(self, images: list[Tensor], masks: list[Tensor]) -> list[Features]:
        """The same for supports, with masks (H, W) uint8."""
        return self._in_batches(images, masks)

    def predict(self, episode: Episode) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits (B, N+1, h, w) and the method's diagnostics."""
        with torch.no_grad(), exact(self.device), autocast(self.device, self._precision):
            result = self._method.predict(episode)
        if isinstance(result, Prediction):
            return result.logits, result.diagnostics
        return result, {}

    def _in_batches(self, images: list[Tensor], masks: list[Tensor] | None) -> list[Features]:
        results: list[Features] = []
        for start in range(0, len(images), self._encode_batch):
            chosen = range(start, min(start + self._encode_batch, len(images)))
            indices = [*chosen, *[chosen[-1]] * (self._encode_batch - len(chosen))]
            batch = normalise(torch.stack([images[i] for i in indices]), self._method.backbone, self.device)
            with exact(self.device), autocast(self.device, self._precision):
                if masks is None:
                    features = self._method.encode(batch)
                else:
                    stacked = torch.stack([masks[i] for i in indices]).to(self.device)
                    features = self._method.encode_support(batch, stacked)
            results.extend(_item(features, i) for i in range(len(chosen)))
        return results


def _item(features: Features, i: int) -> Features:
    """Image ``i``'s own features in row-major order, the heads' layout: copied once here, not in every episode."""
    if isinstance(features, Tensor):
        return _own(features, i)
    return tuple(_own(level, i) for level in features)


def _own(level: Tensor, i: int) -> Tensor:
    """A copy, so that it does not keep the whole batch alive; without one where there is nothing to change."""
    alone = level.shape[0] == 1 and level[i].is_contiguous()
    return level[i] if alone else level[i].clone(memory_format=torch.contiguous_format)


def stack_features(items: list[Features], shape: tuple[int, ...]) -> Features:
    """Features of single images as one tensor (or tuple) with leading axes ``shape``."""
    first = items[0]
    if isinstance(first, Tensor):
        tensors = [item for item in items if isinstance(item, Tensor)]
        return _stack(tensors, shape)
    levels = []
    for level in range(len(first)):
        levels.append(_stack([item[level] for item in items], shape))
    return tuple(levels)


def _stack(tensors: list[Tensor], shape: tuple[int, ...]) -> Tensor:
    if len(tensors) == 1:  # a view: the common case of one shot on a CPU copies nothing
        return tensors[0].view(*shape, *tensors[0].shape)
    return torch.stack(tensors).view(*shape, *tensors[0].shape)
