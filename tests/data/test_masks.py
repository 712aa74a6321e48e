"""Mask files: values exactly as they are stored, by bytes written here, and what is refused with the file's name."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fsseg_bench.data.masks import check_mask_size, palette_of, read_binary_mask, read_grey_mask, read_labels
from fsseg_bench.errors import UserError
from tests.support.datasets import save_mask
from tests.support.photos import exif
from tests.support.png import write_png

LABELS = (np.arange(9 * 11) % 5).reshape(9, 11)
"""(9, 11): values 0 to 4, in a size that no power of two divides."""
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
RED, GREEN, BLACK, WHITE = (128, 0, 0), (0, 128, 0), (0, 0, 0), (255, 255, 255)
VOC = (b"PLTE", bytes([*BLACK, *RED, *GREEN, 128, 128, 0, 0, 0, 128]))


def plte(*colours: tuple[int, int, int]) -> tuple[bytes, bytes]:
    return b"PLTE", bytes(channel for colour in colours for channel in colour)


def palette(labels: npt.NDArray[np.uint8], *colours: int) -> Image.Image:
    image = Image.fromarray(labels)
    image.putpalette(colours)
    return image


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(
    ("colour", "depth"), [*((GREY, depth) for depth in (1, 2, 4, 8, 16)), *((PALETTE, depth) for depth in (1, 2, 4, 8))]
)
def test_labels_are_the_stored_samples(tmp_path: Path, colour: int, depth: int, interlaced: bool) -> None:
    labels = LABELS % 2**depth
    before = [VOC] if colour == PALETTE else []
    path = write_png(tmp_path / "m.png", labels, depth, colour, interlaced=interlaced, before=before)
    found = read_labels(path)
    assert found.dtype == np.uint8
    assert np.array_equal(found, labels)
    assert np.array_equal(found, read_labels(path, path.read_bytes()))
    assert np.array_equal(read_binary_mask(write_png(path, labels // 4, depth, colour, before=before)), labels // 4)


@pytest.mark.parametrize("depth", [2, 4, 8])
@pytest.mark.parametrize(
    "chunk",
    [
        (b"gAMA", struct.pack(">I", 45455)),
        (b"sRGB", b"\0"),
        (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
        (b"sBIT", b"\1"),
        (b"tRNS", struct.pack(">H", 3)),  # a grey that is transparent
        (b"bKGD", struct.pack(">H", 1)),
        (b"pHYs", struct.pack(">IIB", 2835, 2835, 1)),
    ],
    ids=lambda chunk: chunk[0].decode() if isinstance(chunk, tuple) else "",
)
def test_no_chunk_changes_a_value(tmp_path: Path, depth: int, chunk: tuple[bytes, bytes]) -> None:
    labels = LABELS % 2**depth
    assert np.array_equal(read_labels(write_png(tmp_path / "m.png", labels, depth, GREY, before=[chunk])), labels)


def test_transparent_palette_colours_change_no_value(tmp_path: Path) -> None:
    path = write_png(tmp_path / "m.png", LABELS, 4, PALETTE, before=[VOC, (b"tRNS", b"\0\x80")])
    assert np.array_equal(read_labels(path), LABELS)


@pytest.mark.parametrize("use_palette", [True, False])
def test_all_256_values(tmp_path: Path, use_palette: bool) -> None:
    labels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    save_mask(tmp_path / "m.png", labels, use_palette)
    assert np.array_equal(read_labels(tmp_path / "m.png"), labels)


def test_a_palette_of_one_colour_is_read_by_its_indices(tmp_path: Path) -> None:
    labels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    palette(labels, *[0, 0, 0] * 16).save(tmp_path / "m.png", bits=4)
    assert np.array_equal(read_labels(tmp_path / "m.png"), labels)


@pytest.mark.parametrize("suffix", ["bmp", "tif"])
@pytest.mark.parametrize("use_palette", [True, False])
def test_other_formats_without_loss(tmp_path: Path, suffix: str, use_palette: bool) -> None:
    labels = LABELS.astype(np.uint8)
    save_mask(tmp_path / f"m.{suffix}", labels, use_palette)
    assert np.array_equal(read_labels(tmp_path / f"m.{suffix}"), labels)


@pytest.mark.parametrize("alpha", [GREY_ALPHA, RGB_ALPHA])
def test_an_alpha_channel_that_hides_nothing_is_no_hindrance(tmp_path: Path, alpha: int) -> None:
    objects = LABELS // 4 * 255
    samples = np.dstack([objects] * (1 if alpha == GREY_ALPHA else 3) + [np.full_like(objects, 255)])
    path = write_png(tmp_path / "m.png", samples, 8, alpha)
    assert np.array_equal(read_binary_mask(path), LABELS // 4)
    samples[0, 0, -1] = 254
    with pytest.raises(UserError, match=r"m\.png: the mask has mode (LA|RGBA) and is transparent in places"):
        read_binary_mask(write_png(path, samples, 8, alpha))


@pytest.mark.parametrize("read", [read_labels, read_binary_mask])
@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("m.png", {"format": "JPEG"}, "is a JPEG, whatever its name says; a JPEG cannot hold label values"),
        ("m.jpg", {}, "is a JPEG; a JPEG cannot hold label values"),
        ("m.webp", {"lossless": True}, "is a WebP; a WebP cannot hold"),
        ("m.tif", {"compression": "jpeg"}, "is a TIFF with JPEG compression"),
        ("m.png", {"format": "BMP"}, "is a BMP, not a PNG"),
        ("m.gif", {}, "is a GIF, not a PNG"),
        ("m.png", {"exif": exif(6)}, r"has an EXIF orientation \(6\)"),
        ("m.tif", {"exif": exif(3)}, r"has an EXIF orientation \(3\)"),
        ("m.tif", {"save_all": True, "append_images": [Image.new("L", (4, 3))]}, "has 2 pages"),
        ("m.tif", {"tiffinfo": {262: 0}}, "is a TIFF whose 0 is white"),
    ],
)
def test_files_that_hold_no_certain_values(
    tmp_path: Path, read: Any, name: str, options: dict[str, Any], words: str
) -> None:
    Image.new("L", (4, 3)).save(tmp_path / name, **options)
    with pytest.raises(UserError, match=rf"{name}: the mask {words}"):
        read(tmp_path / name)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_need_to_be_named(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (4, 4), (*RED, 255)[: len(mode)]).save(tmp_path / "m.png")
    with pytest.raises(UserError, match=r"m\.png: the mask holds colours .*labelmap\.txt"):
        read_labels(tmp_path / "m.png")


@pytest.mark.parametrize("read", [read_labels, read_binary_mask])
def test_sixteen_bits_of_a_colour_are_refused(tmp_path: Path, read: Any) -> None:
    path = write_png(tmp_path / "m.png", np.dstack([LABELS, np.full_like(LABELS, 65535)]), 16, GREY_ALPHA)
    with pytest.raises(UserError, match=r"m\.png: the mask has 16 bits a channel"):
        read(path)


def test_values_above_255_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"m\.png: the mask has the values 256, 257, 258, 259, 260; label values are"):
        read_labels(write_png(tmp_path / "m.png", LABELS + 256, 16, GREY))


def test_a_palette_in_another_order_is_refused(tmp_path: Path) -> None:
    """Background in red, a class in black: the drawing program has sorted the colours."""
    labels = LABELS % 2
    with pytest.raises(UserError, match=r"m\.png: the palette .* 128,0,0 in its first place and black at index 1"):
        read_labels(write_png(tmp_path / "m.png", labels, 1, PALETTE, before=[plte(RED, BLACK)]))
    white_first = write_png(tmp_path / "m.png", labels, 2, PALETTE, before=[plte(WHITE, RED, BLACK)])
    assert np.array_equal(read_labels(white_first), labels)  # black is there, but not used
    assert palette_of(white_first) == ("255,255,255", "128,0,0", "0,0,0")


COLORS = (0x800000, 0x008000, 0x808000, 0x000080)
"""Those of ``VOC``, for values 1 to 4."""


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "palette", "shuffled palette", "grey"])
def test_colours_decide_where_classes_have_some(tmp_path: Path, kind: str) -> None:
    expected: npt.NDArray[Any] = LABELS.copy()
    expected[0, :3] = 255
    colours = {0: BLACK, 255: (224, 224, 192)} | {v: (c >> 16, c >> 8 & 255, c & 255) for v, c in enumerate(COLORS, 1)}
    order = [4, 0, 255, 1, 3, 2] if kind == "shuffled palette" else [0, 1, 2, 3, 4, 255]
    if "palette" in kind:
        indices = np.vectorize(order.index)(expected)
        path = write_png(tmp_path / "m.png", indices, 4, PALETTE, before=[plte(*(colours[v] for v in order))])
    elif kind == "grey":
        expected = np.where(LABELS > 2, 2, 0)
        path = write_png(tmp_path / "m.png", expected * 45, 8, GREY)
    else:
        pixels = np.array([[colours[v] + (255,) for v in row] for row in expected.tolist()])
        path = write_png(tmp_path / "m.png", pixels[..., : len(kind)], 8, RGB if kind == "RGB" else RGB_ALPHA)
    colors = (0x800000, 0x5A5A5A) if kind == "grey" else COLORS
    assert np.array_equal(read_labels(path, colors=colors), expected)


def test_a_colour_of_no_class_is_counted_and_refused(tmp_path: Path) -> None:
    pixels = np.zeros((4, 5, 3), dtype=np.uint8)
    pixels[1:3, 1:3] = RED
    pixels[0, :3], pixels[3, 0] = (1, 2, 3), (9, 9, 9)
    path = write_png(tmp_path / "m.png", pixels, 8, RGB)
    with pytest.raises(
        UserError, match=r"m\.png: .* colours 1,2,3 \(3 pixels\), 9,9,9 \(1 pixels\), which are no class"
    ):
        read_labels(path, colors=COLORS)


# binary masks

OBJECT = np.zeros((4, 6), dtype=np.uint8)
OBJECT[1:3, 2:5] = 1


def save(folder: Path, image: Image.Image) -> Path:
    path = folder / "m.png"
    image.save(path)
    return path


def in_colour(*colour: int) -> Image.Image:
    return Image.fromarray(OBJECT[..., None] * np.array(colour, dtype=np.uint8))


@pytest.mark.parametrize(
    "image",
    [
        *(Image.fromarray(OBJECT * np.uint8(value)) for value in (1, 2, 128, 255)),
        Image.fromarray(OBJECT * np.uint16(65535)),
        Image.fromarray(OBJECT.astype(bool)),
        in_colour(255, 255, 255),
        in_colour(128, 0, 0),
        palette(OBJECT, 0, 0, 0, 255, 255, 255),
        palette(OBJECT, 0, 0, 0, 0, 0, 0),  # no colours: the indices count
        palette(OBJECT, 10, 20, 30, 40, 50, 60),
        palette(1 - OBJECT, 255, 255, 255, 0, 0, 0),  # white on black, as quantize(2) writes it
        palette(1 - OBJECT, 128, 0, 0, 0, 0, 0),
        palette(OBJECT + np.uint8(2), 9, 9, 9, 8, 8, 8, 0, 0, 0, 255, 255, 255),
    ],
    ids=[
        *("1", "2", "128", "255", "16 bit", "bilevel", "RGB", "red", "palette", "no colours", "indices"),
        *("white first", "red first", "neither first"),
    ],
)
def test_any_one_value_is_the_object(tmp_path: Path, image: Image.Image) -> None:
    mask = read_binary_mask(save(tmp_path, image))
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, OBJECT)


@pytest.mark.parametrize(
    ("image", "value"),
    [
        (Image.new("L", (6, 4)), 0),
        (Image.new("L", (6, 4), 255), 1),
        (palette(OBJECT * np.uint8(0), 0, 0, 0), 0),
        (palette(OBJECT * np.uint8(0) + np.uint8(1), 255, 255, 255, 0, 0, 0), 0),
        (palette(OBJECT * np.uint8(0) + np.uint8(1), 0, 0, 0, 255, 255, 255), 1),
    ],
)
def test_empty_and_full_masks(tmp_path: Path, image: Image.Image, value: int) -> None:
    assert np.unique(read_binary_mask(save(tmp_path, image))).tolist() == [value]


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


def test_several_colours_are_refused(tmp_path: Path) -> None:
    pixels = np.array(in_colour(255, 255, 255))
    pixels[0, 0] = (255, 0, 0)
    with pytest.raises(UserError, match=r"m\.png: the mask has the colours 255,0,0 and 255,255,255 beside black"):
        read_binary_mask(save(tmp_path, Image.fromarray(pixels)))


def test_a_colour_without_black_is_no_mask(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"m\.png: the mask has the colour 128,0,0 everywhere and no black"):
        read_binary_mask(save(tmp_path, Image.new("RGB", (6, 4), RED)))
    assert read_binary_mask(save(tmp_path, Image.new("RGB", (6, 4), WHITE))).all()


def test_a_mask_has_the_size_of_its_image(tmp_path: Path) -> None:
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg")
    check_mask_size(tmp_path / "m.png", OBJECT, tmp_path / "a.jpg")
    with pytest.raises(UserError, match=r"m\.png is 4 x 6 pixels and its image .*a\.jpg 6 x 4; a mask must have"):
        check_mask_size(tmp_path / "m.png", OBJECT.T, tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("colours", "grey"),
    [
        ([(127, 127, 127), (128, 128, 128), (0, 0, 0), (255, 255, 255)], [127, 128, 0, 255]),
        ([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)], [76, 150, 29, 226]),  # 76.2, 149.7, 29.1, 225.9
    ],
)
def test_a_threshold_is_of_the_grey_of_colours_and_palettes(
    tmp_path: Path, colours: list[tuple[int, int, int]], grey: list[int]
) -> None:
    rgb = Image.fromarray(np.array([colours], dtype=np.uint8))
    indices = palette(np.arange(4, dtype=np.uint8)[None], *(c for colour in colours for c in colour))
    for threshold in (1, 29, 30, 76, 77, 128, 150, 226, 227, 255):
        expected = [[int(value >= threshold) for value in grey]]
        for image in (rgb, rgb.convert("RGBA"), indices, Image.fromarray(np.array([grey], dtype=np.uint8))):
            mask = read_grey_mask(save(tmp_path, image), threshold)
            assert mask.dtype == np.uint8
            assert mask.tolist() == expected


def test_a_threshold_of_greys_with_few_and_many_bits(tmp_path: Path) -> None:
    for depth, spread in ((1, [0, 255]), (2, [0, 85, 170, 255])):
        values = np.arange(2**depth, dtype=np.uint8)[None]
        path = write_png(tmp_path / "m.png", values, depth, GREY)
        assert read_grey_mask(path, 86).tolist() == [[int(value >= 86) for value in spread]]
    path = write_png(tmp_path / "m.png", np.arange(4, dtype=np.uint16)[None], 16, GREY)
    with pytest.raises(UserError, match=r"m\.png: the mask has 16 bits a channel; data\.mask_threshold"):
        read_grey_mask(path, 1)
    with pytest.raises(UserError, match=r"m\.png: the mask has mode LA and is transparent in places"):
        read_grey_mask(save(tmp_path, Image.new("LA", (6, 4), (200, 9))), 128)
