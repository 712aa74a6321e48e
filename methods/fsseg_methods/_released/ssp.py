"""SSP: the released files. Its head has no parameters: a file is the backbone without its last stage."""

from __future__ import annotations

from fsseg_bench.nn.released import Released
from fsseg_bench.protocol.claim import Claim
from fsseg_methods._released._resnet import deep_names

RELEASED = (
    Released(
        what="SSP (SSP_MatchingNet)",
        backbones=("resnet50-deep", "resnet101-deep"),
        marks=("layer0.0.0", "layer0.1", "layer3"),
        names=deep_names([*(f"layer0.0.{i}" for i in (0, 1, 3, 4, 6)), "layer0.1"], last=3),
        source="README of github.com/fanq15/SSP: Google Drive, a file for each cell of its tables",
        licence="MIT (the repository's)",
        claims="the cell of SSP's README that links it: PASCAL-5i and COCO-20i, ResNet-50 and -101, 1 and 5 shots",
        rows=tuple(Claim(protocol=each, shots=(1, 5)) for each in ("pascal5i", "coco20i-a")),
        notes=(
            "The file does not say whether it is of a 'Baseline' cell (no self-support, which this method cannot do), "
            "nor for how many shots, nor of which data set.",
            "PASCAL's rows use the second step (refine=true, the default); the authors' script for HSNet's protocol "
            "does not (--set refine=false).",
            "The README links one file for both of its COCO tables, whose folds differ: where the folds of training "
            "were the contiguous ones (A), classes of a fold of B were seen in training.",
        ),
    ),
)
