"""Groups of feature cells modelled by mixtures of prototypes (Yang et al., Prototype Mixture Models, ECCV 2020).

Expectation: cell x belongs to prototype k of its group by softmax_k(kappa x . mu_k), x as it is. Maximisation:
mu_k becomes the weighted mean of the group's cells, scaled to length 1. A group takes every cell times the group's
soft mask; cells outside the mask are zero vectors that stay in: each adds 1/K to every prototype's total. A
prototype that owns hardly any cell therefore shrinks, through the floors of its divisions, to a zero vector.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fsseg_bench.nn.itemwise import itemwise

FLOOR = 1e-6
"""Added to the sums of responsibilities and to the norms that prototypes are divided by."""


def mixture_starts(seeds: Sequence[int], channels: int, components: Sequence[int]) -> tuple[Tensor, ...]:
    """Random starting prototypes, one draw for each mixture, from each episode's seed alone.

    For each K of ``components``, in the order in which they are drawn, (B, K, C) on the CPU: normally distributed with
    variance 2/K, scaled to length 1.
    """
    drawn: list[list[Tensor]] = [[] for _ in components]
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        for place, count in enumerate(components):
            drawn[place].append(torch.randn(count, channels, generator=generator) * (2 / count) ** 0.5)
    return tuple(_unit(torch.stack(draws)) for draws in drawn)


@itemwise
def fit_mixtures(
    features: Tensor, masks: Tensor, starts: Tensor, *, kappa: float = 20.0, iterations: int = 10
) -> Tensor:
    """The prototypes of each group after expectation-maximisation.

    Every responsibility is a constant; gradient reaches ``features`` through the means of the last iteration.

    Args:
        features: (B, C, n) cells, usually those of all supports of an episode side by side.
        masks: (B, G, n) in 0..1, the share of each cell that belongs to each group.
        starts: (B, K, C) prototypes to start from, the same for every group.
        kappa: factor of the inner products.
        iterations: 1 or more.

    Returns:
        (B, G, K, C), each prototype of length 1, or shorter (down to 0) where it owns hardly any cell.
    """
    B, G, n = masks.shape
    K = starts.shape[1]
    cells = features.detach()
    prototypes = starts[:, None].expand(-1, G, -1, -1)
    shares = masks[:, :, None]
    with torch.no_grad():
        for step in range(iterations):
            logits = (prototypes.reshape(B, G * K, -1) @ cells).reshape(B, G, K, n)
            owned = (kappa * shares * logits).softmax(dim=2)
            owned = owned / (FLOOR + owned.sum(dim=3, keepdim=True)) * shares
            if step < iterations - 1:
                prototypes = _means(owned, cells)
    return _means(owned, features)


def probability_map(query: Tensor, prototypes: Tensor) -> Tensor:
    """How likely each query cell belongs to each group: a softmax over all prototypes, summed within groups.

    From the query (B, C, h, w), neither scaled to length 1 nor multiplied by kappa, and prototypes (B, G, K, C):
    (B, G, h, w), which sums to 1 over the groups; without gradient.
    """
    return component_probabilities(query.detach(), prototypes.detach()).sum(dim=2)


@itemwise
def component_probabilities(query: Tensor, prototypes: Tensor) -> Tensor:
    """The softmax over all prototypes of all groups at each query cell, (B, G, K, h, w); arguments as above."""
    B, G, K, _ = prototypes.shape
    logits = prototypes.flatten(1, 2) @ query.flatten(2)
    return logits.softmax(dim=1).reshape(B, G, K, *query.shape[2:])


def _means(owned: Tensor, cells: Tensor) -> Tensor:
    """Prototypes (B, G, K, C) from shares of ownership (B, G, K, n) and cells (B, C, n)."""
    B, G, K, n = owned.shape
    return _unit((owned.reshape(B, G * K, n) @ cells.mT).reshape(B, G, K, -1))


def _unit(vectors: Tensor) -> Tensor:
    lengths: Tensor = vectors.norm(dim=-1, keepdim=True)
    return vectors / (FLOOR + lengths)
