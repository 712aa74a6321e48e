"""A method ready to be evaluated: frozen, folded, and encoding images the same way whatever their company."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from fsseg_bench.engine.checks import checked_prediction
from fsseg_bench.engine.device import autocast, backend_of, exact
from fsseg_bench.engine.merge import apart
from fsseg_bench.method import Episode, Features, Method
from fsseg_bench.nn.backbones import Backbone, folded, quicken
from fsseg_bench.records.request import Precision, RunRequest

_GPU_BATCH = 8


class InferenceModel:
    """Wraps a trained method for evaluation.

    Images are encoded in batches of one fixed size (1 on the CPU, where it is fastest; 8 on a GPU, where the last is
    filled up with repetitions), so that the features of an image do not depend on which images it is encoded with.
    """

    def __init__(
        self,
        method: Method,
        device: torch.device,
        precision: Precision,
        *,
        deterministic: bool = True,
        merge: str | None = None,
    ) -> None:
        self.device = device
        self._precision = precision
        self._deterministic = deterministic
        self.merge = merge
        """The rule that joins one-way predictions; None: the method is given all ways at once."""
        self._method = copy.deepcopy(method).eval()
        for name, trunk in _trunks(self._method):
            twin = folded(trunk)
            if precision == "fp32" and not backend_of(device).is_gpu:
                quicken(twin)
            setattr(self._method, name, twin)
        self._method.to(device).requires_grad_(False)
        self.encode_batch = _GPU_BATCH if backend_of(device).is_gpu else 1
        """Images encoded together; fewer cost as much."""

    @classmethod
    def of(cls, request: RunRequest, method: Method, device: torch.device) -> InferenceModel:
        """A model that computes as the request wants it."""
        return cls(method, device, request.precision, deterministic=not request.nondeterministic, merge=request.merge)

    def with_head(self, method: Method) -> InferenceModel:
        """A model of ``method`` that reads features encoded by this one, whose backbones it shares."""
        other = copy.copy(self)
        other._method = copy.deepcopy(method).eval()
        for name, trunk in _trunks(self._method):
            setattr(other._method, name, trunk)
        other._method.to(self.device).requires_grad_(False)
        return other

    @property
    def mask_enters_encoder(self) -> bool:
        """Whether supports must be encoded together with their masks."""
        return self._method.mask_enters_encoder

    @property
    def reads_truth(self) -> bool:
        """Whether the query's labels are shown to it."""
        return self._method.reads_truth

    @property
    def unlabelled_encoded_apart(self) -> bool:
        """Whether images without masks have features of their own kind."""
        return type(self._method).encode_unlabelled is not Method.encode_unlabelled

    @torch.no_grad()
    def encode(self, images: list[Tensor]) -> list[Features]:
        """Features of single images (3, H, W) uint8, all of one size; each result has no image axis."""
        return self._in_batches(self._method.encode, images)

    @torch.no_grad()
    def encode_unlabelled(self, images: list[Tensor]) -> list[Features]:
        """The same for images without masks."""
        return self._in_batches(self._method.encode_unlabelled, images)

    @torch.no_grad()
    def encode_support(self, images: list[Tensor], masks: list[Tensor]) -> list[Features]:
        """The same for supports, with masks (H, W) uint8."""
        return self._in_batches(self._method.encode_support, images, masks)

    def predict(self, episode: Episode) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits (B, N+1, h, w) and the method's diagnostics.

        On the CPU each episode goes through alone, on memory of its own: results do not depend on its company, and
        nothing is lost in speed. With a rule that joins one-way predictions, logits are (B N, 2, h, w), of each way
        alone (:mod:`fsseg_bench.engine.merge`), and diagnostics have an axis of ways.
        """
        if self.merge is not None:
            logits, diagnostics = self._of_methods_ways(apart(episode))
            ways = {name: values.unflatten(0, (-1, episode.ways)) for name, values in diagnostics.items()}
            return logits, ways
        return self._of_methods_ways(episode)

    def _of_methods_ways(self, episode: Episode) -> tuple[Tensor, dict[str, Tensor]]:
        if not backend_of(self.device).is_gpu and episode.batch > 1:
            results = [self._predict(episode.item(i)) for i in range(episode.batch)]
            names = results[0][1]
            joined = {name: torch.cat([diagnostics[name] for _, diagnostics in results]) for name in names}
            return torch.cat([logits for logits, _ in results]), joined
        return self._predict(episode)

    def _predict(self, episode: Episode) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad(), self._arithmetic():
            return checked_prediction(self._method.predict(episode), episode)

    @contextmanager
    def _arithmetic(self) -> Iterator[None]:
        rules = exact(self.device, self._precision, deterministic=self._deterministic)
        with rules, autocast(self.device, self._precision):
            yield

    def _in_batches(self, encode: Callable[..., Features], *tensors: list[Tensor]) -> list[Features]:
        """``encode`` of batches of images and what else it takes of each."""
        images, *others = tensors
        backend = backend_of(self.device)
        results: list[Features] = []
        for start in range(0, len(images), self.encode_batch):
            chosen = range(start, min(start + self.encode_batch, len(images)))
            indices = [*chosen, *[chosen[-1]] * (self.encode_batch - len(chosen))]
            batch = normalise(torch.stack([images[i] for i in indices]), self._method.backbone, self.device)
            stacked = [backend.to_device(torch.stack([other[i] for i in indices]), self.device) for other in others]
            with self._arithmetic():
                features = encode(batch, *stacked)
            results.extend(map_levels(partial(_item, i=i), features) for i in range(len(chosen)))
        return results


def _trunks(method: Method) -> list[tuple[str, Backbone]]:
    return [(name, child) for name, child in method.named_children() if isinstance(child, Backbone)]


def _item(level: Tensor, i: int) -> Tensor:
    """Image ``i`` in row-major order, the heads' layout: copied once here, not in every episode.

    A copy, so that it does not keep the whole batch alive; without one where there is nothing to change.
    """
    alone = level.shape[0] == 1 and level[i].is_contiguous()
    return level[i] if alone else level[i].clone(memory_format=torch.contiguous_format)


def normalise(images: Tensor, backbone: Backbone, device: torch.device) -> Tensor:
    """(M, 3, H, W) uint8 RGB to normalised float32 on ``device``, channels last.

    The bytes travel to the device; the floats are made there.
    """
    backend = backend_of(device)
    mean, std = backend.to_device(torch.tensor([backbone.mean, backbone.std]).view(2, 1, 3, 1, 1), device)
    moved = backend.to_device(images, device).float().div_(255)
    return moved.sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)


def levels_of(features: Features) -> tuple[Tensor, ...]:
    """The feature tensors, one or several."""
    return (features,) if isinstance(features, Tensor) else features


def map_levels(change: Callable[[Tensor], Tensor], features: Features) -> Features:
    """``change`` of each feature tensor."""
    return change(features) if isinstance(features, Tensor) else tuple(map(change, features))


def stack_features(items: list[Features], shape: tuple[int, ...]) -> Features:
    """Features of single images as one tensor (or tuple) with leading axes ``shape``."""
    first = items[0]
    if isinstance(first, Tensor):
        return _stack([item for item in items if isinstance(item, Tensor)], shape)
    return tuple(_stack([item[level] for item in items], shape) for level in range(len(first)))


def _stack(tensors: list[Tensor], shape: tuple[int, ...]) -> Tensor:
    if len(tensors) == 1:  # a view: the common case of one shot on a CPU copies nothing
        return tensors[0].view(*shape, *tensors[0].shape)
    return torch.stack(tensors).view(*shape, *tensors[0].shape)


def fold_features(features: Features, shape: torch.Size) -> Features:
    """The first axis of every tensor unfolded to ``shape``."""
    return map_levels(lambda level: level.unflatten(0, shape), features)
