"""Directions in which features tell where a cell lies, whatever the image shows there, and their removal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fsseg_bench.errors import UserError
from fsseg_bench.method import feature_map
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.host import sent

_SHARE = 500 / 1024  # of the channels of the published model that its published number of directions takes
_KEPT = 8  # sizes of images whose directions are remembered: those of supports, and of queries at several scales

State = list[tuple[Tensor, int, torch.device, torch.dtype]]


class Basis(NamedTuple):
    """The positional directions of one size of images."""

    directions: Tensor
    """(C, s) float32, orthonormal columns. Only the space that they span is unique, and of nearly equal singular
    values not even that: compare U U^T."""
    share: float
    """Of the variance of an empty image's cells, in [0, 1]: what the directions hold."""
    gap: float
    """The first singular value that is left over the last that is removed, in [0, 1]: near 1 the space is arbitrary."""


def unit_cells(features: Tensor) -> Tensor:
    """Features (..., C, h, w) as float32 with cells of unit length; a cell of zeros stays."""
    return nn.functional.normalize(features.float(), dim=-3, eps=1e-12)


def number_of_directions(channels: int, cells: int, wanted: int | None) -> int:
    """How many directions to remove of ``channels`` in an image of ``cells``.

    An image's centred cells have at most min(channels, cells - 1) directions. None takes the published share of these,
    500 of 1,024: 500 for 1,024 channels from 1,025 cells on.

    Raises:
        UserError: ``wanted`` would remove every direction; what is normalised afterwards would be rounding errors.
    """
    most = min(channels, cells - 1)
    if wanted is None:
        return int(most * _SHARE)
    if wanted and wanted >= most:
        raise UserError(
            f"directions={wanted} would remove everything: {cells} cells of {channels} channels vary in {max(most, 0)} "
            f"directions; set directions below that, or leave it out for {int(max(most, 0) * _SHARE)}"
        )
    return wanted


def positional_basis(empty: Tensor, wanted: int | None) -> Basis:
    """The principal directions of an empty image's cells, whose differences can only be their places.

    They are the first left singular vectors of the centred cells [C, N], found in float64 on the host as eigenvectors
    of the cells' covariance.

    Args:
        empty: (C, h, w), cells of unit length.
        wanted: see :func:`number_of_directions`.

    Raises:
        UserError: see :func:`number_of_directions`.
    """
    cells = empty.flatten(1).double().cpu()
    count = number_of_directions(cells.shape[0], cells.shape[1], wanted)
    cells = cells - cells.mean(dim=1, keepdim=True)
    variances, vectors = torch.linalg.eigh(cells @ cells.mT)
    variances = variances.clamp_min(0).flip(0)
    total, removed = float(variances.sum()), variances[:count]
    gap = float((variances[count] / removed[-1]).sqrt()) if count and removed[-1] > 0 else 0.0
    share = float(removed.sum()) / total if total else 0.0
    directions = vectors.flip(1)[:, :count].float().contiguous()
    return Basis(sent(directions, empty.device), share, gap)


def without_place(cells: Tensor, basis: Basis) -> Tensor:
    """normalise((I - U U^T) f) of cells f (C, N) of unit length."""
    u = basis.directions
    return nn.functional.normalize(cells - u @ (u.mT @ cells), dim=0, eps=1e-12)


class Positions:
    """The bases of one backbone by the size of images, each computed once for its parameters and device.

    It is no part of the method's state: nothing of it is in a checkpoint, and a copy of the method begins anew.
    Parameters changed through ``.data`` in place are not noticed, as nothing in PyTorch notices them.
    """

    def __init__(self) -> None:
        self._state: State = []
        self._known: dict[tuple[tuple[int, int], int | None], Basis] = {}

    def __deepcopy__(self, memo: object) -> Positions:
        return Positions()

    def of(self, backbone: Backbone, size: tuple[int, int], wanted: int | None) -> Basis:
        """The basis of images of ``size`` (H, W) pixels.

        Raises:
            UserError: see :func:`number_of_directions`.
        """
        state = [(t, t._version, t.device, t.dtype) for t in (*backbone.parameters(), *backbone.buffers())]
        if not _same(state, self._state):
            self._state, self._known = state, {}
        key = (size, wanted)
        if key not in self._known:
            while len(self._known) >= _KEPT:
                del self._known[next(iter(self._known))]
            self._known[key] = positional_basis(unit_cells(_empty(backbone, size))[0], wanted)
        return self._known[key]


def _same(one: State, other: State) -> bool:
    return len(one) == len(other) and all(a[0] is b[0] and a[1:] == b[1:] for a, b in zip(one, other, strict=True))


@torch.no_grad()
def _empty(backbone: Backbone, size: tuple[int, int]) -> Tensor:
    """Features (1, C, h, w) of a black image, in evaluation mode and full precision."""
    place = next(backbone.parameters())
    black = [-mean / std for mean, std in zip(backbone.mean, backbone.std, strict=True)]
    image = torch.tensor(black, dtype=place.dtype).view(1, 3, 1, 1).expand(1, 3, *size).contiguous()
    with _evaluating(backbone), torch.autocast(place.device.type, enabled=False):
        return feature_map(backbone(sent(image, place.device)))


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    training = [module for module in network.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
