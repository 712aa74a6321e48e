"""PPNet with unlabelled images."""

from __future__ import annotations

from fsseg_bench.nn.released import Released
from fsseg_bench.protocol.claim import Claim
from fsseg_methods._released._ppnet import ENCODER, LISTS, README, SEMANTIC, readme

RELEASED = (
    Released(
        what="PPNet with the graph over unlabelled images (SemiFewShotSegPartGraph)",
        backbones=("resnet50",),
        marks=("encoder.conv1", "latentGraph", "aspp.c0"),
        names=ENCODER
        | SEMANTIC
        | {
            "latentGraph.inner_w1": "graph.within",
            "latentGraph.inner_trans": "graph.transform",
            "latentGraph.inter_w1": "graph.nodes",
            "latentGraph.inter_w2": "graph.parts",
        },
        classes="aspp.c0.bias",
        lists=LISTS,
        source=readme("+ PAP + SEM + UD"),
        claims="'+ PAP + SEM + UD' in the README: PASCAL-5i, ResNet-50, 1-way 1-shot, mean-IoU 52.84",
        rows=(Claim(protocol="pascal5i", shots=(1, 5), ways=(1, 2), source=README),),
        notes=(
            "The file does not say for how many shots: the authors' settings for five are top=5 threshold=0.9 group=6 "
            "running_mean=0.9.",
            "The authors' test script reads 4 unlabelled images in groups of 3 (unlabelled=4 group=3), the one for "
            "training 6 in groups of 2, as here.",
        ),
    ),
)
