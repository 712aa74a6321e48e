"""BAM: the released files of the whole model (encoder, base learner, meta learner), and those of its first stage."""

from __future__ import annotations

from fsseg_bench.nn.released import Released
from fsseg_bench.protocol.claim import Claim
from fsseg_methods._pspnet import PSPNet
from fsseg_methods._released._resnet import deep_names
from fsseg_methods._released._vgg import vgg_layers


def _base(pooling: str, classifier: str) -> dict[str, str]:
    """Names of the base learner's parts."""
    return {
        **{f"{pooling}.features.{i}.{part}": f"base.pool.bins.{i}.{part - 1}" for i in range(4) for part in (1, 2)},
        **{f"{classifier}.{part}": f"base.bottleneck.{part}" for part in (0, 1)},
        f"{classifier}.4": "base.classify",
    }


_HEAD = {
    **_base("learner_base.0", "learner_base.1"),
    "down_query.0": "embed_query.0",
    "down_supp.0": "embed_support.0",
    "init_merge.0": "meta.merge.joined",
    "ASPP_meta.layer6_0": "meta.aspp.image",
    "ASPP_meta.layer6_1": "meta.aspp.point",
    **{f"ASPP_meta.layer6_{i}": f"meta.aspp.dilated.{i - 2}" for i in (2, 3, 4)},
    "res1_meta.0": "meta.join.0",
    "res2_meta": "meta.refine.pair",
    "cls_meta": "meta.classify",
    "gram_merge": "ensemble.adjust",
    "cls_merge": "ensemble.merge",
}
_WEIGH = {"kshot_rw": "meta.weigh"}
_MARKS = ("learner_base.0", "init_merge.0", "gram_merge")
_TRUNKS = {
    "resnet50-deep": (deep_names([f"layer0.{i}" for i in (0, 1, 3, 4, 6, 7)]), ("layer0.7", "layer1.0.conv1")),
    "vgg16-bn": (vgg_layers(), ("layer0.0.bias", "layer4.6")),
}
_LISTS = "of the authors: images that show unseen classes are left out, but for those of unseen classes alone"
_LICENCE = "MIT (the repository's)"

_WHOLE = tuple(
    Released(
        what=f"BAM on {backbone}, {'five shots' if several else 'one shot'}",
        backbones=(backbone,),
        marks=(*marks, *_MARKS, *(_WEIGH if several else ())),
        names=names | _HEAD | (_WEIGH if several else {}),
        switches={"shots": 5} if several else {},
        classes="learner_base.1.4.bias",
        lists=_LISTS,
        source="README of github.com/chunbolang/BAM: OneDrive, all trained models",
        licence=_LICENCE,
        claims="BAM's README: PASCAL-5i 1 and 5 shots, VGG-16 64.41 and 68.76, ResNet-50 67.81 and 70.91; "
        "COCO-20i 43.50 and 49.34, 46.23 and 51.16",
        rows=tuple(Claim(protocol=each, shots=(5 if several else 1,)) for each in ("pascal5i", "coco20i-b")),
    )
    for backbone, (names, marks) in _TRUNKS.items()
    for several in (False, True)
)
_STAGE = tuple(
    Released(
        what=f"BAM's base learner on {backbone} (stage 1, PSPNet)",
        backbones=(backbone,),
        marks=(*marks, "ppm.features.0.1", "cls.4"),
        names=names | _base("ppm", "cls"),
        # the authors' module holds its layers a second time, in a list
        twice={f"encoder.{i}": f"layer{i}" for i in range(5)},
        stage="base",
        network=PSPNet,
        classes="cls.4.bias",
        lists=_LISTS,
        source="README of github.com/chunbolang/BAM: OneDrive, base learners, initmodel/PSPNet",
        licence=_LICENCE,
        notes=("No published row is of the base learner alone: BAM's meta learner is trained on top of it.",),
    )
    for backbone, (names, marks) in _TRUNKS.items()
)

RELEASED = (*_WHOLE, *_STAGE)
