"""CANet: dense comparison of the query with a support vector, refined by its own earlier prediction.

Title: CANet: Class-Agnostic Segmentation Networks with Iterative Refinement and Attentive Few-Shot Learning
Authors: Chi Zhang et al.
Venue: CVPR
Year: 2019
Fidelity: parity
Transductive: no
Test-time training: none
Extra data: none
Distinctive: the last prediction enters residual blocks again, four times; shots are weighed by learned attention.
Differences: a fixed number of refinements; the authors' code stops when the score on the test labels stops improving.
Differences: the support of an episode stays as it is; the authors' code crops it at random in every pass, at test too.
Differences: the attention over shots follows the paper, as its code was never released; its pool's stride is ours.
Differences: attention is learned with several shots only; trained with one it stays where it starts, near the mean.
Differences: as in the authors' code, five ASPP branches (paper: four) and moving batch-norm statistics (paper: fixed).
Differences: void counts nowhere (the authors' masks have none); support crops that lose the object are drawn again.
Differences: heads below 256 channels start from He's weights and without dropout (small_start=true dropout=0.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from fsseg_bench.method import Episode, Features, Method, feature_map
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.bilinear import resize
from fsseg_bench.nn.heads import ASPPClassifier, MidLevel, Refinement, TiledConvolution, start
from fsseg_bench.nn.layout import Layout, ResNetLayout
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.nn.prototypes import masked_average
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import Recipe
from fsseg_bench.schema import Range
from fsseg_methods._shared import CODE, Count, Share, canet_recipe, changed, labels_of, light_recipe

_WIDTH = 256
_DROPOUT = 0.5
_AREA_EPS = 5e-4  # added to the mask's area in cells: an empty mask gives a zero vector


class CANet(Method):
    """Compares each query cell with the support's mean vector, then refines the comparison.

    The light form is a head of fewer than 256 channels, as on backbones that are trained from scratch in seconds:
    there He's larger initial weights, and no dropout, let short training succeed.
    """

    @dataclass(frozen=True)
    class Switches:
        """Of the head and its training."""

        refinements: Annotated[int, Range(least=0)] = 4
        """Passes after the first, each of which reads the softmax of the one before."""
        fusion: Literal["attention", "average"] = "attention"
        """Of several shots' comparisons: learned weights, or their mean."""
        history_rate: Annotated[float, Range(least=0, most=1)] = 0.3
        """How often training gives a sample the map remembered from its last visit instead of zeros."""
        dropout: Share | None = None
        """The share of channels that training drops, where the authors' code does; `none`: 0.5, light form 0."""
        small_start: bool | None = None
        """Whether new weights begin at N(0, 0.01^2) as in the authors' code; `none`: not in the light form."""
        width: Count = _WIDTH
        """Channels of the head; never more than the backbone has."""

    switches: Switches

    max_ways: ClassVar[int | None] = 1
    keeps_history: ClassVar[bool] = True
    layout: ClassVar[Layout] = Layout(
        families=(ResNetLayout(last="layer3", dilate_first=True, stride_in_first=True, ceil_pool=True),), levels=True
    )

    def __init__(self, backbone: Backbone, switches: Switches) -> None:
        super().__init__(backbone, switches)
        width = min(switches.width, backbone.out_channels)
        light = width < _WIDTH
        dropout = (0.0 if light else _DROPOUT) if switches.dropout is None else switches.dropout
        small = not light if switches.small_start is None else switches.small_start
        self.embed = MidLevel(backbone, width, dropout=dropout)
        self.compare = TiledConvolution(width, width, width, dilation=2)
        self.compared = nn.Sequential(nn.ReLU(), nn.Dropout2d(dropout))
        self.attention = ShotAttention(width) if switches.fusion == "attention" else None
        self.refine = Refinement(width)
        self.decode = ASPPClassifier(width, dropout=dropout, project_dropout=dropout)
        for name, part in self.named_children():
            if name != "backbone":
                start(part, small=small)

    def encode(self, images: Tensor) -> Tensor:
        """Embedded mid-level features (M, width, h, w) >= 0."""
        features: Tensor = self.embed(self.backbone, images)
        return features

    def encode_training(self, supports: Tensor, masks: Tensor, queries: Tensor) -> tuple[Features, Features]:
        """Queries first, then supports: each pass has batch-norm statistics of its own."""
        query = self.encode(queries)
        return self.encode(supports), query

    def predict(self, episode: Episode) -> Tensor:
        """Logits (B, 2, H, W) of the last pass, at image size."""
        compared = self.compared_features(episode)
        logits = self.head(compared)
        for _ in range(self.switches.refinements):
            logits = self.head(compared, logits.softmax(dim=1))
        return resize(logits, episode.size, align_corners=True)

    def loss(self, episode: Episode) -> dict[str, Tensor]:
        """Cross-entropy of one pass, which is told a remembered map or zeros; its softmax is remembered."""
        compared = self.compared_features(episode)
        logits = self.head(compared, self.remembered(episode, (compared.shape[2], compared.shape[3])))
        if episode.history is not None:
            episode.history.keep(logits.softmax(dim=1))
        return {"query": segmentation_loss(logits, labels_of(episode), align_corners=True)}

    def compared_features(self, episode: Episode) -> Tensor:
        """D (B, width, h, w) of an episode: see :meth:`comparison`."""
        vectors = support_vectors(feature_map(episode.support)[:, 0], episode.support_masks[:, 0] == 1)
        return self.comparison(feature_map(episode.query), vectors)

    def comparison(self, query: Tensor, vectors: Tensor) -> Tensor:
        """D = sum_k a_k ReLU(conv([query; z_k])): (B, width, h, w), as the query; z of the shots are (B, K, width)."""
        maps: Tensor = self.compared(_beside(self.compare, query, vectors))
        shots = _by_shot(maps, vectors)
        if vectors.shape[1] == 1:
            return shots[:, 0]
        if self.attention is None:
            return shots.mean(dim=1)
        weights: Tensor = self.attention(query, vectors)
        return (weights.to(shots.dtype)[:, :, None, None, None] * shots).sum(dim=1)

    def head(self, compared: Tensor, history: Tensor | None = None) -> Tensor:
        """One pass: D (B, width, h, w), told a softmax (B, 2, any, any) or nothing, to logits (B, 2, h, w)."""
        logits: Tensor = self.decode(self.refine(compared, history))
        return logits

    def remembered(self, episode: Episode, size: tuple[int, int]) -> Tensor | None:
        """What each sample reads, (B, 2, h, w): its remembered map at a rate, else zeros."""
        if episode.history is None:
            return None
        remembers = torch.rand(episode.batch) < self.switches.history_rate
        zeros = torch.zeros(2, *size, device=episode.support_masks.device)
        return torch.stack(
            [
                zeros if past is None or not use else resize(past.to(zeros), size, align_corners=True)
                for use, past in zip(remembers.tolist(), episode.history.past, strict=True)
            ]
        )

    @classmethod
    def recipe(cls, protocol: Protocol, shot: int) -> Recipe:
        """The authors' training with one support, the same for both data sets and any number of shots."""
        if protocol.synthetic:
            why = {"augment": f"{CODE}: queries as they are, since remembered maps lie on them"}
            return changed(light_recipe(), why, augment="enlarged-crop-supports")
        why = {
            "bn": f"{CODE}; the paper calls the backbone fixed (recipe.bn=eval)",
            "train_shots": "ours: as in the evaluation, so that attention over several shots is learned",
        }
        return changed(canet_recipe(CODE), why)


class ShotAttention(nn.Module):
    """Weights of the shots: softmax over k of mean(conv(pool(ReLU(conv([query; z_k])))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = TiledConvolution(width, width, width)
        self.pool = nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1))
        self.last = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, query: Tensor, vectors: Tensor) -> Tensor:
        """Query (B, C, h, w) and vectors (B, K, C) to weights (B, K) that sum to 1."""
        scores = self.last(self.pool(_beside(self.first, query, vectors))).mean(dim=(1, 2, 3))
        return _by_shot(scores.float(), vectors).softmax(dim=1)


def support_vectors(features: Tensor, masks: Tensor) -> Tensor:
    """z = sum(F M) / (sum(M) + 0.0005) for soft masks M at feature resolution: (B, K, C); 0 for an empty mask.

    F are features (B, K, C, h, w). Masks (B, K, H, W), 1 on the object (a share of it, where not bool), are resized
    bilinearly, corners aligned.
    """
    weights = masks.flatten(0, 1)[:, None].to(features.dtype)
    vectors = masked_average(features.flatten(0, 1), weights, map_res="bilinear", align_corners=True, eps=_AREA_EPS)
    return _by_shot(vectors.squeeze(1), masks)


def _beside(convolution: TiledConvolution, maps: Tensor, vectors: Tensor) -> Tensor:
    """The convolution of maps (B, C, h, w) beside each of their K vectors (B, K, C): (B * K, outputs, h, w)."""
    parts = convolution.of_vector(vectors.flatten(0, 1), (maps.shape[2], maps.shape[3]))
    return (convolution.of_map(maps)[:, None] + _by_shot(parts, vectors)).flatten(0, 1)


def _by_shot(tensor: Tensor, like: Tensor) -> Tensor:
    """The first axis (B * K) of a tensor as the first two (B, K) of ``like``."""
    return tensor.view(*like.shape[:2], *tensor.shape[1:])
