"""ResNet-18 of He et al. (CVPR 2016): basic blocks."""

from __future__ import annotations

from fsseg_bench.nn.backbones.resnet import ResNet, resnet_facts


class ResNet18(ResNet):
    """torchvision's ``resnet18``."""

    network = "resnet18"
    facts = resnet_facts(widening=1, weights="ResNet18_Weights.IMAGENET1K_V1")
