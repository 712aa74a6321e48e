"""One training by several processes, started by ``torchrun``: each encodes its share of a batch's episodes.

A method's loss may normalise by whatever is in its batch, so that a mean over processes would be another training.
Here every process computes the loss of the whole batch, from features that all have exchanged, and so the loss of one
process. The gradient of a parameter has two parts: what the loss alone gives it, which is the same in every process and
counts once, and what comes through the features, of which each process has the part of its own share.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from fsseg_bench.engine.device import backend_of
from fsseg_bench.engine.inference import map_levels
from fsseg_bench.engine.shared_norm import shared_norms
from fsseg_bench.errors import UserError
from fsseg_bench.method import Features
from fsseg_bench.protocol.streams import seed_of
from fsseg_bench.recipe import Recipe

T = TypeVar("T")
_LONG = timedelta(days=7)  # the others wait while the first process evaluates; torchrun ends all where one ends


def share_of(batch: int, rank: int, size: int) -> range:
    """The episodes of a batch that one of ``size`` processes loads and encodes: neighbours, as many as in any other
    share or one fewer."""
    return range(batch * rank // size, batch * (rank + 1) // size)


class Alone:
    """One process: nothing is exchanged."""

    rank = 0
    """Which of the processes this is; the first one alone writes the record and evaluates."""
    size = 1
    """How many there are."""
    local_size = 1
    """How many of them share this machine."""

    def device(self, device: torch.device) -> torch.device:
        """Where this process computes, of what was asked for.

        Raises:
            UserError: there are fewer GPUs than processes, or all were asked to compute on one.
        """
        return device

    def collect(self, value: T) -> list[T]:
        """What each process has, in their order; nothing for tensors."""
        return [value]

    def first(self, value: T) -> T:
        """What the first process has."""
        return value

    @contextmanager
    def encoding(self, method: nn.Module, seed: int) -> Iterator[None]:
        """Where the share is encoded; what is drawn at random there, and after it, depends on ``seed`` alone.

        Batch-norms that normalise by the batch do so by the whole one.
        """
        torch.manual_seed(seed)
        yield

    def whole(self, part: Tensor, batch: int) -> Tensor:
        """A tensor (B, ...) of a whole batch, of which each process has its share (m, ...)."""
        return part

    def whole_features(self, part: Features, batch: int) -> Features:
        """The same of features; their gradients wait for :meth:`complete`."""
        return part

    def complete(self, parameters: Sequence[Tensor]) -> None:
        """Completes the gradients of the whole batch's loss, after its ``backward``."""

    def check_equal(self, parameters: Sequence[Tensor]) -> None:
        """Makes sure that the parameters are the same in every process.

        Raises:
            RuntimeError: they are not.
        """


class Several(Alone):
    """One of several processes."""

    def __init__(self, rank: int, size: int, local: int, local_size: int) -> None:
        """Meets the others: each must come here. ``local`` numbers the processes of this machine."""
        self.rank, self.size, self._local, self.local_size = rank, size, local, local_size
        dist.init_process_group("gloo", rank=rank, world_size=size, timeout=_LONG)
        self._device = torch.device("cpu")
        self._tensors = dist.group.WORLD
        self._links: list[tuple[Tensor, Tensor, slice]] = []

    def device(self, device: torch.device) -> torch.device:
        """As :meth:`Alone.device`: on GPUs the process has the one of its number."""
        backend = backend_of(device)
        if not backend.is_gpu:
            return device
        if device.type == self._device.type and device.index is None:
            return self._device  # of an earlier run: another group would wait for the first process, which evaluates
        if device.index is not None or self._local >= backend.count():
            raise UserError(
                f"{self.size} processes of torchrun, and --device {device}: each needs a GPU of its own, and this "
                f"machine has {backend.count()}; use --device auto and --nproc-per-node {backend.count()}"
            )
        self._device = torch.device(device.type, self._local)
        backend.choose(self._device)
        self._tensors = dist.new_group(backend=backend.collectives)
        return self._device

    def collect(self, value: T) -> list[T]:
        """As :meth:`Alone.collect`, between the hosts: no GPU is waited for."""
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def first(self, value: T) -> T:
        """As :meth:`Alone.first`; the others wait for it, for days if need be."""
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    @contextmanager
    def encoding(self, method: nn.Module, seed: int) -> Iterator[None]:
        """As :meth:`Alone.encoding`; shares draw different numbers."""
        torch.manual_seed(seed_of("share", seed, self.rank))
        with shared_norms(method, self._tensors):
            yield
        torch.manual_seed(seed)  # what the loss draws is the same in every process, however much a share drew

    def whole(self, part: Tensor, batch: int) -> Tensor:
        """As :meth:`Alone.whole`, without gradient."""
        counts = [len(share_of(batch, rank, self.size)) for rank in range(self.size)]
        padded = part.new_zeros(max(counts), *part.shape[1:])  # every process must give as much
        padded[: len(part)] = part.detach()
        sent = padded.view(-1).view(torch.uint8)  # not every library sends every type
        received = [torch.empty_like(sent) for _ in counts]
        dist.all_gather(received, sent, group=self._tensors)
        shares = (one.view(part.dtype).view(padded.shape) for one in received)
        return torch.cat([one[:count] for one, count in zip(shares, counts, strict=True)])

    def whole_features(self, part: Features, batch: int) -> Features:
        """As :meth:`Alone.whole_features`."""
        own = share_of(batch, self.rank, self.size)

        def joined(level: Tensor) -> Tensor:
            leaf = self.whole(level, batch)
            if level.requires_grad:
                leaf.requires_grad_()
                self._links.append((level, leaf, slice(own.start, own.stop)))
            return leaf

        return map_levels(joined, part)

    def complete(self, parameters: Sequence[Tensor]) -> None:
        """As :meth:`Alone.complete`: what the loss gave directly is counted once, what came through features summed."""
        direct = [one.grad is not None for one in parameters]
        if self.rank:
            for one in parameters:
                one.grad = None
        links = [(level, leaf.grad[own]) for level, leaf, own in self._links if leaf.grad is not None]
        self._links.clear()
        if links:
            torch.autograd.backward([level for level, _ in links], [gradient for _, gradient in links])
        reached = [one for one, had in zip(parameters, direct, strict=True) if had or one.grad is not None]
        if not reached:
            return
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in reached])
        dist.all_reduce(flat, group=self._tensors)
        for one, gradient in zip(reached, flat.split([p.numel() for p in reached]), strict=True):
            one.grad = torch.empty_like(one).copy_(gradient.view(one.shape))

    def check_equal(self, parameters: Sequence[Tensor]) -> None:
        """As :meth:`Alone.check_equal`, by their sums; waits for the device."""
        sums = torch.stack([one.detach().double().sum() for one in parameters])
        found = self.collect(backend_of(sums.device).to_host(sums)().tolist())
        if any(one != found[0] for one in found):
            raise RuntimeError("the processes of one training have different parameters")


@cache
def processes() -> Alone:
    """Those that torchrun started together with this one; else this one alone."""
    size = int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    if size == 1:
        return Alone()
    return Several(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")))


def check_batch(recipe: Recipe) -> None:
    """Finds out before anything runs whether each of the processes has a part in the training.

    Raises:
        UserError: a batch has fewer episodes than there are processes.
    """
    if recipe.iterations and recipe.batch < processes().size:
        raise UserError(
            f"recipe.batch is {recipe.batch}, and torchrun started {processes().size} processes: each encodes an "
            f"episode of each batch at least; use --nproc-per-node {recipe.batch} at most"
        )
