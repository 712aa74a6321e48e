"""Binary masks: every common way to save one, and what is refused with the file's name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fsseg_bench.data.decode import check_mask_size, read_binary_mask
from fsseg_bench.errors import UserError

OBJECT = np.zeros((4, 6), dtype=np.uint8)
OBJECT[1:3, 2:5] = 1


def save(folder: Path, image: Image.Image) -> Path:
    path = folder / "m.png"
    image.save(path)
    return path


@pytest.mark.parametrize("value", [1, 2, 128, 255])
def test_any_one_value_is_the_object(tmp_path: Path, value: int) -> None:
    mask = read_binary_mask(save(tmp_path, Image.fromarray(OBJECT * np.uint8(value))))
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, OBJECT)


def test_palette_indices_count_not_colours(tmp_path: Path) -> None:
    image = Image.fromarray(OBJECT)
    image.putpalette([255, 255, 255, 0, 0, 0])  # background white, object black
    assert np.array_equal(read_binary_mask(save(tmp_path, image)), OBJECT)


def test_bilevel_files(tmp_path: Path) -> None:
    image = Image.fromarray(OBJECT.astype(bool))
    assert image.mode == "1"
    assert np.array_equal(read_binary_mask(save(tmp_path, image)), OBJECT)


def test_black_and_white_in_colour_files(tmp_path: Path) -> None:
    image = Image.fromarray(np.repeat(OBJECT[..., None] * np.uint8(255), 3, axis=2))
    assert image.mode == "RGB"
    assert np.array_equal(read_binary_mask(save(tmp_path, image)), OBJECT)


def test_empty_and_full_masks(tmp_path: Path) -> None:
    assert read_binary_mask(save(tmp_path, Image.new("L", (6, 4)))).max() == 0
    assert read_binary_mask(save(tmp_path, Image.new("L", (6, 4), 255))).min() == 1


def several(values: list[int]) -> npt.NDArray[np.uint8]:
    pixels = np.zeros((4, 6), dtype=np.uint8)
    pixels[0, : len(values)] = values
    return pixels


@pytest.mark.parametrize(
    ("values", "shown"), [([1, 255], "1, 255"), ([3, 1, 2], "1, 2, 3"), ([9, 8, 7, 6, 5, 4], "4, 5, 6, 7, 8, ...")]
)
def test_several_values_are_refused(tmp_path: Path, values: list[int], shown: str) -> None:
    with pytest.raises(UserError) as error:
        read_binary_mask(save(tmp_path, Image.fromarray(several(values))))
    assert f"m.png: the mask has the values {shown} beside 0; a binary mask has one" in str(error.value)


def test_colours_are_refused(tmp_path: Path) -> None:
    pixels = np.repeat(OBJECT[..., None] * np.uint8(255), 3, axis=2)
    pixels[0, 0] = (255, 0, 0)
    with pytest.raises(UserError, match=r"m\.png: the mask has mode RGB and colours; save it as a greyscale PNG"):
        read_binary_mask(save(tmp_path, Image.fromarray(pixels)))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16"])
def test_other_modes_are_refused(tmp_path: Path, mode: str) -> None:
    with pytest.raises(UserError, match=f"the mask has mode {mode}; save it as"):
        read_binary_mask(save(tmp_path, Image.new(mode, (6, 4))))


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.png: no such mask"):
        read_binary_mask(tmp_path / "gone.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(30))
    with pytest.raises(UserError, match=r"bad\.png: the mask cannot be read"):
        read_binary_mask(tmp_path / "bad.png")


def test_a_mask_has_the_size_of_its_image(tmp_path: Path) -> None:
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg")
    check_mask_size(tmp_path / "m.png", OBJECT, tmp_path / "a.jpg")
    with pytest.raises(UserError, match=r"m\.png is 4 x 6 pixels and its image .*a\.jpg 6 x 4; a mask must have"):
        check_mask_size(tmp_path / "m.png", OBJECT.T, tmp_path / "a.jpg")
