"""The folds of the built-in protocols, written out by hand from the definitions.

PASCAL-5i: fold i holds out VOC classes 5i-4 .. 5i. COCO-20i-A is contiguous (20i-19 .. 20i), COCO-20i-B is
interleaved (i, i+4, ...), in the order of COCO's 80 categories.
"""

from __future__ import annotations

import pytest

from fsseg_bench.protocol.load import load_protocol

PASCAL = {
    1: "aeroplane bicycle bird boat bottle",
    2: "bus car cat chair cow",
    3: "diningtable dog horse motorbike person",
    4: "pottedplant sheep sofa train tvmonitor",
}

COCO_A = {
    1: "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, "
    "fire hydrant, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow",
    2: "elephant, bear, zebra, giraffe, backpack, umbrella, handbag, tie, suitcase, frisbee, "
    "skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, "
    "tennis racket, bottle",
    3: "wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, "
    "broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed",
    4: "dining table, toilet, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, "
    "toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier, toothbrush",
}

COCO_B = {
    1: "person, airplane, boat, parking meter, dog, elephant, backpack, suitcase, sports ball, skateboard, "
    "wine glass, spoon, sandwich, hot dog, chair, dining table, mouse, microwave, refrigerator, scissors",
    2: "bicycle, bus, traffic light, bench, horse, bear, umbrella, frisbee, kite, surfboard, "
    "cup, bowl, orange, pizza, couch, toilet, remote, oven, book, teddy bear",
    3: "car, train, fire hydrant, bird, sheep, zebra, handbag, skis, baseball bat, tennis racket, "
    "fork, banana, broccoli, donut, potted plant, tv, keyboard, toaster, clock, hair drier",
    4: "motorcycle, truck, stop sign, cat, cow, giraffe, tie, snowboard, baseball glove, bottle, "
    "knife, apple, carrot, cake, bed, laptop, cell phone, sink, vase, toothbrush",
}


@pytest.mark.parametrize("fold", [1, 2, 3, 4])
def test_pascal(fold: int) -> None:
    protocol = load_protocol("pascal5i")
    assert list(protocol.folds[fold]) == PASCAL[fold].split()
    assert protocol.novel_classes(fold) == tuple(range(5 * fold - 4, 5 * fold + 1))
    assert len(protocol.base_classes(fold)) == 15


@pytest.mark.parametrize("fold", [1, 2, 3, 4])
def test_coco_split_a_is_contiguous(fold: int) -> None:
    protocol = load_protocol("coco20i-a")
    assert list(protocol.folds[fold]) == COCO_A[fold].split(", ")
    assert protocol.novel_classes(fold) == tuple(range(20 * fold - 19, 20 * fold + 1))
    assert len(protocol.base_classes(fold)) == 60


@pytest.mark.parametrize("fold", [1, 2, 3, 4])
def test_coco_split_b_is_interleaved(fold: int) -> None:
    protocol = load_protocol("coco20i-b")
    assert list(protocol.folds[fold]) == COCO_B[fold].split(", ")
    assert protocol.novel_classes(fold) == tuple(range(fold, 81, 4))
    assert len(protocol.base_classes(fold)) == 60


@pytest.mark.parametrize(("name", "count"), [("pascal5i", 20), ("coco20i-a", 80), ("coco20i-b", 80)])
def test_folds_cover_every_class_once(name: str, count: int) -> None:
    protocol = load_protocol(name)
    held_out = [c for fold in protocol.folds for c in protocol.novel_classes(fold)]
    assert sorted(held_out) == list(range(1, count + 1))


def test_both_coco_splits_label_the_same_classes() -> None:
    names = [name for fold in (1, 2, 3, 4) for name in COCO_A[fold].split(", ")]
    assert list(load_protocol("coco20i-a").classes) == list(load_protocol("coco20i-b").classes) == names


@pytest.mark.parametrize("name", ["pascal5i", "coco20i-a", "coco20i-b"])
def test_rules_of_the_built_in_protocols(name: str) -> None:
    protocol = load_protocol(name)
    assert protocol.episodes.count == 1000
    assert protocol.data.min_object_pixels == 2048
    assert protocol.data.train_excludes_test is True
    assert protocol.image.size == 417
    assert protocol.scoring.scales == (0.7, 1.0, 1.3)
