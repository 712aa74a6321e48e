"""Image and label files: what is read exactly, and what is refused with the file's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fsseg_bench.data.decode import check_mask_size, image_size, read_binary_mask, read_image, read_labels
from fsseg_bench.errors import UserError
from tests.support.datasets import save_mask


def palette(labels: npt.NDArray[np.uint8], *colours: int) -> Image.Image:
    image = Image.fromarray(labels)
    image.putpalette(colours)
    return image


def test_image_is_rgb_in_rows_and_columns(tmp_path: Path) -> None:
    pixels = np.zeros((3, 5, 3), dtype=np.uint8)
    pixels[1, 4] = (200, 100, 50)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), pixels)
    assert image_size(tmp_path / "a.png") == (5, 3)


@pytest.mark.parametrize(("mode", "value", "rgb"), [("L", 77, (77, 77, 77)), ("CMYK", (0, 255, 255, 0), (255, 0, 0))])
def test_other_eight_bit_modes_become_rgb(tmp_path: Path, mode: str, value: Any, rgb: tuple[int, ...]) -> None:
    Image.new(mode, (4, 2), value).save(tmp_path / "a.jpg", quality=100)
    read = read_image(tmp_path / "a.jpg")
    assert read.shape == (2, 4, 3)
    assert np.abs(read.astype(int) - rgb).max() <= 2  # JPEG


def test_exif_rotation_is_not_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.new("RGB", (6, 2)).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (2, 6, 3)
    assert image_size(tmp_path / "a.jpg") == (6, 2)


def test_sixteen_bit_image_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 2), 4000, dtype=np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png.*8 bits"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("read", [read_image, image_size, read_labels, read_binary_mask])
def test_missing_file(tmp_path: Path, read: object) -> None:
    with pytest.raises(UserError, match=r"gone\.png: no such"):
        read(tmp_path / "gone.png")  # type: ignore[operator]


@pytest.mark.parametrize(
    "content", [b"", b"not an image at all", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, b"\xff\xd8\xff\xe0"]
)
def test_garbage_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    for read in (read_image, image_size, read_labels, read_binary_mask):
        with pytest.raises(UserError, match=r"bad\.png.*cannot be read"):
            read(path)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_truncated_image_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.RandomState(0).randint(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UserError, match=rf"cut\.{suffix}.*cannot be read"):
        read_image(path)


def test_damaged_mask_data_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    save_mask(path, np.random.RandomState(0).randint(0, 21, (40, 40)).astype(np.uint8))
    content = bytearray(path.read_bytes())
    start = content.index(b"IDAT") + 4
    content[start : start + 40] = bytes(40)
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"m\.png.*cannot be read"):
        read_labels(path)


@pytest.mark.parametrize("palette", [True, False])
def test_labels_are_the_stored_indices(tmp_path: Path, palette: bool) -> None:
    labels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    save_mask(tmp_path / "m.png", labels, palette)
    assert Image.open(tmp_path / "m.png").mode == ("P" if palette else "L")
    assert np.array_equal(read_labels(tmp_path / "m.png"), labels)


def test_palette_with_four_bits_a_pixel(tmp_path: Path) -> None:
    labels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    palette(labels, *[0, 0, 0] * 16).save(tmp_path / "m.png", bits=4)  # all colours alike: only the indices tell
    assert np.array_equal(read_labels(tmp_path / "m.png"), labels)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "1", "LA", "I;16"])
def test_masks_with_colours_are_refused(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (4, 4)).save(tmp_path / "m.png")
    with pytest.raises(UserError, match=rf"m\.png: the mask has mode {mode}.*palette"):
        read_labels(tmp_path / "m.png")


# binary masks

OBJECT = np.zeros((4, 6), dtype=np.uint8)
OBJECT[1:3, 2:5] = 1


def save(folder: Path, image: Image.Image) -> Path:
    path = folder / "m.png"
    image.save(path)
    return path


@pytest.mark.parametrize(
    "image",
    [
        *(Image.fromarray(OBJECT * np.uint8(value)) for value in (1, 2, 128, 255)),
        palette(OBJECT, 255, 255, 255, 0, 0, 0),  # background white, object black: the indices count
        Image.fromarray(OBJECT.astype(bool)),
        Image.fromarray(np.repeat(OBJECT[..., None] * np.uint8(255), 3, axis=2)),
    ],
    ids=["1", "2", "128", "255", "palette", "bilevel", "RGB"],
)
def test_any_one_value_is_the_object(tmp_path: Path, image: Image.Image) -> None:
    mask = read_binary_mask(save(tmp_path, image))
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, OBJECT)


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


def test_a_mask_has_the_size_of_its_image(tmp_path: Path) -> None:
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg")
    check_mask_size(tmp_path / "m.png", OBJECT, tmp_path / "a.jpg")
    with pytest.raises(UserError, match=r"m\.png is 4 x 6 pixels and its image .*a\.jpg 6 x 4; a mask must have"):
        check_mask_size(tmp_path / "m.png", OBJECT.T, tmp_path / "a.jpg")
