"""VGG-16 with a batch-norm after each convolution, in the layout that a method states for a VGG.

Supervision: image labels
Pretraining data: ImageNet-1k
Novel classes: by labels (pascal5i, coco20i-a, coco20i-b)
"""

from __future__ import annotations

from dataclasses import replace

from fsseg_bench.nn.backbones.vgg import VGG, vgg_facts
from fsseg_bench.nn.layout import Layout, VGGLayout


class VGG16BN(VGG):
    """torchvision's ``vgg16_bn``; all else, pools included, is as ``vgg16`` would have it."""

    facts = vgg_facts(VGGLayout(batch_norm=True))

    @classmethod
    def geometry(cls, layout: Layout) -> VGGLayout:
        """The layout's, with batch-norms."""
        return replace(layout.of(VGGLayout), batch_norm=True)
