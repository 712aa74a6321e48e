"""Image and label files: what is read exactly, and what is refused with the file's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fsseg_bench.data.decode import image_size, read_image
from fsseg_bench.data.masks import read_binary_mask, read_labels
from fsseg_bench.errors import UserError
from tests.support.datasets import save_mask


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


def test_sixteen_bit_image_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 2), 4000, dtype=np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png.*8 bits"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_several_frames_are_refused(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match=rf"a\.{suffix}: the image has 2 frames"):
        read_image(tmp_path / f"a.{suffix}")
    frames[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "a.jpg")[0, 0, 0] > 200


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


def test_what_is_no_file_is_not_to_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    (tmp_path / "b.png").symlink_to("b.png")
    for name, words in (("a.png", "Is a directory"), ("b.png", "Too many levels of symbolic links")):
        with pytest.raises(UserError, match=rf"/{name}: the image cannot be read: {words}$"):
            image_size(tmp_path / name)


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
