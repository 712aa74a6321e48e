"""VGG-16 of Simonyan and Zisserman (ICLR 2015), laid out as in PANet unless a method asks otherwise.

Supervision: image labels
Pretraining data: ImageNet-1k
Novel classes: by labels (pascal5i, coco20i-a, coco20i-b)
"""

from __future__ import annotations

from fsseg_bench.nn.backbones.vgg import VGG, vgg_facts
from fsseg_bench.nn.layout import VGGLayout


class VGG16(VGG):
    """torchvision's ``vgg16``, or ``vgg16_bn`` where a layout asks for batch-norms."""

    facts = vgg_facts(VGGLayout())
