"""The embedded data set: images made by code on first use and kept in the cache, in VOC's layout."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from PIL import Image

from fsseg_bench.conventions import UInt8
from fsseg_bench.data.decode import read_file, sha256
from fsseg_bench.data.shapes_draw import OUTLINES, TEXTURES
from fsseg_bench.data.shapes_scene import Kind, draw_scene
from fsseg_bench.data.source import Content, Source
from fsseg_bench.data.sources.voc import VocSource
from fsseg_bench.errors import UserError, unknown
from fsseg_bench.machine.limits import usable_cores
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.streams import stream
from fsseg_bench.schema import Range

GENERATOR = 1
"""Raised whenever a pixel could change."""

_IMAGES = "JPEGImages"
_MASKS = "SegmentationClass"
_LISTS = "ImageSets/Segmentation"
_PIXELS = "pixels.json"
"""Image id to the digests of the pixels that were drawn, of image and labels: files can be damaged or edited."""
_STALE_SECONDS = 3600
_THREADS = 4


_Pixels = Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class ShapesKeys:
    """The keys of ``[data]`` for images made by code."""

    generator_seed: int
    """Of the images."""
    train_images: Annotated[int, Range(least=1, most=10**6)]
    """How many training images are made."""
    test_images: Annotated[int, Range(least=1, most=10**6)]
    """How many test images are made."""


class ShapesSource(VocSource):
    """Made images. Their pixels are what is fingerprinted, since PNG files differ with the compressor's version.

    Each file that is decoded is compared with what was drawn.
    """

    keys = ShapesKeys
    synthetic = True

    def __init__(self, root: Path, classes: Sequence[str], settings: str, pixels: _Pixels) -> None:
        """A reader of ``root``, a folder in VOC's layout.

        ``settings`` is a digest of all that determines the pixels, ``pixels`` has for each image the digests of the
        pixels and of the labels that were drawn.
        """
        super().__init__(root, classes, (_MASKS,))
        self._settings = settings
        self._pixels = pixels

    @classmethod
    def open(cls, protocol: Protocol, root: Path) -> Source:
        """The embedded images of ``protocol``, made on first use: a few seconds.

        They lie in ``<root>/<digest of the settings>``. The folder appears in one step when it is complete, so a killed
        process leaves nothing that is used, and two processes may make it at the same time.

        Raises:
            UserError: a class is not ``<outline>-<texture>``, or the cache cannot be written.
        """
        options = protocol.data.options_as(ShapesKeys)
        kinds = [_kind(name, protocol) for name in protocol.classes]
        counts = {"train": options.train_images, "val": options.test_images}
        settings = json.dumps([GENERATOR, options.generator_seed, kinds, counts])
        digest = hashlib.sha256(settings.encode()).hexdigest()
        folder = root / digest[:16]
        try:
            if not _complete(folder, counts):
                _make(folder, kinds, counts, options.generator_seed)
            pixels = _drawn(folder)
        except OSError as error:
            raise UserError(
                f"{folder}: the embedded images cannot be written: {error}; free some space, or set FSSEG_CACHE to "
                "another folder"
            ) from None
        return cls(folder, protocol.classes, digest, pixels)

    def image(self, image_id: str) -> UInt8:
        """As :meth:`Source.image`; a file that does not show what was drawn is refused."""
        return self._as_drawn(image_id, super().image(image_id), self._pixels[image_id][0], self.image_path(image_id))

    def read(self, image_id: str, path: Path, kind: Literal["image", "mask"]) -> bytes:
        """The bytes of a file, which may be others on another machine: it is the pixels that are compared."""
        return read_file(path, kind)

    def content(self, image_id: str, *, labels: bool) -> Content:
        """The digests of what was drawn; decoding holds the files to them, so none is read here."""
        drawn = self._pixels[image_id]
        return Content(drawn[0], drawn[1] if labels else "", {})

    def fingerprint(self, lists: Sequence[str]) -> str:
        """A digest of the generator's settings, of the pixels that were drawn, and of the names of the lists."""
        pixels = json.dumps(self._pixels, sort_keys=True)
        return sha256("\n".join((self._settings, pixels, *lists)).encode())

    def image_digest(self, image_id: str) -> str:
        """A digest of the generator's settings, the image's name and its pixels."""
        return sha256(f"{self._settings} {image_id} {self._pixels[image_id][0]}".encode())

    def label_digest(self, image_id: str) -> str:
        """A digest of the generator's settings, the image's name and its labels."""
        return sha256(f"{self._settings} {image_id} {self._pixels[image_id][1]}".encode())

    def _values(self, image_id: str) -> UInt8:
        return self._as_drawn(image_id, super()._values(image_id), self._pixels[image_id][1], self.mask_path(image_id))

    def _as_drawn(self, image_id: str, pixels: UInt8, drawn: str, path: Path) -> UInt8:
        if _pixel_digest(pixels) != drawn:
            raise UserError(
                f"{path}: does not show what was drawn for {image_id}: the file was damaged or edited. Remove the "
                f"folder {self.root} and give the command again: the embedded images are then made anew"
            )
        return pixels


def _kind(name: str, protocol: Protocol) -> Kind:
    outline, _, texture = name.partition("-")
    if outline not in OUTLINES:
        raise unknown(f"outline of class {name!r}", outline, OUTLINES, where=protocol.label)
    if texture not in TEXTURES:
        raise unknown(f"texture of class {name!r}", texture, TEXTURES, where=protocol.label)
    return Kind(outline, texture)


def _names(counts: dict[str, int]) -> list[tuple[str, int, str]]:
    """List, position in it and image id of every image."""
    return [(part, i, f"{part}_{i:05d}") for part, count in counts.items() for i in range(count)]


def _complete(folder: Path, counts: dict[str, int]) -> bool:
    """Whether the folder is there and no tidying of caches took files away."""
    wanted = {f"{name}.png" for _, _, name in _names(counts)}
    places = [folder / _IMAGES, folder / _MASKS]
    lists = [folder / _LISTS / f"{part}.txt" for part in counts]
    if not wanted <= {f"{name}.png" for name in _drawn(folder)}:
        return False
    kept = all(place.is_dir() and wanted <= {path.name for path in place.iterdir()} for place in places)
    return kept and all(path.is_file() for path in lists)


def _drawn(folder: Path) -> dict[str, tuple[str, str]]:
    """Image id to the digests of what was drawn; empty where there is no such list, or it is damaged."""
    try:
        table = json.loads((folder / _PIXELS).read_bytes())
        return {name: (str(image), str(labels)) for name, (image, labels) in table.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _pixel_digest(pixels: UInt8) -> str:
    return sha256(f"{pixels.shape}\n".encode() + pixels.tobytes())


def _make(folder: Path, kinds: Sequence[Kind], counts: dict[str, int], seed: int) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder.parent)
    own = folder.parent / f".{folder.name}-{uuid.uuid4().hex}"
    try:
        for name in (_IMAGES, _MASKS, _LISTS):
            (own / name).mkdir(parents=True)
        (own / _PIXELS).write_text(json.dumps(_draw_all(own, kinds, counts, seed)), encoding="utf-8")
        for part in counts:
            lines = "".join(f"{name}\n" for of, _, name in _names(counts) if of == part)
            (own / _LISTS / f"{part}.txt").write_text(lines, encoding="utf-8")
        _put(own, folder, counts)
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _draw_all(folder: Path, kinds: Sequence[Kind], counts: dict[str, int], seed: int) -> dict[str, tuple[str, str]]:
    """Each image from a stream of its own, so that their order does not matter; gives the digests of the pixels."""
    names = _names(counts)
    pool = ThreadPoolExecutor(min(_THREADS, usable_cores()))
    try:
        written = [pool.submit(_write, folder, kinds, seed, *entry) for entry in names]
        return {name: digests.result() for (_, _, name), digests in zip(names, written, strict=True)}
    finally:
        pool.shutdown(cancel_futures=True)


def _write(folder: Path, kinds: Sequence[Kind], seed: int, part: str, i: int, name: str) -> tuple[str, str]:
    """Writes an image and its mask; gives the digests of their pixels."""
    scene = draw_scene(stream("shapes", seed, part, i), kinds, i % len(kinds))
    Image.fromarray(scene.image).save(folder / _IMAGES / f"{name}.png", compress_level=1)
    labels = Image.fromarray(scene.labels)
    labels.putpalette(_PALETTE)
    labels.save(folder / _MASKS / f"{name}.png", compress_level=1)
    return _pixel_digest(scene.image), _pixel_digest(scene.labels)  # of pixels: PNG bytes differ with the compressor


def _put(own: Path, folder: Path, counts: dict[str, int]) -> None:
    """Gives the finished folder its name, in place of a damaged one, unless another process was first."""
    aside = own.with_name(f"{own.name}-aside")
    if not _complete(folder, counts):
        with contextlib.suppress(FileNotFoundError):
            folder.rename(aside)
    try:
        own.rename(folder)
    except OSError:
        if not _complete(folder, counts):
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Removes what killed processes left long ago."""
    for left in folder.glob(".*-*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


_PALETTE = [
    sum((value >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3))
    for value in range(256)
    for channel in range(3)
]
"""VOC's 256 colours: the bits of a label value, dealt to red, green and blue from the highest bit down."""
