"""SG-One: the query's segmentation features, weighted by their likeness to the support's masked mean.

Title: SG-One: Similarity Guidance Network for One-Shot Semantic Segmentation
Authors: Xiaolin Zhang et al.
Venue: IEEE Transactions on Cybernetics
Year: 2020
Fidelity: parity
Transductive: no
Test-time training: none
Extra data: none
Distinctive: cosines of a guidance branch multiply the features of a segmentation branch; one trunk for all images.
Differences: RGB throughout; the authors' code trains on BGR images and tests on RGB.
Differences: void counts nowhere; in the authors' training it is foreground (void_in_fg=true).
Differences: the protocol's lists and size; the authors train on images of one class alone, and swap roles at 1 shot.
Differences: as in the authors' code, the last 1x1 convolution pads by 1 and so zooms the result (exit_padding=0: not).
Differences: the authors do not say which of their snapshots is the published one; here it is the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsseg_bench.method import VOID, Episode, Method
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.bilinear import resize
from fsseg_bench.nn.layout import Layout, VGGLayout
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.nn.prototypes import cosine_scores, masked_average, unit_cells
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import Recipe
from fsseg_bench.schema import Range
from fsseg_methods._shared import CODE, Count, changed, fcn_recipe, labels_of

_LEVELS = ("pool3", "pool4", "pool5", "layer2", "layer3", "layer4")


class SGOne(Method):
    """Side-path features times cosine similarity, then two convolutions."""

    @dataclass(frozen=True)
    class Switches:
        """Of the branches, the shots and void."""

        fusion: Literal["avg", "max"] = "avg"
        """Of several shots: the mean of their vectors, or the union of the predictions of each shot (`max`)."""
        exit_padding: Annotated[int, Range(least=0)] = 1
        """Padding of the last 1x1 convolution. 1 as published: its bias rings the logits, and resizing zooms in by
        that ring; 0 is clean."""
        void_in_fg: bool = False
        """Whether void counts as foreground, in supports and labels, as in the authors' training."""
        width: Count = 128
        """Channels of the segmentation branch; never more than the backbone has."""
        guidance_width: Count = 512
        """Channels of the guidance branch; never more than the backbone has."""

    switches: Switches

    max_ways: ClassVar[int | None] = 1
    default_backbone: ClassVar[str] = "vgg16"
    layout: ClassVar[Layout] = Layout(
        families=(VGGLayout(pool_strides=(2, 2, 2, 1, 1), dilations=(1, 1, 1, 1, 1)),), levels=True
    )

    def __init__(self, backbone: Backbone, switches: Switches) -> None:
        super().__init__(backbone, switches)
        self.levels = tuple(stage for stage in backbone.stages if stage in _LEVELS) or backbone.stages[-1:]
        channels = [backbone.channels[level] for level in self.levels]
        width = min(switches.width, backbone.out_channels)
        self.guidance = _convolution(channels[-1], min(switches.guidance_width, backbone.out_channels))
        self.side = nn.ModuleList(
            _convolution(inputs + (width if place else 0), width) for place, inputs in enumerate(channels)
        )
        # Xavier's start belongs to the authors' trunk module; these two lie outside it, with PyTorch's own start
        self.fuse = nn.Conv2d(width, width, 3, padding=1)
        self.exit = nn.Conv2d(width, 2, 1, padding=switches.exit_padding)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The segmentation branch (M, D, h, w) and the guidance branch (M, C, h, w), both signed."""
        levels = self.trunk(images)
        return self.side_path(levels)[-1], self.guidance(levels[-1])

    def trunk(self, images: Tensor) -> tuple[Tensor, ...]:
        """The trunk's levels of stride 8, each >= 0."""
        return tuple(F.relu(level) for level in self.backbone.levels(images, self.levels))

    def side_path(self, levels: tuple[Tensor, ...]) -> list[Tensor]:
        """The segmentation branch after each level: s_i = ReLU(conv([s_(i-1), level_i])), the last without ReLU."""
        steps: list[Tensor] = []
        for convolution, level in zip(self.side, levels, strict=True):
            steps.append(convolution(torch.cat((F.relu(steps[-1]), level), dim=1) if steps else level))
        return [*(F.relu(step) for step in steps[:-1]), steps[-1]]

    def vectors(self, episode: Episode) -> Tensor:
        """The mean guidance (B, K, C) under each support's mask, as if it were upsampled; 0 for an empty mask."""
        _, guidance = episode.support
        masks = episode.support_masks[:, 0]
        shown = masks != 0 if self.switches.void_in_fg else masks == 1
        averages = masked_average(guidance.flatten(0, 2), shown.flatten(0, 1)[:, None])
        return averages.reshape(*masks.shape[:2], -1)

    def predict(self, episode: Episode) -> Tensor:
        """Logits (B, 2, h + 2, w + 2) with ``exit_padding`` 1; at image size where predictions are united."""
        vectors = self.vectors(episode)
        side, guidance = episode.query
        if self.switches.fusion == "avg" or episode.shots == 1:
            return self.head(side, similarity(guidance, vectors.mean(dim=1)))
        shots = [self.head(side, similarity(guidance, vector)) for vector in vectors.unbind(dim=1)]
        return united(resize(torch.stack(shots, dim=1), episode.size))

    def head(self, side: Tensor, alike: Tensor) -> Tensor:
        """Logits (B, 2, h', w') of the segmentation branch (B, D, h, w) weighted by similarities (B, 1, h, w)."""
        logits: Tensor = self.exit(F.relu(self.fuse(side * alike)))
        return logits

    def loss(self, episode: Episode) -> dict[str, Tensor]:
        """Cross-entropy at the labels' size over all pixels that are not void."""
        labels = labels_of(episode, void=1 if self.switches.void_in_fg else VOID)
        return {"query": segmentation_loss(self.predict(episode), labels)}

    @classmethod
    def recipe(cls, protocol: Protocol, shot: int) -> Recipe:
        """The authors' training with one support, the same for both data sets and any number of shots."""
        recipe = fcn_recipe(protocol)
        if protocol.synthetic:
            return recipe
        why = {"lr_factors": CODE, "bias_lr_factor": CODE}
        return changed(recipe, why, lr_factors={"guidance.": 10.0}, bias_lr_factor=2.0)


def similarity(guidance: Tensor, vectors: Tensor) -> Tensor:
    """Cosines (B, 1, h, w) in [-1, 1] of each cell of the guidance (B, C, h, w) with a vector (B, C)."""
    return cosine_scores(unit_cells(guidance).cells, vectors[:, None], alpha=1.0)


def united(logits: Tensor) -> Tensor:
    """Logits of K predictions (B, K, 2, H, W) as one (B, 2, H, W): foreground where any of them says so.

    At each pixel those of the prediction that leans most to the foreground.
    """
    margins = logits[:, :, 1] - logits[:, :, 0]
    chosen = margins.argmax(dim=1)[:, None, None].expand(-1, -1, 2, -1, -1)
    return logits.gather(1, chosen).squeeze(1)


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """A 3x3 convolution with Xavier's uniform weights and biases 0."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.xavier_uniform_(convolution.weight)
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    return convolution
