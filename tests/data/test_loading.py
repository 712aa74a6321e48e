"""Images and masks as the models see them, against loops over pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fsseg_bench.conventions import UInt8
from fsseg_bench.data.loading import load_image, query_label, squash, squash_image, support_mask, training_masks
from fsseg_bench.data.source import Source
from fsseg_bench.data.sources.voc import VocSource
from fsseg_bench.protocol.side import Side
from tests.support.datasets import CLASSES, write_voc

HEIGHT, WIDTH = 7, 11


class Overlapping(Source):
    """Masks of three classes drawn at random: 0, 1 and 255 in every combination, as COCO's can be."""

    def __init__(self) -> None:
        rng = np.random.RandomState(5)
        self.masks = rng.choice([0, 0, 1, 255], size=(3, HEIGHT, WIDTH)).astype(np.uint8)

    def listed(self, list_name: str) -> tuple[str, ...]:
        return (list_name,)

    def files(self, image_id: str) -> tuple[Path, ...]:
        return (Path(image_id),)

    def image(self, image_id: str) -> UInt8:
        return np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)

    def class_masks(self, image_id: str, class_ids: Sequence[int]) -> UInt8:
        return self.masks[[c - 1 for c in class_ids]].copy()


def nearest(mask: np.ndarray, size: int) -> np.ndarray:
    """The source pixel under the centre of each target pixel."""
    out = np.zeros((size, size), dtype=np.uint8)
    for y in range(size):
        for x in range(size):
            out[y, x] = mask[int((y + 0.5) * mask.shape[0] / size), int((x + 0.5) * mask.shape[1] / size)]
    return out


@pytest.fixture(scope="module")
def source() -> Overlapping:
    return Overlapping()


@pytest.mark.parametrize("classes", [(2,), (3, 1), (1, 2, 3)])
def test_query_label(source: Overlapping, classes: tuple[int, ...]) -> None:
    expected = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            values = [source.masks[c - 1, y, x] for c in classes]
            ways = [i for i, v in enumerate(values, start=1) if v == 1]
            expected[y, x] = ways[-1] if ways else 255 if 255 in values else 0
    native = query_label(source, "a", classes, None)
    assert native.dtype == np.uint8
    assert np.array_equal(native, expected)
    assert set(np.unique(expected)) == {*range(len(classes) + 1), 255}
    for size in (5, 16):
        assert np.array_equal(query_label(source, "a", classes, size), nearest(expected, size))


@pytest.mark.parametrize(("classes", "way"), [((2,), 1), ((3, 1), 1), ((3, 1), 2), ((1, 2, 3), 2)])
def test_support_mask(source: Overlapping, classes: tuple[int, ...], way: int) -> None:
    expected = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            values = [source.masks[c - 1, y, x] for c in classes]
            expected[y, x] = 1 if values[way - 1] == 1 else 255 if any(values) else 0
    mask = support_mask(source, "a", classes, way, 16)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, nearest(expected, 16))
    assert set(np.unique(mask)) == {0, 1, 255}


@pytest.mark.parametrize("way", [0, 3, -1])
def test_support_mask_of_no_way(source: Overlapping, way: int) -> None:
    with pytest.raises(ValueError, match=f"way {way} of 2"):
        support_mask(source, "a", (1, 2), way, 8)


@pytest.mark.parametrize(("classes", "ignore"), [((1,), (2, 3)), ((2, 3), (1,)), ((1, 2), (2, 3)), ((1,), ())])
def test_training_masks(source: Overlapping, classes: tuple[int, ...], ignore: tuple[int, ...]) -> None:
    masks = training_masks(source, "a", classes, ignore)
    assert masks.shape == (len(classes), HEIGHT, WIDTH)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            own = [source.masks[c - 1, y, x] for c in classes]
            others = [source.masks[c - 1, y, x] for c in ignore]
            hidden = any(others) and 1 not in own
            assert masks[:, y, x].tolist() == ([255] * len(own) if hidden else own)


def test_load_image_is_pillows_bilinear_squash(tmp_path: Path) -> None:
    source = VocSource(write_voc(tmp_path, 1, 1), CLASSES, ["SegmentationClass"])
    loaded = load_image(source, "val_c5_0", 24)
    assert loaded.dtype == torch.uint8
    assert loaded.shape == (3, 24, 24)
    assert loaded.is_contiguous()
    with Image.open(tmp_path / "JPEGImages/val_c5_0.jpg") as file:
        expected = np.asarray(file.convert("RGB").resize((24, 24), Image.Resampling.BILINEAR))
    assert np.array_equal(loaded.numpy(), expected.transpose(2, 0, 1))


def test_load_image_keeps_the_colour_order(tmp_path: Path) -> None:
    source = VocSource(write_voc(tmp_path, 1, 1), CLASSES, ["SegmentationClass"])
    Image.new("RGB", (9, 5), (250, 20, 120)).save(tmp_path / "JPEGImages/flat.png")
    loaded = load_image(source, "flat", 4)
    assert [loaded[c].unique().tolist() for c in range(3)] == [[250], [20], [120]]


SHAPES = [(50, 37), (37, 50), (40, 40), (100, 3), (3, 100)]


def padded(side: Side, array: UInt8, value: int, resample: Image.Resampling) -> UInt8:
    """Written out: the resized image pixel by pixel into a square of ``value``."""
    height, width = side.part(array.shape[0], array.shape[1])
    small = np.asarray(Image.fromarray(array).resize((width, height), resample))
    whole = np.full((side, side, *array.shape[2:]), value, dtype=np.uint8)
    for y in range(height):
        for x in range(width):
            whole[y, x] = small[y, x]
    return whole


@pytest.mark.parametrize("shape", SHAPES)
def test_padding_is_right_and_below_black_in_images_and_void_in_masks(shape: tuple[int, int]) -> None:
    rng = np.random.RandomState(1)
    image = rng.randint(1, 256, (*shape, 3)).astype(np.uint8)
    mask = rng.randint(0, 2, shape).astype(np.uint8)
    side = Side(29, 8)
    loaded = squash_image(Image.fromarray(image), side)
    assert np.array_equal(loaded.permute(1, 2, 0).numpy(), padded(side, image, 0, Image.Resampling.BILINEAR))
    found = squash(mask, side)
    assert np.array_equal(found, padded(side, mask, 255, Image.Resampling.NEAREST))
    height, width = side.part(*shape)
    for y in range(height):  # nearest: the pixel that the target's centre lies in
        for x in range(width):
            assert found[y, x] == mask[int((y + 0.5) * shape[0] / height), int((x + 0.5) * shape[1] / width)]
    assert (found == 255).sum() == 29 * 29 - height * width
    assert not loaded[:, height:].any()
    assert not loaded[:, :, width:].any()
    assert loaded[:, :height, :width].all()


def test_a_number_squashes() -> None:
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(squash(mask, 8), np.asarray(Image.fromarray(mask).resize((8, 8), Image.Resampling.NEAREST)))
    assert np.array_equal(squash(mask, Side(8)), squash(mask, 8))
