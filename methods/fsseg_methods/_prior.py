"""What PFENet's family shares: features under a mask, the prior mask, support vectors, bias-free parts of heads.

Their networks read middle stages of the backbone, which a 1x1 convolution embeds, and the deepest stage, in which
cells of query and support are compared as they are. The deepest stage of a support sees its object alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsseg_bench.nn.attention import nodes_of, take
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.bilinear import resize
from fsseg_bench.nn.itemwise import itemwise
from fsseg_bench.nn.layout import Layout, ResNetLayout, VGGLayout
from fsseg_bench.nn.prototypes import masked_average, norms

AREA_EPS = 5e-4
"""Added to a mask's area in cells: an empty mask gives a zero vector."""
_COSINE_EPS = 1e-7  # added to the product of two norms
_RANGE_EPS = 1e-7  # added to the largest less the smallest value of a prior
_STAGES = (("layer2", "layer3", "layer4"), ("pool3", "pool4", "conv5"))

LAYOUT = Layout(
    families=(
        ResNetLayout(dilate_first=True),
        VGGLayout(batch_norm=True, pool_kernel=2, pool_strides=(2, 2, 2, 2), dilations=(1, 1, 1, 1, 1)),
    ),
    levels=True,
)
"""ResNets with stride 8, fully dilated from layer3 on; VGG-16 with batch-norm at stride 16, without its last pool."""


class Levels(NamedTuple):
    """What is read of a backbone, all after a ReLU and on one grid."""

    middle: tuple[Tensor, ...]
    """(M, C_i, h, w), shallow to deep."""
    deep: Tensor
    """(M, C, h, w)."""


def stages_of(backbone: Backbone) -> tuple[str, ...]:
    """The stages to read, of which the last is the deep one: three, or the last stage alone where they are missing."""
    for stages in _STAGES:
        if stages[-1] == backbone.stages[-1] and set(stages) <= set(backbone.stages):
            return stages
    return backbone.stages[-1:]


def middle_channels(backbone: Backbone) -> int:
    """Channels of the middle stages together."""
    stages = stages_of(backbone)
    return sum(backbone.channels[stage] for stage in stages[:-1] or stages)


def read_levels(backbone: Backbone, images: Tensor, masks: Tensor | None = None) -> Levels:
    """Middle and deep features of normalised images (M, 3, H, W), on the grid of the last middle stage.

    Given ``masks`` (M, H, W) uint8, the deep stage sees the middle features under them alone: cells outside are 0
    before it, though not after it. Where the backbone has no deeper stage, its last one is both.
    """
    stages = stages_of(backbone)
    levels = [level.relu() for level in backbone.levels(images, stages[:-1] or stages)]
    grid = (levels[-1].shape[2], levels[-1].shape[3])
    deep = levels[-1] if masks is None else levels[-1] * cell_weights(masks, levels[-1])[:, None]
    if len(stages) > 1:
        for module in backbone.stage_modules(stages[-1]):
            deep = module(deep)
    return Levels(tuple(resize(level, grid, align_corners=True) for level in levels), deep.relu())


def joined(levels: Sequence[Tensor]) -> Tensor:
    """Middle features side by side, (M, C, h, w): the deepest first."""
    return torch.cat(tuple(reversed(levels)), dim=1)


def cell_weights(masks: Tensor, like: Tensor) -> Tensor:
    """The share of the object in each cell of ``like`` (..., h, w): masks (..., H, W) uint8 to (..., h, w) in [0, 1].

    Void counts as background. Bilinear, corners aligned, in float32 at least.
    """
    precise = torch.promote_types(like.dtype, torch.float32)
    return _resized((masks == 1).to(precise), size=(like.shape[-2], like.shape[-1]))


@itemwise
def _resized(masks: Tensor, *, size: tuple[int, int]) -> Tensor:
    return resize(masks, size, align_corners=True)


def support_vectors(features: Tensor, weights: Tensor) -> Tensor:
    """sum(F w) / (sum(w) + 0.0005) of features (B, K, C, h, w) and weights (B, K, h, w): (B, K, C)."""
    vectors = masked_average(features.flatten(0, 1), weights.flatten(0, 1)[:, None], map_res="bilinear", eps=AREA_EPS)
    return vectors.view(*features.shape[:3])


@itemwise
def prior_masks(query: Tensor, support: Tensor, weights: Tensor) -> Tensor:
    """How like its most similar support cell each query cell is, scaled to [0, 1] over the query, for each shot.

    v_i = max_j <q_i, w_j s_j> / (|q_i| |w_j s_j| + 1e-7), then (v - min v) / (max v - min v + 1e-7). Features after
    a ReLU have cosines of at least 0, so that cells without any weight never decide and are left out where that is
    possible without a wait (:func:`fsseg_bench.nn.attention.nodes_of`). Shots go one after the other: scores take
    h * w * h' * w' numbers an episode, 52 MB in float32 at 60 x 60 cells, and a few such tensors at once.

    Args:
        query: (B, C, h, w) >= 0.
        support: (B, K, C, h', w') >= 0.
        weights: (B, K, h', w') in [0, 1], the object's share of each cell.

    Returns:
        (B, K, h, w); 0 everywhere for an empty mask.
    """
    cells = query.flatten(2)
    lengths = norms(cells, dim=1)
    priors = []
    for k in range(support.shape[1]):
        nodes = nodes_of(weights[:, k : k + 1] > 0)
        chosen = take(support[:, k : k + 1], nodes) * nodes.of(weights[:, k].flatten(1))[..., None]
        scores = (chosen @ cells) / (norms(chosen, dim=2) * lengths + _COSINE_EPS)
        best = scores.amax(dim=1)
        low, high = best.amin(dim=1, keepdim=True), best.amax(dim=1, keepdim=True)
        priors.append((best - low) / (high - low + _RANGE_EPS))
    stacked: Tensor = torch.stack(priors, dim=1)
    return stacked.view(*stacked.shape[:2], *query.shape[2:])


def plain_block(inputs: int, outputs: int, *, kernel: int = 1, dropout: float = 0.0) -> nn.Sequential:
    """Convolution without bias, ReLU, ``Dropout2d`` if its rate is above 0: (M, inputs, h, w) to (M, outputs, h, w)."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.ReLU()]
    if dropout > 0:
        layers.append(nn.Dropout2d(dropout))
    return nn.Sequential(*layers)


def classifier(width: int, *, dropout: float) -> nn.Sequential:
    """Features (M, width, h, w) to logits (M, 2, h, w): a 3x3 block, then a 1x1 convolution with bias."""
    return nn.Sequential(*plain_block(width, width, kernel=3, dropout=dropout), nn.Conv2d(width, 2, 1))


class ResidualPair(nn.Module):
    """X + R(X), where R is two 3x3 convolutions without bias, each followed by ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pair = nn.Sequential(*plain_block(width, width, kernel=3), *plain_block(width, width, kernel=3))

    def forward(self, features: Tensor) -> Tensor:
        """X (M, width, h, w): of the same shape."""
        refined: Tensor = features + self.pair(features)
        return refined


class Merge(nn.Module):
    """ReLU of a 1x1 convolution without bias of [query; support vector repeated over the map; prior].

    Computed in parts: the vector's is one product an episode, and nothing is repeated or joined.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.joined = nn.Conv2d(2 * width + 1, width, 1, bias=False)
        """The ordinary convolution of the joined input, whose weights are used; it is never called."""
        self.width = width

    def forward(self, query: Tensor, vector: Tensor, prior: Tensor) -> Tensor:
        """Query (B, width, h, w), vector (B, width) and prior (B, 1, h, w): (B, width, h, w)."""
        weight = self.joined.weight
        of_query, of_vector, of_prior = weight.split((self.width, self.width, 1), dim=1)
        constant = F.linear(vector.to(weight.dtype), of_vector.flatten(1))
        return (F.conv2d(query, of_query) + constant[:, :, None, None] + F.conv2d(prior, of_prior)).relu()
