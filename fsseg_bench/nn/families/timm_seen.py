"""What weights of timm's models have seen, as far as their tags say; neither timm nor torch is needed."""

from __future__ import annotations

_LABELS = "by labels (pascal5i, coco20i-a, coco20i-b)"
_BY_TAG: dict[str, tuple[str, str, str]] = {
    "lvd142m": ("none", "LVD-142M", "no"),
    "lvd1689m": ("none", "LVD-1689M", "no"),
    "dinov3_lvd1689m": ("none", "LVD-1689M", "no"),
    "dino": ("none", "ImageNet-1k", "no"),
    "mae": ("none", "ImageNet-1k", "no"),
    "sa1b": ("masks", "SA-1B", "by unnamed masks"),
}
_RECIPES = {"a1", "a1h", "a2", "a3", "augreg", "bt", "fb", "gluon", "ms", "ra", "ra2", "ra3", "tv", "tv2"}
"""What may stand before ``in1k`` in the tag of weights that were trained on ImageNet-1k with its labels alone."""


def pretraining(weights: str) -> dict[str, str]:
    """By field of :data:`fsseg_bench.seen.OF_WEIGHTS`; nothing where the tag is not known.

    Args:
        weights: model and tag: ``vit_small_patch14_dinov2.lvd142m``.
    """
    tag = weights.rpartition(".")[2]
    *recipe, data = tag.split("_")
    found = _BY_TAG.get(tag)
    if found is None and data == "in1k" and _RECIPES.issuperset(recipe):
        found = "image labels", "ImageNet-1k", _LABELS
    names = ("supervision", "pretraining_data", "novel_classes")
    return dict(zip(names, found, strict=True)) if found else {}
