"""ResNet-101 with a stem of three 3x3 convolutions, as in PSPNet's code; bottleneck blocks.

Supervision: image labels
Pretraining data: ImageNet-1k
Novel classes: by labels (pascal5i, coco20i-a, coco20i-b)
"""

from __future__ import annotations

from fsseg_bench.nn.backbones.resnet import resnet_facts
from fsseg_bench.nn.backbones.resnet_deep import STEM_CHANNELS, DeepResNet

_RELEASES = "https://github.com/rwightman/pytorch-pretrained-gluonresnet/releases/download/v0.1"


class ResNet101Deep(DeepResNet):
    """torchvision's ``resnet101`` behind a deep stem; the ImageNet weights are Gluon's, which timm lists."""

    network = "resnet101"
    facts = resnet_facts(
        widening=4,
        weights="resnet101s.gluon_in1k",
        stem=STEM_CHANNELS,
        url=f"{_RELEASES}/gluon_resnet101_v1s-60fe0cc1.pth",
    )
