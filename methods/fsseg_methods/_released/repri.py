"""RePRI: the released files of the base network, which are all that is learned."""

from __future__ import annotations

from fsseg_bench.nn.released import Released
from fsseg_bench.protocol.claim import Claim
from fsseg_methods._released._resnet import deep_names

_HEAD = {
    **{f"ppm.features.{i}.{part}": f"base.pool.bins.{i}.{part - 1}" for i in range(4) for part in (1, 2)},
    **{f"bottleneck.{part}": f"base.bottleneck.{part}" for part in (0, 1)},
    "classifier": "base.classify",
}

RELEASED = (
    Released(
        what="RePRI's PSPNet on a deep-stem ResNet",
        backbones=("resnet50-deep", "resnet101-deep"),
        marks=("layer0.7", "layer1.0.conv1", "ppm.features.0", "bottleneck.0", "classifier"),
        names=deep_names([f"layer0.{i}" for i in (0, 1, 3, 4, 6, 7)]) | _HEAD,
        classes="classifier.bias",
        lists="of the authors: pixels of unseen classes are ignored in training",
        source="README of github.com/mboudiaf/RePRI-for-Few-Shot-Segmentation: iCloud, full pretrained models, "
        "model_ckpt/<data>/split=<i>/model/pspnet_resnet<layers>/smoothing=True/mixup=False/best.pth",
        licence="MIT (the repository's)",
        claims="RePRI's README, 1 and 5 shots: PASCAL-5i, ResNet-50 59.1 and 66.8, ResNet-101 59.4 and 65.6; "
        "COCO-20i (B), ResNet-50 34.0 and 42.1",
        rows=tuple(
            Claim(protocol=each, shots=(1, 5), source="README of github.com/mboudiaf/RePRI")
            for each in ("pascal5i", "coco20i-b")
        ),
        notes=(
            "The epoch was chosen by episodes of the test classes.",
            "The authors leave out of the query what its true mask has as 255; here all of it counts.",
        ),
    ),
)
