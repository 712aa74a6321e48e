"""co-FCN: a conditioning network reads support image and annotation; one vector of it steers the query's FCN-32s.

Title: Conditional Networks for Few-Shot Semantic Segmentation
Authors: Kate Rakelly et al.
Venue: ICLR Workshop
Year: 2018
Fidelity: parity
Transductive: no
Test-time training: none
Extra data: none
Distinctive: a second, unshared trunk reads the support with negative and positive annotation maps as further channels.
Differences: torchvision's weights and normalisation, not Caffe's (BGR, 0 to 255 less the mean).
Differences: annotation maps of +-2.22, as strong beside the image as the authors' +-128 (annotation_value=128).
Differences: dense masks in training; the authors train with 0 to 99 random labelled pixels a class.
Differences: the protocol's lists, image size and last checkpoint; in the original a support may be the query itself.
Differences: ResNets (not in the paper) at stride 32; fc6 is padded there, and the image is not.
Differences: as in the authors' code, dense masks too grow by 5 pixels into each other and into void (dilation=1: none).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsseg_bench.method import Episode, Features, Method, feature_map
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.bilinear import transposed_bilinear
from fsseg_bench.nn.layout import Layout, ResNetLayout, VGGLayout
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.recipe import Recipe
from fsseg_bench.schema import Must
from fsseg_methods._shared import CODE, Count, Share, changed, fcn_recipe, labels_of

_KERNEL = 7


class CoFCN(Method):
    """Query features and the support's mean feature, side by side, scored cell by cell and upsampled."""

    @dataclass(frozen=True)
    class Switches:
        """Of the annotation maps and the head."""

        width: Count = 256
        """Channels of fc6 and fc7; never more than the backbone has."""
        dropout: Share = 0.5
        """Share of channels of fc6 and fc7 that are dropped in training."""
        dilation: Annotated[int, Must("odd and at least 1", lambda side: side > 0 and side % 2 == 1)] = 11
        """Side in pixels of the square by which annotations grow, into each other and into void as in the authors'
        code; 1 leaves them."""
        annotation_value: float = 2.22  # 128 of 255, over the normalisation's mean deviation of 0.226
        """A map is plus this where it is marked and minus this elsewhere."""

    switches: Switches

    max_ways: ClassVar[int | None] = 1
    default_backbone: ClassVar[str] = "vgg16"
    layout: ClassVar[Layout] = Layout(
        families=(
            ResNetLayout(output_stride=32),
            VGGLayout(pool_kernel=2, pool_strides=(2, 2, 2, 2, 2), dilations=(1, 1, 1, 1, 1), first_padding=81),
        )
    )

    def __init__(self, backbone: Backbone, switches: Switches) -> None:
        super().__init__(backbone, switches)
        channels = min(switches.width, backbone.out_channels)
        padded = padded_in_front(backbone)
        # Cell (0, 0) must lie over the pixels that it sees. An image padded in front does that by itself; where fc6 is
        # padded instead, the upsampled map has one stride too many before the image.
        self.offset = 0 if padded else backbone.stride
        self.query_fc6 = nn.Conv2d(backbone.out_channels, channels, _KERNEL, padding=0 if padded else _KERNEL // 2)
        self.conditioning = copy.deepcopy(backbone)
        widen(self.conditioning.first_convolution, 2)
        self.support_fc6 = copy.deepcopy(self.query_fc6)
        self.fc7 = nn.Conv2d(2 * channels, channels, 1)
        self.score = nn.Conv2d(channels, 2, 1)
        nn.init.zeros_(self.score.weight)
        assert self.score.bias is not None
        nn.init.zeros_(self.score.bias)
        self.dropout = nn.Dropout2d(switches.dropout)

    def encode(self, images: Tensor) -> Tensor:
        """Query features (M, C, h, w) >= 0; C is ``width`` or less."""
        features: Tensor = self.dropout(self._features(self.backbone, self.query_fc6, images))
        return features

    def encode_support(self, images: Tensor, masks: Tensor) -> Features:
        """The mean (M, C) of each support's features, and the number of cells (M, 1) that it stands for."""
        features = self.dropout(self.support_features(images, masks))
        cells = features.new_full((features.shape[0], 1), features.shape[2] * features.shape[3], dtype=torch.float32)
        return features.mean(dim=(2, 3)), cells

    def support_features(self, images: Tensor, masks: Tensor) -> Tensor:
        """Features (M, C, h, w) >= 0 of supports (M, 3, H, W) with their masks (M, H, W) uint8, without dropout."""
        marked = torch.cat((images, self.annotations(masks).to(images.dtype)), dim=1)
        return self._features(self.conditioning, self.support_fc6, marked)

    def annotations(self, masks: Tensor) -> Tensor:
        """Masks (M, H, W) uint8 as maps (M, 2, H, W): where background is marked, and where the class.

        Each is grown by itself, so that near an edge, and in void, a pixel may be marked in both.
        """
        maps = torch.stack((masks == 0, masks == 1), dim=1).float()
        grown = F.max_pool2d(maps, self.switches.dilation, stride=1, padding=self.switches.dilation // 2)
        return self.switches.annotation_value * (2 * grown - 1)

    def predict(self, episode: Episode) -> Tensor:
        """Logits (B, 2, H, W)."""
        scores = self.score(self.dropout(self.fused(support_vector(episode), feature_map(episode.query))))
        return transposed_bilinear(scores, self.backbone.stride, episode.size, self.offset)

    def fused(self, vectors: Tensor, query: Tensor) -> Tensor:
        """fc7 and ReLU over the support's vector (B, C), tiled, and the query's features (B, C, h, w): (B, C, h, w)."""
        tiled = vectors.to(query.dtype)[:, :, None, None].expand_as(query)
        return F.relu(self.fc7(torch.cat((tiled, query), dim=1)))

    def loss(self, episode: Episode) -> dict[str, Tensor]:
        """Cross-entropy over all pixels that are not void."""
        return {"query": segmentation_loss(self.predict(episode), labels_of(episode))}

    @staticmethod
    def _features(trunk: Backbone, fc6: nn.Conv2d, images: Tensor) -> Tensor:
        return F.relu(fc6(F.relu(trunk(images))))

    @classmethod
    def recipe(cls, protocol: Protocol, shot: int) -> Recipe:
        """The authors' training with one support, the same for both data sets and any number of shots."""
        recipe = fcn_recipe(protocol)
        if protocol.synthetic:
            return recipe
        return changed(recipe, {"lr": f"{CODE}: its default; the script it ships, for a later model, has 1e-6"})


def support_vector(episode: Episode) -> Tensor:
    """The mean feature (B, C) over all cells of all shots, so that a larger support weighs more."""
    assert isinstance(episode.support, tuple)
    means, cells = (level.flatten(1, 2) for level in episode.support)
    return (means * cells).sum(dim=1) / cells.sum(dim=1)


def padded_in_front(backbone: Backbone) -> bool:
    """Whether the first convolution pads the image by more than it reads beyond its border.

    FCN-32s do so (81 for a kernel of 3), that cell (0, 0) of an unpadded fc6 looks at the image's first cell.
    """
    first = backbone.first_convolution
    return int(first.padding[0]) > first.kernel_size[0] // 2


def widen(convolution: nn.Conv2d, further: int) -> None:
    """Gives a convolution ``further`` input channels, in place; their filters are the mean of those it has."""
    weight = convolution.weight.detach()
    mean = weight.mean(dim=1, keepdim=True).expand(-1, further, -1, -1)
    convolution.weight = nn.Parameter(torch.cat((weight, mean), dim=1))
    convolution.in_channels += further
