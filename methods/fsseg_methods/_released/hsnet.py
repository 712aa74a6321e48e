"""HSNet: the released files, each with the whole backbone beside what was learned."""

from __future__ import annotations

from fsseg_bench.nn.released import Released
from fsseg_bench.protocol.claim import Claim
from fsseg_methods._released._resnet import resnet_names

_LEVELS = (2, 3, 4)  # fine to coarse
_STEPS = ("first", "second", "third")
_PARTS = {"0.conv1": "query", "0.conv2": "support", "1": "norm"}


def _blocks(official: str, own: str, steps: tuple[str, ...]) -> dict[str, str]:
    """Three steps, each a convolution of pairs, a group norm and a ReLU."""
    return {
        f"{official}.{3 * step + int(part[0])}{part[1:]}": f"{own}.{name}.{kind}"
        for step, name in enumerate(steps)
        for part, kind in _PARTS.items()
    }


def _learner() -> dict[str, str]:
    names = {"hpn_learner.decoder1": "head.decode", "hpn_learner.decoder2": "head.classify"}
    for place, level in enumerate(_LEVELS):
        names |= _blocks(f"hpn_learner.encoder_layer{level}", f"head.squeeze.{place}", _STEPS)
    for place, pair in enumerate(("3to2", "4to3")):
        names |= _blocks(f"hpn_learner.encoder_layer{pair}", f"head.mix.{place}", ("0", "1", "2"))
    return names


_SOURCE = (
    "README of github.com/juhongm999/hsnet: Google Drive, best_model.pt in a folder for each fold of PASCAL-5i, "
    "COCO-20i and FSS-1000, and of PASCAL-5i without masked supports"
)
_CLAIMS = (
    "HSNet, PASCAL-5i or COCO-20i (B), 1 and 5 shots with one file (the paper's tables; the README has no numbers)"
)
_ROWS = tuple(Claim(protocol=each, shots=(1, 5)) for each in ("pascal5i", "coco20i-b"))
_UNUSED = "the classifier of ImageNet"
_NOTES = (
    "The file does not say of which data set and fold it is, nor whether supports were masked in training.",
    "Its backbone was not trained and should be torchvision's (first ImageNet weights); here it is the file's.",
)

RELEASED = (
    Released(
        what="HSNet on a ResNet (HypercorrSqueezeNetwork)",
        backbones=("resnet50", "resnet101"),
        marks=("backbone.conv1", "backbone.layer4", "hpn_learner.decoder1"),
        names=resnet_names("backbone.") | _learner(),
        unused={"backbone.fc": _UNUSED},
        source=_SOURCE,
        claims=_CLAIMS,
        rows=_ROWS,
        notes=_NOTES,
    ),
    Released(
        what="HSNet on VGG-16 (HypercorrSqueezeNetwork)",
        backbones=("vgg16",),
        marks=("backbone.features.0", "hpn_learner.decoder1"),
        names={"backbone.features": "backbone.features"} | _learner(),
        unused={"backbone.classifier": _UNUSED},
        source=_SOURCE,
        claims=_CLAIMS,
        rows=_ROWS[:1],  # of VGG-16 there is no row on COCO
        notes=_NOTES,
    ),
)
