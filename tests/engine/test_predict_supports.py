"""Supports as users give them: files, arrays, label values, boxes; classes by name and value."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fsseg_bench.engine.predict.classes import Labelled, classes_of_masks, classes_of_protocol
from fsseg_bench.engine.predict.supports import read_supports
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.load import load_protocol

W, H = 9, 6


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.new("RGB", (W, H), (9, 90, 200)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def labels(*values: int) -> np.ndarray:
    """(H, W): a column for each value, background to the right."""
    mask = np.zeros((H, W), np.uint8)
    mask[1:4, : len(values)] = values
    return mask


def palette(path: Path, mask: np.ndarray) -> Path:
    picture = Image.fromarray(mask)
    picture.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0, 0, 0, 200] * 64)
    picture.save(path)
    return path


MASK = labels(1, 3, 3, 255)


@pytest.mark.parametrize("form", ["palette", "grey", "array"])
@pytest.mark.parametrize("label", [1, 3, 255])
def test_a_class_of_masks_with_label_values(image: Path, tmp_path: Path, form: str, label: int) -> None:
    """255 is void, unless it is the value that is meant."""
    mask: Any = MASK.astype(np.int64)
    if form != "array":
        mask = palette(tmp_path / "m.png", MASK) if form == "palette" else tmp_path / "m.png"
    if form == "grey":
        Image.fromarray(MASK).save(mask)
    (support,) = read_supports(image, mask, label)
    for y in range(H):
        for x in range(W):
            value = MASK[y, x]
            assert support.mask[y, x] == (1 if value == label else 255 if value == 255 else 0)
    assert (support.image == (9, 90, 200)).all()


def test_images_without_the_label_are_left_out(image: Path) -> None:
    assert len(read_supports([image] * 3, [labels(1), labels(2), labels(2, 1)], 1)) == 2
    with pytest.raises(UserError, match=r"no support mask has the label value 4 .* beside 0 they have 1, 2"):
        read_supports([image, image], [labels(1), labels(2, 1)], 4)


@pytest.mark.parametrize(
    ("box", "inside"),
    [((2, 1, 5, 4), (2, 1, 5, 4)), ((0, 0, W, H), (0, 0, W, H)), (np.array([1.6, 0.4, 8.2, 5.5]), (2, 0, 8, 6))],
)
def test_boxes(image: Path, box: Any, inside: tuple[int, int, int, int]) -> None:
    (support,) = read_supports(image, box)
    x0, y0, x1, y1 = inside
    expected = [[int(x0 <= x < x1 and y0 <= y < y1) for x in range(W)] for y in range(H)]
    assert support.mask.tolist() == expected
    Image.fromarray(labels(9)).save(image.with_name("m.png"))
    beside_a_mask = read_supports([image, image], [image.with_name("m.png"), box])
    assert beside_a_mask[1].mask.tolist() == expected


@pytest.mark.parametrize(
    "box", [(3, 1, 3, 4), (5, 1, 3, 4), (-1, 0, 4, 4), (0, 0, 4, 7), (0, 0, 10, 6), (0, 0, np.nan, 3)]
)
def test_boxes_outside_the_image(image: Path, box: Any) -> None:
    with pytest.raises(UserError, match=r"a.png: the box .* (9 x 6 pixels; a box is X0 Y0 X1 Y1|not four numbers)"):
        read_supports([image], [box])


MISTAKES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "none": (lambda _: ([], []), "no support is given"),
    "masks": (lambda image: ([image, image], [labels(1)]), "2 support images have 1 masks"),
    "image": (lambda image: (image.with_name("gone.jpg"), labels(1)), "gone.jpg: no such image"),
    "mask": (lambda image: (image, image.with_name("gone.png")), "gone.png: no such mask"),
    "empty": (lambda image: (image, labels()), "the mask is empty"),
    "values": (lambda image: (image, labels(1, 2)), "has the values 1, 2 beside 0.* --class VALUE"),
    "size": (lambda image: (image, labels(1).T), f"is {H} x {W} pixels and its image .*a.png {W} x {H}; a mask"),
    "floats": (lambda image: (image, labels(1) / 2), "is float64"),
    "axes": (lambda image: ([image], [np.ones((H, W, 3), np.uint8)]), "an array \\(H, W\\)"),
    "photo": (lambda image: (image, image), "the mask has the colour .* everywhere and no black"),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_mistakes(image: Path, kind: str) -> None:
    given, message = MISTAKES[kind]
    with pytest.raises(UserError, match=message):
        read_supports(*given(image))


def test_a_file_of_several_values_points_to_class(image: Path, tmp_path: Path) -> None:
    mask = palette(tmp_path / "m.png", MASK)
    with pytest.raises(UserError, match=r"m.png: .* 1, 3, 255 beside 0; .* --class VALUE"):
        read_supports(image, mask)
    mask.write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"m.png: the mask cannot be read"):
        read_supports(image, mask)


NAMES = "cup\ndog\nleaf\n"


@pytest.mark.parametrize(
    ("given", "names", "binary", "expected"),
    [
        ((), "", True, [("object", None)]),
        (("dog",), "", True, [("dog", None)]),
        (("2",), "", False, [("2", 2)]),
        (("dog=7", "3"), "", False, [("dog", 7), ("3", 3)]),
        (("dog", "1"), NAMES, False, [("dog", 2), ("cup", 1)]),
        (("dog=1",), NAMES, False, [("dog", 1)]),
        (("hat",), "", False, r"--class hat: which value .* --class hat=VALUE"),
        (("hat", "dog"), "", True, r"--class hat: which value"),
        (("dgo",), NAMES, False, r"unknown class 'dgo'\. Did you mean 'dog'"),
        (("dog", "2"), NAMES, False, "--class: dog is given twice"),
        (("a=1", "b=1"), "", False, "--class: 1 is given twice"),
        (("0",), "", False, "a label value is a whole number from 1 to 255"),
        (("a=300",), "", False, "from 1 to 255"),
    ],
)
def test_classes(tmp_path: Path, given: Any, names: str, binary: bool, expected: Any) -> None:
    """Names stand in a classes.txt beside the masks, or above their folder as in VOC's layout."""
    mask = palette(tmp_path / "m.png", labels(255) if binary else MASK)
    if names:
        (tmp_path.parent / "classes.txt").unlink(missing_ok=True)
        (tmp_path / "classes.txt").write_text(names)
        (tmp_path / "SegmentationClass").mkdir()
        mask = mask.rename(tmp_path / "SegmentationClass" / "m.png")
    if isinstance(expected, list):
        assert classes_of_masks(given, [mask]) == [Labelled(*entry) for entry in expected]
    else:
        with pytest.raises(UserError, match=expected):
            classes_of_masks(given, [mask])


def test_a_box_is_of_one_class() -> None:
    assert classes_of_masks(["dog"], [(1, 2, 3, 4)]) == [Labelled("dog", None)]
    with pytest.raises(UserError, match="a box shows one class"):
        classes_of_masks(["1", "2"], [(1, 2, 3, 4)])


def test_a_class_is_found_however_its_accents_are_spelt() -> None:
    """A folder from a Mac may spell é as e and an accent, which nobody types so."""
    protocol = load_protocol("shapes5i")
    protocol = dataclasses.replace(protocol, classes=("cafe\u0301", *protocol.classes[1:]))
    assert classes_of_protocol(["caf\u00e9", protocol.classes[1]], protocol) == [
        Labelled("cafe\u0301", 1),
        Labelled(protocol.classes[1], 2),
    ]
