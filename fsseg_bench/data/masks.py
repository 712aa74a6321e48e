"""Reads mask files: label values and binary masks exactly as they are stored, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from fsseg_bench.conventions import VOID, Int64, UInt8
from fsseg_bench.data.decode import check_size, opened, read_file
from fsseg_bench.data.exif import STORED, orientation_of
from fsseg_bench.errors import UserError

_FORMATS = ("PNG", "BMP", "TIFF")
_LOSSY = {"JPEG": "a JPEG", "MPO": "a JPEG", "JPEG2000": "a JPEG 2000", "WEBP": "a WebP", "AVIF": "an AVIF"}
_LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")
_BLACK, _WHITE = 0x000000, 0xFFFFFF
_VOC_VOID = 0xE0E0C0
"""The colour of void (224, 224, 192) in VOC's palette."""
_SHOWN = 5


class _Stored(NamedTuple):
    """What a mask file holds."""

    values: npt.NDArray[Any]
    """(H, W): values of grey, or indices of ``palette``; or colours as 0xRRGGBB where ``coloured``."""
    palette: Int64 | None = None
    """(256,) colours as 0xRRGGBB; -1 beyond the file's own."""
    coloured: bool = False


def read_labels(path: Path, data: bytes | None = None, colors: Sequence[int] = ()) -> UInt8:
    """(H, W) uint8: the label values of a greyscale mask, whatever its bit depth, or the indices of a palette.

    With ``colors``, 0xRRGGBB of label values 1, 2, ..., each pixel's colour decides instead, also in a palette: black
    is 0 and, unless a class has it, VOC's void colour (224, 224, 192) is 255. ``data`` is the file's content where
    that was read before.

    Raises:
        UserError: the file is missing, cannot be decoded, has lost its values (JPEG) or holds other ones: colours
            without ``colors``, a colour that is not among them, values above 255, a palette in another order.
    """
    stored = _read(path, data)
    if colors:
        return _by_colour(path, stored, colors)
    if stored.coloured:
        raise UserError(
            f"{path}: the mask holds colours (RGB), not label values. Put a labelmap.txt beside the mask folders that "
            "says which colour is which class (lines name:r,g,b::, as CVAT exports it) and give `fsseg-bench data "
            "init` again, or set data.colors; or save the label values as a palette or greyscale PNG"
        )
    if stored.palette is not None:
        _check_order(path, stored.values, stored.palette)
    labels: UInt8 = stored.values.astype(np.uint8)
    if len(strange := np.unique(stored.values[stored.values != labels])):
        raise UserError(
            f"{path}: the mask has the values {_listed(strange)}; label values are 0 to {VOID}. Instance numbers and "
            "the like must be turned into label values of classes"
        )
    return labels


def read_binary_mask(path: Path, data: bytes | None = None) -> UInt8:
    """(H, W) uint8: 1 on the object, 0 elsewhere.

    0 is background and every other pixel must have one and the same value, whichever it is: 0/1 and 0/255 masks both
    work, and 255 never means void here. Greyscale of any bit depth, palette and colour files are read. Of a palette
    the index counts; but in a mask of two colours, one of them black, black is the background, whatever its index.
    ``data`` as :func:`read_labels`.

    Raises:
        UserError: the file is missing, cannot be decoded, has lost its values (JPEG), is transparent, or holds several
            values or colours.
    """
    stored = _read(path, data)
    values = stored.values
    if stored.palette is not None:
        values = _of_two_colours(values, stored.palette)
    shown = np.unique(values)
    objects = shown[shown != 0]
    if stored.coloured and len(objects) == len(shown) == 1 and objects[0] % 0x010101:
        raise UserError(
            f"{path}: the mask has the colour {_text(int(objects[0]))} everywhere and no black, which would be the "
            "background. Is it a photo? A mask of an object that fills the image can be saved as greyscale"
        )
    if len(objects) > 1:
        kind, zero = ("colours", "black") if stored.coloured else ("values", "0")
        found = _listed(objects, colours=stored.coloured)
        raise UserError(
            f"{path}: the mask has the {kind} {found} beside {zero}; a binary mask has one. Soft edges must go "
            "(in a protocol with data.mask_threshold, which says from which grey on a pixel is the object; in the file "
            "with Pillow, for example, mask.convert('L').point(lambda v: 255 * (v > 127))); several objects or void "
            "pixels need VOC's layout, whose masks hold label values, 255 being void"
        )
    mask: UInt8 = (values != 0).astype(np.uint8)
    return mask


def read_grey_mask(path: Path, threshold: int, data: bytes | None = None) -> UInt8:
    """(H, W) uint8: 1 where the mask, turned to grey, is at least ``threshold``, 0 elsewhere.

    Grey is what Pillow's mode ``L`` makes of the file: (299 R + 587 G + 114 B) / 1000 of colours and of a palette's
    colours; black and white are 0 and 255, and greys of 2 or 4 bits are spread over 0 to 255. So 255 is an object
    here, never void. ``data`` as :func:`read_labels`.

    Raises:
        UserError: the file is missing, cannot be decoded, is a JPEG or the like, is transparent, or has more than 8
            bits a channel.
    """
    content = read_file(path, "mask") if data is None else data
    with opened(path, "mask", content) as file:
        _check_file(path, file)
        if (bits := _bits(file, content)) > 8:
            raise UserError(f"{path}: the mask has {bits} bits a channel; data.mask_threshold needs 8")
        if file.mode in {"LA", "RGBA"}:
            _check_alpha(path, file.mode, np.array(file))
        grey = np.array(file.convert("L"))
    mask: UInt8 = (grey >= threshold).astype(np.uint8)
    return mask


def object_values(path: Path) -> tuple[str, ...]:
    """What a mask has beside its background: values, of a palette the indices, or colours ``"red,green,blue"``.

    Raises:
        UserError: as :func:`read_binary_mask`, but for several values.
    """
    stored = _read(path, None)
    return tuple(
        _text(value) if stored.coloured else str(value) for value in np.unique(stored.values).tolist() if value
    )


def palette_of(path: Path) -> tuple[str, ...]:
    """The colours of a mask's palette, each ``"red,green,blue"``, from the file's header; none without a palette.

    Raises:
        UserError: the file is missing or its header cannot be read.
    """
    with opened(path, "mask") as file:
        flat = file.getpalette("RGB") or [] if file.mode == "P" else []
    return tuple(",".join(map(str, flat[i : i + 3])) for i in range(0, len(flat), 3))


def check_mask_size(mask_path: Path, mask: UInt8, image_path: Path, *, upright: bool = False) -> None:
    """Whether a mask (H, W) has the size of its image, stored or upright.

    Raises:
        UserError: as :func:`fsseg_bench.data.decode.check_size`.
    """
    height, width = mask.shape
    check_size(f"{mask_path} is", (width, height), image_path, upright=upright)


def _read(path: Path, data: bytes | None) -> _Stored:
    content = read_file(path, "mask") if data is None else data
    with opened(path, "mask", content) as file:
        _check_file(path, file)
        bits = _bits(file, content)
        pixels = np.array(file)
        mode, palette = file.mode, file.getpalette("RGB") if file.mode == "P" else None
    if bits > 8 and mode not in {"I", "I;16", "I;16B", "I;16L"}:
        raise UserError(f"{path}: the mask has {bits} bits a channel in mode {mode}; save it with 8")
    if mode in {"LA", "RGBA"}:
        _check_alpha(path, mode, pixels)
        mode, pixels = mode[:-1], pixels[..., 0] if mode == "LA" else pixels[..., :3]
    if palette is not None:
        colours = np.full(256, -1, dtype=np.int64)
        colours[: len(palette) // 3] = _packed(np.array(palette).reshape(-1, 3))
        return _Stored(pixels, colours)
    if mode == "RGB":
        return _Stored(_packed(pixels), coloured=True)
    if mode not in {"1", "L", "I", "I;16", "I;16B", "I;16L"}:
        raise UserError(f"{path}: the mask has mode {mode}; save it as a palette or greyscale PNG")
    if mode == "L" and bits in {2, 4}:
        pixels //= 255 // (2**bits - 1)  # Pillow spreads such samples over 0 to 255
    return _Stored(pixels.astype(np.uint8) if mode == "1" else pixels)


def _check_alpha(path: Path, mode: str, pixels: npt.NDArray[Any]) -> None:
    if (pixels[..., -1] != 255).any():
        raise UserError(
            f"{path}: the mask has mode {mode} and is transparent in places; save it as a greyscale PNG without "
            "an alpha channel"
        )


def _check_file(path: Path, file: Image.Image) -> None:
    """Whether the file can hold label values, and shows them in only one way."""
    kind = file.format or "?"
    if kind in _LOSSY or (kind == "TIFF" and file.info.get("compression") in _LOSSY_TIFF):
        name = _LOSSY.get(kind, "a TIFF with JPEG compression")
        raise UserError(
            f"{path}: the mask is {name}{', whatever its name says' if path.suffix.lower() == '.png' else ''}; {name} "
            "cannot hold label values, since its compression changes them. Export the masks as PNG again from where "
            "they were made; converting this file does not bring its values back"
        )
    if kind not in _FORMATS or (path.suffix.lower() == ".png" and kind != "PNG"):
        raise UserError(f"{path}: the mask is a {kind}, not a PNG; save it as a palette or greyscale PNG")
    if (turned := orientation_of(file)) != STORED:
        raise UserError(
            f"{path}: the mask has an EXIF orientation ({turned}), so that programs show it in different ways; save it "
            "without EXIF, turned as its photo is"
        )
    if (frames := getattr(file, "n_frames", 1)) > 1:
        raise UserError(f"{path}: the mask has {frames} pages; save it as one image")
    if isinstance(file, TiffImageFile) and file.tag_v2.get(262) == 0:
        raise UserError(f"{path}: the mask is a TIFF whose 0 is white, which turns values round; save it as a PNG")


def _bits(file: Image.Image, content: bytes) -> int:
    """Bits a sample as they are stored: Pillow does not say them."""
    if isinstance(file, TiffImageFile):
        return int(max(file.tag_v2.get(258, (1,))))
    return content[24] if file.format == "PNG" else 8


def _packed(rgb: npt.NDArray[Any]) -> Int64:
    """(...) 0xRRGGBB of (..., 3) colours."""
    channels = rgb.astype(np.int64)
    return channels[..., 0] << 16 | channels[..., 1] << 8 | channels[..., 2]


def _check_order(path: Path, indices: UInt8, palette: Int64) -> None:
    """Whether the palette has black, the background, in its first place, if anywhere."""
    if palette[0] == _BLACK:
        return
    black = [index for index in np.unique(indices).tolist() if palette[index] == _BLACK]
    if black:
        raise UserError(
            f"{path}: the palette of the mask has the colour {_text(int(palette[0]))} in its first place and black at "
            f"index {black[0]}, which the mask uses. Index 0 is background, but viewers show it in that colour and "
            "something else black: the palette was put into another order. Save the label values as greyscale, or "
            "say the colours of the classes in labelmap.txt or data.colors, and the colours count"
        )


def _of_two_colours(indices: UInt8, palette: Int64) -> UInt8 | Int64:
    """The indices, or the colours where black is one of two and the order of the palette hides it."""
    used = set(palette[np.unique(indices)].tolist())
    hidden = _BLACK in used and palette[0] != _BLACK and len(used) <= 2
    return palette[indices] if (used == {_BLACK, _WHITE} or hidden) and -1 not in used else indices


def _by_colour(path: Path, stored: _Stored, colors: Sequence[int]) -> UInt8:
    if stored.palette is not None:
        pixels = stored.palette[stored.values]
    else:
        pixels = stored.values if stored.coloured else stored.values.astype(np.int64) * 0x010101
    labels = {_BLACK: 0, _VOC_VOID: VOID} | {color: label for label, color in enumerate(colors, start=1)}
    known = np.array(sorted(labels), dtype=np.int64)
    places = np.searchsorted(known, pixels).clip(max=len(known) - 1)
    if (strange := pixels != known[places]).any():
        found, counts = np.unique(pixels[strange], return_counts=True)
        most = np.argsort(-counts)[:_SHOWN]
        listing = ", ".join(f"{_text(found[i])} ({counts[i]:,} pixels)" for i in most.tolist())
        listing += ", ..." if len(found) > _SHOWN else ""
        raise UserError(
            f"{path}: the mask has the colours {listing}, which are no class's: "
            "data.colors has one colour a class, black is background and 224,224,192 void. Add the class with its "
            "colour, or mend the mask (soft edges of a drawing program must go)"
        )
    values: UInt8 = np.array([labels[color] for color in known.tolist()], dtype=np.uint8)[places]
    return values


def _text(color: int) -> str:
    """A colour as ``data.colors`` has it."""
    return f"{color >> 16},{color >> 8 & 255},{color & 255}" if color >= 0 else "beyond the palette"


def _listed(values: npt.NDArray[Any], *, colours: bool = False) -> str:
    shown = [_text(value) if colours else str(value) for value in values[:_SHOWN].tolist()]
    return (" and " if colours and len(values) == 2 else ", ").join(shown) + (", ..." if len(values) > _SHOWN else "")
