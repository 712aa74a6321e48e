"""The pyramid pooling network (Zhao et al., CVPR 2017) that is trained on the base classes before RePRI and BAM."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsseg_bench.method import VOID, StageNetwork, feature_map
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.bilinear import resize
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_methods._adaptive import adaptive_average
from fsseg_methods._prior import LAYOUT

BINS = (1, 2, 3, 6)
"""Sides, in cells, to which the features are averaged."""
WIDTH = 512
"""Channels of the features that are classified; light forms have as many as their backbone."""
_DROPOUT = 0.1
_SMOOTHING = 0.1  # of the target, over all other classes together


class PyramidPooling(nn.Module):
    """Features beside their averages over coarse cells, each embedded in a share of the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        own = channels // len(BINS)
        self.bins = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, own, 1, bias=False), nn.BatchNorm2d(own), nn.ReLU()) for _ in BINS
        )
        self.out_channels = channels + own * len(BINS)

    def forward(self, features: Tensor) -> Tensor:
        """(M, channels, h, w) to (M, out_channels, h, w): the features first, then coarse to fine."""
        size = (features.shape[2], features.shape[3])
        pooled = [embed(adaptive_average(features, (side, side))) for side, embed in zip(BINS, self.bins, strict=True)]
        return torch.cat((features, *(resize(each, size, align_corners=True) for each in pooled)), dim=1)


class PSPHead(nn.Module):
    """Pyramid pooling, a 3x3 convolution, and a 1x1 convolution to the background and the base classes.

    In training its batch-norms see one value an image where it is averaged to one cell: a batch needs two images.
    """

    def __init__(self, channels: int, classes: int) -> None:
        """Builds the layers for deep features of ``channels`` and that many base ``classes``."""
        super().__init__()
        width = min(WIDTH, channels)
        self.pool = PyramidPooling(channels)
        self.bottleneck = nn.Sequential(
            nn.Conv2d(self.pool.out_channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout2d(_DROPOUT),
        )
        self.classify = nn.Conv2d(width, 1 + classes, 1)

    def features(self, deep: Tensor) -> Tensor:
        """What is classified: (M, width, h, w) >= 0 of deep features (M, channels, h, w) after their ReLU."""
        features: Tensor = self.bottleneck(self.pool(deep))
        return features

    def forward(self, deep: Tensor) -> Tensor:
        """Logits (M, 1 + classes, h, w), background first."""
        logits: Tensor = self.classify(self.features(deep))
        return logits


class PSPNet(StageNetwork):
    """A pyramid pooling network; its loss is the cross-entropy of the logits at the size of the image (BAM)."""

    layout = LAYOUT

    def __init__(self, backbone: Backbone, base_classes: int) -> None:
        super().__init__(backbone, base_classes)
        self.base = PSPHead(backbone.out_channels, base_classes)

    def labelled_loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropy."""
        return {"base": segmentation_loss(self.logits(images), labels, align_corners=True)}

    def logits(self, images: Tensor) -> Tensor:
        """Logits (M, C + 1, h, w) of normalised images."""
        found: Tensor = self.base(feature_map(self.backbone(images)).relu())
        return found


class SmoothedPSPNet(PSPNet):
    """The same, with a part of the target spread over the other classes (RePRI)."""

    def labelled_loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """:func:`smoothed_loss`."""
        return {"base": smoothed_loss(self.logits(images), labels)}


def smoothed_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy to 0.9 on the class and 0.1 over all others together, a mean over the pixels that are not void.

    Args:
        logits: (M, C, h, w), upsampled to the labels' size with aligned corners.
        labels: (M, H, W) uint8 in 0..C-1, or 255, which counts nowhere.

    Returns:
        A scalar; 0 when every pixel is void.
    """
    with torch.autocast(logits.device.type, enabled=False):
        precise = logits.float() if logits.dtype in {torch.float16, torch.bfloat16} else logits
        logs = resize(precise, (labels.shape[-2], labels.shape[-1]), align_corners=True).log_softmax(dim=1)
        kept = labels != VOID
        own = -F.nll_loss(logs, labels.long(), ignore_index=VOID, reduction="none")
        others = (logs.sum(dim=1) - own) * (_SMOOTHING / (logs.shape[1] - 1))
        losses = -(own * (1 - _SMOOTHING) + others)
        return (losses * kept).sum() / kept.sum().clamp(min=1)
