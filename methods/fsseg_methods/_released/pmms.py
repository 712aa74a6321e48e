"""PMMs: files that the authors' code writes."""

from __future__ import annotations

from fsseg_bench.nn.released import Released
from fsseg_methods._released._pmms import MARKS, RESNET, VGG

RELEASED = (
    Released(
        what="PMMs on ResNet-50 (OneModel of FPMMs)",
        backbones=("resnet50",),
        marks=("model_res.conv1", "layer55.1", *MARKS),
        names=RESNET,
        source="none is named (README of github.com/Yang-Bob/PMMs); snapshots/FPMMs/group_<i>_of_4/step_<n>.pth.tar",
    ),
    Released(
        what="PMMs on VGG-16 (OneModel of FPMMs_vgg)",
        backbones=("vgg16",),
        marks=("model_backbone.features_1.0", "layer55.1", *MARKS),
        names=VGG,
        source="none is released",
    ),
)
