"""ResNet-18 of He et al. (CVPR 2016): basic blocks.

Supervision: image labels
Pretraining data: ImageNet-1k
Novel classes: by labels (pascal5i, coco20i-a, coco20i-b)
"""

from __future__ import annotations

from fsseg_bench.nn.backbones.resnet import ResNet, resnet_facts


class ResNet18(ResNet):
    """torchvision's ``resnet18``."""

    network = "resnet18"
    facts = resnet_facts(widening=1, weights="ResNet18_Weights.IMAGENET1K_V1")
