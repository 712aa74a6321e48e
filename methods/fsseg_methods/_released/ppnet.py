"""PPNet without unlabelled images: parts alone, and parts with the semantic branch."""

from __future__ import annotations

from fsseg_bench.nn.released import Released
from fsseg_bench.protocol.claim import Claim
from fsseg_methods._released._ppnet import ENCODER, LISTS, README, SEMANTIC, readme

RELEASED = (
    Released(
        what="PPNet, parts alone (FewShotSegPartResnet)",
        backbones=("resnet50",),
        marks=("encoder.conv1", "encoder.layer4"),
        names=ENCODER,
        switches={"semantic_weight": 0.0, "part_weight": 0.8},
        lists=LISTS,
        source=readme("+ PAP"),
        claims="'+ PAP' in the README: PASCAL-5i, ResNet-50, 1-way 1-shot, mean-IoU 50.40",
        rows=(Claim(protocol="pascal5i", shots=(1,), method="PPNet +PAP"),),
    ),
    Released(
        what="PPNet, parts and semantic branch (FewShotSegPartResnetSem)",
        backbones=("resnet50",),
        marks=("encoder.conv1", "encoder.layer4", "aspp.c0"),
        names=ENCODER | SEMANTIC,
        classes="aspp.c0.bias",
        lists=LISTS,
        source=readme("+ PAP + SEM"),
        claims="'+ PAP + SEM' in the README: PASCAL-5i, ResNet-50, 1-way 1-shot, mean-IoU 51.50",
        rows=(Claim(protocol="pascal5i", shots=(1,), source=README),),
    ),
)
