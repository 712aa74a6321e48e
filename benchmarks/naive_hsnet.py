"""HSNet's head rendered step by step from its specification, beside the method's own.

The correlation of each level is made as a whole, and convolved over the query and over the support by turns of permuted
copies.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsseg_methods._hsnet import NORM_EPS, PairConvolution, PairHead, SqueezeBlock, units

LEVELS = {8: (4, 512), 16: (6, 1024), 32: (3, 2048)}
"""Maps and channels of a ResNet-50, by stride."""


def ways(size: int, batch: int) -> dict[str, Callable[[], Tensor]]:
    """Logits of ``batch`` episodes with one support each, of random features: step by step, and as the method does."""
    head = PairHead({stride: maps for stride, (maps, _) in LEVELS.items()})
    query, support = features(size, batch, 0), features(size, batch, 1)
    mask = torch.zeros(batch, size, size)
    mask[:, size // 4 : size // 2, size // 4 : size // 2] = 1
    return {
        "step by step": partial(naive, head, query, support, mask),
        "the method's": partial(own, head, query, support, mask),
    }


def features(size: int, batch: int, seed: int) -> list[Tensor]:
    """Maps (B, L, C, h, w) of each level, fine to coarse."""
    generator = torch.Generator().manual_seed(seed)
    sides = {stride: -(-size // stride) for stride in LEVELS}
    return [torch.randn(batch, *LEVELS[s], side, side, generator=generator) for s, side in sides.items()]


def own(head: PairHead, query: list[Tensor], support: list[Tensor], mask: Tensor) -> Tensor:
    """As the method computes it."""
    logits: Tensor = head([units(level) for level in query], [units(level, mask) for level in support])
    return logits


def naive(head: PairHead, query: list[Tensor], support: list[Tensor], mask: Tensor) -> Tensor:
    """Pairs are (B, C, h, w, s, t) here."""
    squeezed = []
    for block, q, s in zip(head.squeeze, query, support, strict=True):
        assert isinstance(block, SqueezeBlock)
        pairs = whole_correlation(q, s, mask)
        for step in (block.first, block.second, block.third):
            pairs = pivot(step, pairs)
        squeezed.append(pairs)
    mixed = squeezed[2]
    for place in (1, 0):
        b, c, h, w, rows, columns = mixed.shape
        size = (squeezed[place].shape[2], squeezed[place].shape[3])
        maps = mixed.permute(0, 4, 5, 1, 2, 3).reshape(-1, c, h, w)
        maps = F.interpolate(maps, size, mode="bilinear", align_corners=True)
        mixed = squeezed[place] + maps.unflatten(0, (b, rows, columns)).permute(0, 3, 4, 5, 1, 2)
        for step in children(head.mix[place]):
            mixed = pivot(step, mixed)
    decoded = head.decode(mixed.mean(dim=(4, 5)))
    logits: Tensor = head.classify(F.interpolate(decoded, scale_factor=2, mode="bilinear", align_corners=True))
    return logits


def children(block: nn.Module) -> list[PairConvolution]:
    """The steps of a block."""
    return [step for step in block.children() if isinstance(step, PairConvolution)]


def whole_correlation(query: Tensor, support: Tensor, mask: Tensor) -> Tensor:
    """Of one level: (B, L, h, w, s, t), map by map."""
    maps = []
    for q, s in zip(query.unbind(1), support.unbind(1), strict=True):
        weights = F.interpolate(mask[:, None], s.shape[-2:], mode="bilinear", align_corners=True)
        shown = (s * weights).flatten(2)
        shown = shown / (shown.norm(dim=1, keepdim=True) + NORM_EPS)
        seen = q.flatten(2)
        seen = seen / (seen.norm(dim=1, keepdim=True) + NORM_EPS)
        maps.append((seen.transpose(1, 2) @ shown).view(-1, *q.shape[-2:], *s.shape[-2:]).clamp(min=0))
    return torch.stack(maps, dim=1)


def pivot(step: PairConvolution, pairs: Tensor) -> Tensor:
    """Centre-pivot convolution, group norm and ReLU of (B, C, h, w, s, t)."""
    b, c, h, w, s, t = pairs.shape
    kept = pairs[..., :: step.stride, :: step.stride]
    sides = kept.shape[-2:]
    along_query = step.query(kept.permute(0, 4, 5, 1, 2, 3).contiguous().view(-1, c, h, w))
    along_query = along_query.view(b, *sides, -1, h, w).permute(0, 3, 4, 5, 1, 2)
    along_support = step.support(pairs.permute(0, 2, 3, 1, 4, 5).contiguous().view(-1, c, s, t))
    along_support = along_support.view(b, h, w, -1, *sides).permute(0, 3, 1, 2, 4, 5)
    total: Tensor = step.norm(along_query.contiguous() + along_support.contiguous())
    return total.relu()
