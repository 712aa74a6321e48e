"""Part prototypes: k-means over the feature rows of a class, without building the rows.

A class's list of rows is what its cells read from an upsampled feature map. Upsampling is linear, so that a row's
squared distance to a centre c is |row|^2 - 2 U(<F, c>) + |c|^2 with one small map <F, c> a centre, and the mean of a
cluster is the pull-back of its cells times F. No feature map is enlarged.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.nn.bilinear import resize
from fsseg_bench.nn.host import may_look, sent
from fsseg_bench.nn.itemwise import itemwise

MOST_OF_FEW = 10
"""A mask that keeps no more than this many cells is read at the resolution of the image instead."""


class Rows(NamedTuple):
    """The rows that each image gives to each list, G lists an image.

    An image's rows for a list come from at most one grid, row by row. A list joins the rows of its images in order.
    """

    owners: tuple[tuple[int, ...], ...]
    """For each of the I images, and each of its G groups, the number of the list that takes it; from 0."""
    blank: Tensor
    """(B, I, G) bool: an empty mask, which gives one row of zeros."""
    grids: tuple[Tensor, ...]
    """Each (B, I, G, gh, gw) bool: the cells that are rows, of a map enlarged to gh x gw (corners aligned)."""

    @property
    def lists(self) -> int:
        """L, the number of lists."""
        return max(max(groups) for groups in self.owners) + 1

    def membership(self) -> Tensor:
        """(I * G, L) int64: 1 where an image's group belongs to a list."""
        return sent(F.one_hot(torch.tensor(self.owners).flatten(), self.lists), self.blank.device)


def rows_of_masks(
    masks: Tensor,
    owners: tuple[tuple[int, ...], ...],
    cells: tuple[int, int],
    size: tuple[int, int],
    zooms: tuple[int, ...],
) -> Rows:
    """Which cells of which grid are rows.

    A mask is read at its group's zoom of the feature map; if that keeps ``MOST_OF_FEW`` cells or fewer, it is read
    at the size of the image. Masks are resized to their nearest pixel.

    Args:
        masks: (B, I, G, H, W) bool, of any resolution.
        owners: see :class:`Rows`.
        cells: (h, w) of the feature map.
        size: (H, W) of the image.
        zooms: for each of the G groups the factor by which the feature map is enlarged.
    """
    grids = {zoom: _nearest(masks, (zoom * cells[0], zoom * cells[1])) for zoom in sorted(set(zooms))}
    chosen = torch.stack([grids[zoom][:, :, g].sum(dim=(2, 3)) for g, zoom in enumerate(zooms)], dim=2)
    enough = chosen > MOST_OF_FEW
    full = _nearest(masks, size) & ~enough[..., None, None]
    kept = []
    for zoom, grid in grids.items():
        mine = sent(torch.tensor([z == zoom for z in zooms]), masks.device)
        kept.append(grid & (enough & mine)[..., None, None])
    blank = ~enough & ~full.any(dim=(3, 4))
    if not may_look(full) or full.any():  # few masks are so small: where it costs no wait, their grid is left out
        kept.append(full)
    return Rows(owners, blank, tuple(kept))


def _nearest(masks: Tensor, size: tuple[int, int]) -> Tensor:
    if masks.shape[-2:] == size:
        return masks
    resized = F.interpolate(masks.flatten(0, 1).float(), size=size, mode="nearest")
    nearest: Tensor = resized.unflatten(0, masks.shape[:2]) > 0
    return nearest


def row_counts(rows: Rows) -> Tensor:
    """(B, L): how many rows each list has; never 0."""
    counts = _flat(rows.blank, rows.grids).sum(dim=3).flatten(1)
    total: Tensor = (counts[..., None] * rows.membership()).sum(dim=1)
    return total


def drawn_rows(counts: Tensor, uniform: Tensor) -> Tensor:
    """Indices (B, L, P) into lists of ``counts`` (B, L) rows, from numbers ``uniform`` (B, L, P) in [0, 1)."""
    sizes = counts[..., None]
    return torch.minimum((uniform.double() * sizes).long(), sizes - 1)


def part_centres(features: Tensor, rows: Rows, starts: Tensor, assignments: int) -> Tensor:
    """Centres of k-means over every list: (B, L, P, C).

    Rows go to the nearest centre (Euclidean; of equally near ones to the first), ``assignments`` times, and after
    each but the last the centres become the means of their rows; one without a row stays. The result is the mean of
    the last assignment's rows, differentiable in ``features``; a cluster without a row is 0.

    Args:
        features: (B, I, C, h, w) of the I images.
        rows: which of their cells are in which list.
        starts: (B, L, P) int64: the rows (in their list) at which the centres begin.
        assignments: how often rows are assigned, at least 1.
    """
    centres: Tensor = _part_centres(
        features, starts, rows.blank, *rows.grids, membership=rows.membership(), assignments=assignments
    )
    return centres


@itemwise
def _part_centres(
    features: Tensor, starts: Tensor, blank: Tensor, *grids: Tensor, membership: Tensor, assignments: int
) -> Tensor:
    cells, size = features.flatten(3), (features.shape[3], features.shape[4])
    lattices = [_lattice(grid, size, features.dtype) for grid in grids]
    owners = membership.argmax(dim=1).view(blank.shape[1:])
    share = membership.to(features.dtype)
    with torch.no_grad():
        centres = _at_rows(cells, size, starts, blank, lattices, membership)
        for _ in range(assignments - 1):
            weights, counts = _assign(cells, size, centres, blank, lattices, owners)
            means, totals = _means(cells, weights, counts, share)
            centres = torch.where(totals > 0, means, centres)
        weights, counts = _assign(cells, size, centres, blank, lattices, owners)
    return _means(cells, weights, counts, share)[0]


class _Lattice(NamedTuple):
    """The rows and columns of a grid that hold any row of features; on a GPU all of them."""

    cells: Tensor
    """(B, I, G, gh, gw) bool."""
    down: Tensor
    """(h, gh) weights of linear interpolation."""
    across: Tensor
    """(w, gw)."""

    def enlarge(self, maps: Tensor) -> Tensor:
        """Maps (..., h, w) at the lattice's cells, (..., gh, gw)."""
        return self.down.mT @ (maps @ self.across)

    def pull_back(self, maps: Tensor) -> Tensor:
        """The adjoint: maps (..., gh, gw) to (..., h, w)."""
        return self.down @ (maps @ self.across.mT)


def _lattice(grid: Tensor, size: tuple[int, int], dtype: torch.dtype) -> _Lattice:
    """Leaves out what is empty: a small object at the image's resolution takes few rows and columns of it."""
    down, across = (
        resize(torch.eye(cells, dtype=dtype, device=grid.device), (cells, pixels), align_corners=True)
        for cells, pixels in zip(size, grid.shape[3:], strict=True)
    )
    if not may_look(grid):
        return _Lattice(grid, down, across)
    used = grid.flatten(0, 2).any(dim=0)
    rows, columns = used.any(dim=1).nonzero().squeeze(1), used.any(dim=0).nonzero().squeeze(1)
    return _Lattice(grid[..., rows, :][..., columns], down[:, rows], across[:, columns])


def _assign(
    cells: Tensor, size: tuple[int, int], centres: Tensor, blank: Tensor, lattices: list[_Lattice], owners: Tensor
) -> tuple[Tensor, Tensor]:
    """Each image's clusters as weights of its cells (B, I, G, P, h*w), and how many rows they hold (B, I, G, P)."""
    assigned = centres[:, owners]
    dots = (assigned.flatten(2, 3) @ cells).unflatten(2, assigned.shape[2:4]).unflatten(4, size)
    lengths = _lengths(centres)[:, owners]
    weights = torch.zeros_like(dots)
    counts = _nearest_centre(lengths) * blank[..., None]
    for lattice in lattices:
        distances = lengths[..., None, None] - 2 * lattice.enlarge(dots)
        hot = _nearest_centre(distances) * lattice.cells[:, :, :, None]
        weights = weights + lattice.pull_back(hot)
        counts = counts + hot.sum(dim=(4, 5))
    return weights.flatten(4), counts


def _lengths(centres: Tensor) -> Tensor:
    """Squared norms (B, L, P); infinite for a centre that repeats an earlier one, which takes its rows."""
    same = (centres[:, :, :, None] == centres[:, :, None]).all(dim=4)
    repeated = same.tril(diagonal=-1).any(dim=3)
    return (centres * centres).sum(dim=3).masked_fill(repeated, torch.inf)


def _nearest_centre(distances: Tensor) -> Tensor:
    """Distances (B, I, G, P, ...) as 1 at the first of the smallest and 0 elsewhere."""
    return torch.zeros_like(distances).scatter_(3, distances.argmin(dim=3, keepdim=True), 1.0)


def _means(cells: Tensor, weights: Tensor, counts: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Means (B, L, P, C) of the clusters over all images of their list (0 without a row), and row counts."""
    sums = (weights.flatten(2, 3) @ cells.mT).unflatten(2, weights.shape[2:4]).flatten(1, 2)
    totals = torch.einsum("bmp,ml->blp", counts.flatten(1, 2), share)[..., None]
    joined = torch.einsum("bmpc,ml->blpc", sums, share)
    return joined / totals.clamp_min(1), totals


def _at_rows(
    cells: Tensor, size: tuple[int, int], starts: Tensor, blank: Tensor, lattices: list[_Lattice], membership: Tensor
) -> Tensor:
    """The rows (B, L, P, C) with the numbers ``starts`` (B, L, P) of their lists."""
    flat = _flat(blank, tuple(lattice.cells for lattice in lattices)).flatten(1, 2)
    blocks, places = _find(flat, starts, membership)
    images = blocks // blank.shape[2]
    weights = cells.new_zeros(*starts.shape, *size)
    begin = 0
    for lattice in lattices:
        shape = lattice.cells.shape[3:]
        area = shape[0] * shape[1]
        hot = cells.new_zeros(*starts.shape, area + 1)  # the last place takes what lies in another grid
        inside = (places >= begin) & (places < begin + area)
        hot.scatter_(3, torch.where(inside, places - begin, area)[..., None], 1.0)
        weights = weights + lattice.pull_back(hot[..., :-1].unflatten(3, shape))
        begin += area
    chosen = images[:, None] == torch.arange(cells.shape[1], device=cells.device)[:, None, None]
    by_image = (weights.flatten(3)[:, None] * chosen[..., None]).flatten(2, 3)
    rows = (by_image @ cells.mT).sum(dim=1).unflatten(1, starts.shape[1:])
    first = (starts[..., None] == starts[..., None, :]).to(torch.uint8).argmax(dim=3)  # one row, one set of bits
    equal: Tensor = rows.gather(2, first[..., None].expand_as(rows))
    return equal


def _find(flat: Tensor, starts: Tensor, membership: Tensor) -> tuple[Tensor, Tensor]:
    """The block (of the I * G ones) of each start, and its place in the block; both (B, L, P)."""
    sizes = flat.sum(dim=2)[:, None] * membership.mT
    ends = sizes.cumsum(dim=2)
    blocks = torch.searchsorted(ends, starts, right=True).clamp(max=sizes.shape[2] - 1)
    within = starts - (ends - sizes).gather(2, blocks)
    item = torch.arange(flat.shape[0], device=flat.device)[:, None, None]
    ranks = flat.long().cumsum(dim=2)[item, blocks]
    return blocks, torch.searchsorted(ranks, within[..., None] + 1).squeeze(3)


def _flat(blank: Tensor, grids: tuple[Tensor, ...]) -> Tensor:
    """All places of rows in a line (B, I, G, S): the grids one after the other, then the row of zeros."""
    return torch.cat([*(grid.flatten(3) for grid in grids), blank[..., None]], dim=3)
