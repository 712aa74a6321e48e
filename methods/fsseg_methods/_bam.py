"""BAM's meta learner: everything between the backbone's features with a base learner's logits and its prediction."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fsseg_bench.nn.heads import ASPP
from fsseg_bench.nn.itemwise import itemwise
from fsseg_bench.nn.prototypes import norms
from fsseg_methods._prior import Merge, ResidualPair, classifier, plain_block

_GRAM_EPS = 1e-7  # added to the product of two channels' norms
_HIDDEN = 2  # units of the network that weighs the shots
_TINY = 1e-24  # keeps the gradient of a root finite at 0


class Meta(NamedTuple):
    """What the meta learner says of a query."""

    logits: Tensor
    """(B, 2, h, w), of the episode's class alone."""
    difference: Tensor
    """(B,), how unlike the supports' scenes are: psi."""


class MetaLearner(nn.Module):
    """Query, support vector and prior to logits; several shots weigh by how like their scenes are to the query's."""

    def __init__(self, width: int, shots: int, *, dropout: float) -> None:
        """Builds the layers of ``width`` channels; ``shots`` above 1 are weighed by a network, other numbers alike."""
        super().__init__()
        self.shots = shots
        if shots > 1:
            self.weigh = nn.Sequential(nn.Conv2d(shots, _HIDDEN, 1), nn.ReLU(), nn.Conv2d(_HIDDEN, shots, 1))
        self.merge = Merge(width)
        self.aspp = ASPP(width, dropout=0.0)
        self.join = plain_block(self.aspp.out_channels, width)
        self.refine = ResidualPair(width)
        self.classify = classifier(width, dropout=dropout)

    def forward(self, query: Tensor, vectors: Tensor, priors: Tensor, differences: Tensor) -> Meta:
        """Query (B, width, h, w), and of each shot a vector (B, K, width), a prior (B, K, h, w) and psi (B, K)."""
        weights = self.shot_weights(differences)
        vector = (weights[..., None] * vectors).sum(dim=1)
        prior = (weights[..., None, None] * priors).sum(dim=1, keepdim=True)
        merged = self.merge(query, vector, prior)
        logits: Tensor = self.classify(self.refine(self.join(self.aspp(merged))))
        return Meta(logits, (weights * differences).sum(dim=1))

    def shot_weights(self, differences: Tensor) -> Tensor:
        """psi (B, K) to weights (B, K) that sum to 1. The network sees psi in ascending order."""
        shots = differences.shape[1]
        if shots == 1 or shots != self.shots:
            return torch.full_like(differences, 1 / shots)
        ordered, order = differences.sort(dim=1, stable=True)
        scores: Tensor = self.weigh(ordered[..., None, None]).flatten(1)
        return scores.gather(1, order.argsort(dim=1)).softmax(dim=1)


class Ensemble(nn.Module):
    """Takes from the background what the base learner knows, and from both classes what unlike scenes cast doubt on."""

    def __init__(self) -> None:
        super().__init__()
        self.adjust = nn.Conv2d(2, 1, 1, bias=False)
        self.merge = nn.Conv2d(2, 1, 1, bias=False)
        with torch.no_grad():
            for part in (self.adjust, self.merge):
                part.weight.copy_(torch.tensor([1.0, 0.0]).view(1, 2, 1, 1))

    def forward(self, meta: Meta, base: Tensor) -> Tensor:
        """The base learner's foreground (B, 1, h, w) and what the meta learner says to scores (B, 2, h, w).

        They are of the size of probabilities, and are taken for logits, as in the authors' code.
        """
        background, foreground = self.adjusted(meta)
        return torch.cat((self.merge(torch.cat((background, base), dim=1)), foreground), dim=1)

    def adjusted(self, meta: Meta) -> tuple[Tensor, Tensor]:
        """Background and foreground (B, 1, h, w): one convolution of each one's probability and psi."""
        probabilities = meta.logits.softmax(dim=1)
        psi = meta.difference[:, None, None, None].expand_as(probabilities[:, :1]).to(probabilities.dtype)
        background, foreground = (self.adjust(torch.cat((p, psi), dim=1)) for p in probabilities.split(1, dim=1))
        return background, foreground


@itemwise
def gram(features: Tensor) -> Tensor:
    """Cosines (M, C, C) between the maps of each two channels of features (M, C, h, w); 1e-7 added to the norms."""
    maps = features.flatten(2)
    lengths = norms(maps, dim=2)
    return (maps @ maps.mT) / (lengths * lengths.mT + _GRAM_EPS)


@itemwise
def scene_differences(query: Tensor, support: Tensor) -> Tensor:
    """psi = |G_q - G_k| / C (Frobenius) of Gram matrices (B, C, C) and, of the shots, (B, K, C, C): (B, K)."""
    squares = (query[:, None] - support).square().sum(dim=(2, 3))
    return squares.clamp_min(_TINY).sqrt() / query.shape[1]


def base_foreground(logits: Tensor, own: Tensor | None = None) -> Tensor:
    """Sum of the base classes' probabilities, (B, 1, h, w), of logits (B, 1 + n, h, w), background first.

    Args:
        logits: of the base learner.
        own: (B,) int64, a class that is left out of the sum, as in training that of the episode; 0: none.
    """
    probabilities = logits.softmax(dim=1)
    classes = torch.arange(logits.shape[1], device=logits.device)
    counted = (classes > 0).expand(len(logits), -1)
    if own is not None:
        counted = counted & (classes != own[:, None])
    return (probabilities * counted[..., None, None]).sum(dim=1, keepdim=True)


def own_class(labels: Tensor, class_labels: Tensor) -> Tensor:
    """The base class (B,) int64 under the object: ``labels`` (B, H, W) are 1 there; 0 where none is labelled.

    ``class_labels`` (B, H, W) are 1..n for base classes and 255 for void.
    """
    shown = (labels == 1) & (class_labels != 255)
    return torch.where(shown, class_labels, 0).flatten(1).amax(dim=1).long()
