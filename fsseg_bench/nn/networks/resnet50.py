"""ResNet-50 of He et al. (CVPR 2016): bottleneck blocks.

Supervision: image labels
Pretraining data: ImageNet-1k
Novel classes: by labels (pascal5i, coco20i-a, coco20i-b)
"""

from __future__ import annotations

from fsseg_bench.nn.backbones.resnet import ResNet, resnet_facts


class ResNet50(ResNet):
    """torchvision's ``resnet50``."""

    network = "resnet50"
    facts = resnet_facts(widening=4, weights="ResNet50_Weights.IMAGENET1K_V1")
