"""ConvNeXt-T of Liu et al. (CVPR 2022): a convolutional network after the design of Swin transformers.

Supervision: image labels
Pretraining data: ImageNet-1k
Novel classes: by labels (pascal5i, coco20i-a, coco20i-b)
"""

from __future__ import annotations

from torch import nn
from torchvision.models import convnext_tiny

from fsseg_bench.nn.backbones import Backbone, Facts, Stage


class ConvNeXtTiny(Backbone):
    """Four stages, each with the layers before it that divide its resolution."""

    facts = Facts(
        stages=(
            Stage("stage1", channels=96, stride=4),
            Stage("stage2", channels=192, stride=8),
            Stage("stage3", channels=384, stride=16),
            Stage("stage4", channels=768, stride=32),
        ),
        weights="ConvNeXt_Tiny_Weights.IMAGENET1K_V1",
    )

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self.features = convnext_tiny().features[: 2 * len(facts.stages)]  # fewer where it is cut

    def stage_modules(self, stage: str) -> tuple[nn.Module, ...]:
        first = 2 * self.stages.index(stage)
        return tuple(self.features[first : first + 2])
