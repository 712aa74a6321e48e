"""PFENet: the released files, ResNet-50 on PASCAL and VGG-16 on COCO, and those that the authors' code writes."""

from __future__ import annotations

from fsseg_bench.nn.released import Released
from fsseg_bench.protocol.claim import Claim
from fsseg_methods._released._resnet import deep_names
from fsseg_methods._released._vgg import vgg_layers

_PLACES = range(4)
_HEAD = {
    "down_query.0": "embed_query.0",
    "down_supp.0": "embed_support.0",
    **{f"init_merge.{i}.0": f"pyramid.merge.{i}.joined" for i in _PLACES},
    **{f"alpha_conv.{i}.0": f"pyramid.enrich.{i}.0" for i in range(3)},
    **{f"beta_conv.{i}": f"pyramid.refine.{i}.pair" for i in _PLACES},
    **{f"inner_cls.{i}": f"pyramid.inner.{i}" for i in _PLACES},
    "res1.0": "pyramid.join.0",
    "res2": "pyramid.refine_joined.pair",
    "cls": "pyramid.classify",
}
_MARKS = ("down_query.0", "init_merge.0", "alpha_conv.0", "inner_cls.0")
_SOURCE = "README of github.com/dvlab-research/PFENet: OneDrive, one file a split for all numbers of shots"

RELEASED = (
    Released(
        what="PFENet on a deep-stem ResNet",
        backbones=("resnet50-deep", "resnet101-deep"),
        marks=("layer0.7", "layer1.0.conv1", *_MARKS),
        names=deep_names([f"layer0.{i}" for i in (0, 1, 3, 4, 6, 7)]) | _HEAD,
        switches={"bins": (60.0, 30.0, 15.0, 8.0)},
        source=_SOURCE + " (ResNet-50: PASCAL; no ResNet-101)",
        claims="PFENet, PASCAL-5i, ResNet-50, 1-way, 1 and 5 shots: a file for each split",
        rows=(Claim(protocol="pascal5i", shots=(1, 5)),),
        notes=(
            "The file does not say with which pyramid it was trained. The released ResNet-50 files are PASCAL's, with "
            "sides of 60, 30, 15 and 8 cells, which are set; for one of COCO: --set bins=1,0.5,0.25,0.125.",
            "Its batch-norms have the statistics that moved in training, not ImageNet's.",
        ),
    ),
    Released(
        what="PFENet on VGG-16 with batch-norm",
        backbones=("vgg16-bn",),
        marks=("layer0.0.bias", "layer4.6", *_MARKS),
        names=vgg_layers() | _HEAD,
        source=_SOURCE + " (VGG-16: COCO)",
        claims="PFENet, COCO-20i (B), VGG-16, 1-way, 1 and 5 shots: a file for each split",
        rows=(Claim(protocol="coco20i-b", shots=(1, 5)),),
        notes=(
            "The file does not say with which pyramid it was trained. The released VGG-16 files are COCO's, with "
            "shares of the map (the default here); for one of PASCAL: --set bins=60,30,15,8.",
            "Its batch-norms have the statistics that moved in training, not ImageNet's.",
        ),
    ),
)
