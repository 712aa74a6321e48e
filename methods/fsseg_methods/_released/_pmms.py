"""What the files of PMMs and RPMMs share."""

from __future__ import annotations

from fsseg_methods._released._resnet import resnet_names
from fsseg_methods._released._vgg import vgg_names

MARKS = ("layer55", "layer6.layer6_0", "residule1")
_HEAD = {
    "layer5": "mid.embed",
    "layer55.0": "activation.join.joined",
    "layer55.1": "activation.norm",
    "layer56": "activation.merge",
    "layer6.layer6_0": "classify.aspp.image",
    "layer6.layer6_1": "classify.aspp.point",
    **{f"layer6.layer6_{i}": f"classify.aspp.dilated.{i - 2}" for i in (2, 3, 4)},
    "layer7": "classify.project",
    "layer9": "classify.classify",
    **{f"residule{i}": f"refine.blocks.{i - 1}" for i in (1, 2, 3)},
}
RESNET = resnet_names("model_res.", last=3) | _HEAD
VGG = (
    vgg_names(lambda block, place: f"model_backbone.features_{block + 1}.{2 * place}")
    | {"model_backbone.cls.0": "backbone.extra"}
    | _HEAD
)
