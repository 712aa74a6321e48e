"""RPMMs: the released files."""

from __future__ import annotations

from fsseg_bench.nn.released import Released
from fsseg_bench.protocol.claim import Claim
from fsseg_methods._released._pmms import MARKS, RESNET

RELEASED = (
    Released(
        what="RPMMs (OneModel of FRPMMs)",
        backbones=("resnet50",),
        marks=("model_res.conv1", *MARKS),
        # without layer55.1: a file with it is one of PMMs
        names={official: own for official, own in RESNET.items() if official != "layer55.1"},
        source="README of github.com/Yang-Bob/PMMs: github.com/ECCV20/PMMs, snapshots/FRPMMs, a file for each fold",
        claims="RPMMs, PASCAL-5i, ResNet-50 (the README does not say which table)",
        rows=(Claim(protocol="pascal5i", shots=(1, 5)),),
    ),
)
