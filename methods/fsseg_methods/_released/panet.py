"""PANet's own files, and those of PANet on ResNet-50 that PPNet's authors released as their baseline."""

from __future__ import annotations

from fsseg_bench.nn.released import Released
from fsseg_bench.protocol.claim import Claim
from fsseg_methods._released._ppnet import README
from fsseg_methods._released._resnet import resnet_names
from fsseg_methods._released._vgg import vgg_names

RELEASED = (
    Released(
        what="PANet (FewShotSeg of kaixin96/PANet)",
        backbones=("vgg16",),
        marks=("encoder.backbone.features.0.0",),
        names=vgg_names(lambda block, place: f"encoder.backbone.features.{2 * block}.{2 * place}"),
        source="none is released (README of github.com/kaixin96/PANet); training writes snapshots/<iteration>.pth",
    ),
    Released(
        what="PANet* (FewShotSeg of Xiangyi1996/PPNet-PyTorch)",
        backbones=("resnet50",),
        marks=("encoder.backbone.conv1", "encoder.backbone.layer4"),
        names=resnet_names("encoder.backbone."),
        lists="of the authors: PASCAL-5i from trainaug, with images that their tests show too",
        source="README of github.com/Xiangyi1996/PPNet-PyTorch: Google Drive, row 'PANet*', a folder for each fold",
        claims="PANet* in PPNet's README: PASCAL-5i, ResNet-50, 1-way 1-shot, mean-IoU 49.10",
        rows=(Claim(protocol="pascal5i", shots=(1,), source=README),),
    ),
)
