"""FWB: files that the authors' code writes for its variant with feature weighting."""

from __future__ import annotations

from fsseg_bench.nn.released import Released
from fsseg_methods._released._resnet import resnet_names

_EXIT = {"exit_layer.0": "exit.inner", "exit_layer.2": "exit.outer"}
_SOURCE = (
    "none is released (github.com/ducminhkhoi/Feature-Weighting-and-Boosting); training writes <logs>/best_iou.pth"
)
_NOTES = (
    "The authors' code evaluates the variant with boosting with these parameters, too. A file of one of the variants "
    "1, 4, 6, 7 has an exit layer of twice the inputs, and does not fit.",
)

RELEASED = (
    Released(
        what="FWB on a ResNet (ResNet of few_shot_model.py)",
        backbones=("resnet101", "resnet50"),
        marks=("conv1", "layer4", "exit_layer.0"),
        names=resnet_names() | _EXIT,
        source=_SOURCE,
        licence="BSD-3-Clause",
        notes=_NOTES,
    ),
    Released(
        what="FWB on VGG-16 with batch-norm (VGG of few_shot_model.py)",
        backbones=("vgg16",),
        marks=("features.0", "features.41", "exit_layer.0"),
        names={"features": "backbone.features"} | _EXIT,
        source=_SOURCE,
        licence="BSD-3-Clause",
        notes=_NOTES,
    ),
)
