"""SG-One: files that the authors' code writes."""

from __future__ import annotations

from fsseg_bench.nn.released import Released
from fsseg_methods._released._vgg import vgg_names

RELEASED = (
    Released(
        what="SG-One (OneModel)",
        backbones=("vgg16",),
        marks=("netB.features_1.0", "netB.side3_1", "exit_layer"),
        names=vgg_names(lambda block, place: f"netB.features_{block + 1}.{2 * place}")
        | {
            "netB.cls.0": "guidance",
            **{f"netB.side{i}_1.0": f"side.{i - 3}" for i in (3, 4, 5)},
            "classifier_6.0": "fuse",
            "exit_layer": "exit",
        },
        source="none is released (github.com/xiaomengyc/SG-One); snapshots/<arch>/group_<i>_of_4/step_<n>.pth.tar",
        notes=("The authors' code trains on BGR images and tests on RGB; images are RGB here.",),
    ),
)
