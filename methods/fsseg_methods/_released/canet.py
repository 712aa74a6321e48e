"""CANet: the one-shot network of the authors' code."""

from __future__ import annotations

from fsseg_bench.nn.released import Released
from fsseg_methods._released._resnet import resnet_names

RELEASED = (
    Released(
        what="CANet, one shot (ResNet of one_shot_network.py)",
        backbones=("resnet50",),
        marks=("layer55", "layer6_0", "residule1"),
        names=resnet_names(last=3)
        | {
            "layer5": "embed.embed",
            "layer55.0": "compare.joined",
            "layer6_0": "decode.aspp.image",
            "layer6_1": "decode.aspp.point",
            **{f"layer6_{i}": f"decode.aspp.dilated.{i - 2}" for i in (2, 3, 4)},
            "layer7": "decode.project",
            "layer9": "decode.classify",
            **{f"residule{i}": f"refine.blocks.{i - 1}" for i in (1, 2, 3)},
        },
        switches={"fusion": "average"},
        source="none is released (github.com/icoz69/CaNet); training writes <checkpoint>/model/best.pth",
        notes=("The attention over several shots was never released: the file has none, and shots are averaged.",),
    ),
)
