"""Images and masks in the folder layout of PASCAL VOC, with the masks of SBD where they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from fsseg_bench.data.decode import IMAGE_SUFFIXES, check_mask_size, read_image, read_labels
from fsseg_bench.data.files import read_file, sha256
from fsseg_bench.data.lists import read_list_file
from fsseg_bench.data.sbd import read_sbd_labels
from fsseg_bench.data.source import VOID, Content, Source, UInt8
from fsseg_bench.errors import UserError
from fsseg_bench.paths import regular
from fsseg_bench.protocol.spec import is_list_file

_TRAINAUG = "trainaug"
_SBD_FOLDER = "cls"


class _Labels(NamedTuple):
    values: UInt8
    """(H, W) label values, 0 to the number of classes, or 255."""
    counts: npt.NDArray[np.int64]
    """(256,) pixels of each value."""


class VocSource(Source):
    """``JPEGImages/<id>.jpg``, ``<mask folder>/<id>.png`` and ``ImageSets/Segmentation/<list>.txt``.

    Images may also be ``.jpeg`` or ``.png``. Masks are palette or greyscale PNGs, or SBD's ``.mat`` files.
    """

    def __init__(self, root: Path, classes: Sequence[str], masks: Sequence[str]) -> None:
        """A reader of ``root``.

        Args:
            root: the folder that holds ``JPEGImages``.
            classes: class names; the label value of a class is its position, from 1.
            masks: mask folders relative to ``root``; an image's mask is taken from the first that has one.
        """
        self.root = root
        self.classes = tuple(classes)
        self.masks = tuple(masks)

    def ids(self, list_name: str) -> tuple[str, ...]:
        """Image ids of ``ImageSets/Segmentation/<list_name>.txt``, or of a list file, sorted, without repetition.

        ``trainaug`` without a file is VOC's train list and SBD's two lists, less VOC's val list.

        Raises:
            UserError: no such list, or an empty one; names the file and what to do.
        """
        if is_list_file(list_name):
            return read_list_file(self, Path(list_name)).images
        path = self._list_path(list_name)
        if list_name == _TRAINAUG and not path.is_file():
            return self._trainaug(path)
        return _read_list(path)

    def _list_path(self, list_name: str) -> Path:
        return self.root / "ImageSets" / "Segmentation" / f"{list_name}.txt"

    def _trainaug(self, missing: Path) -> tuple[str, ...]:
        """The 10,582 images that papers call trainaug, from the lists that define it."""
        folders = [(self.root / name).parent for name in self.masks if Path(name).name == _SBD_FOLDER]
        for folder in folders:
            extra = [folder / "train.txt", folder / "val.txt"]
            if all(path.is_file() for path in extra):
                lists = [self._list_path("train"), *extra]
                images = {image for path in lists for image in _read_list(path)}
                return tuple(sorted(images - set(self.ids("val"))))
        places = " or ".join(f"{folder}/train.txt and val.txt" for folder in folders)
        rule = f", or SBD's own lists as {places} (it is then computed)" if places else ""
        raise UserError(f"{missing}: no such list; put the list of {_TRAINAUG} (10,582 lines) there{rule}")

    def image_path(self, image_id: str) -> Path:
        """The image file.

        Raises:
            UserError: there is none; names the folder and the names looked for.
        """
        folder = self.root / "JPEGImages"
        if path := _first_file(folder, image_id, IMAGE_SUFFIXES):
            return path
        raise UserError(f"{folder / image_id}.jpg: no such image (nor .jpeg or .png); add it or take it off the list")

    def mask_path(self, image_id: str) -> Path:
        """The mask file: a ``.png``, or a ``.mat`` of SBD, from the first mask folder that has one.

        Raises:
            UserError: no folder has one; names them all.
        """
        for name in self.masks:
            if path := _first_file(self.root / name, image_id, (".png", ".mat")):
                return path
        places = ", ".join(str(self.root / name) for name in self.masks)
        raise UserError(
            f"{image_id}: no mask {image_id}.png or {image_id}.mat in {places}; "
            "add it, name its folder in data.masks, or take the image off the list"
        )

    def image(self, image_id: str) -> UInt8:
        """(H, W, 3) uint8, RGB.

        Raises:
            UserError: the file is missing or cannot be decoded; names it.
        """
        path = self.image_path(image_id)
        return read_image(path, self.read(image_id, path, "image"))

    def class_masks(self, image_id: str, class_ids: Sequence[int]) -> UInt8:
        """(len(class_ids), H, W) uint8 at native size: 1 = the class, 0 = not, 255 = void.

        Raises:
            UserError: mask missing, unreadable, of another size than the image, or with labels outside the
                classes.
        """
        values = self._labels(image_id).values
        void = (values == VOID) * np.uint8(VOID)
        masks = np.empty((len(class_ids), *values.shape), dtype=np.uint8)
        for mask, class_id in zip(masks, class_ids, strict=True):
            np.maximum(void, values == class_id, out=mask)
        return masks

    def class_pixels(self, image_id: str) -> dict[int, int]:
        """Native pixels of each class that the image shows (class id to count, no zeros, no void).

        Raises:
            UserError: as :meth:`class_masks`.
        """
        counts = self._labels(image_id).counts
        return {c: int(counts[c]) for c in range(1, len(self.classes) + 1) if counts[c]}

    def label_digest(self, image_id: str) -> str:
        """SHA-256 (hex) of the mask file."""
        return sha256(read_file(self.mask_path(image_id), "mask"))

    def content(self, image_id: str, *, labels: bool) -> Content:
        """The digests of the image file and, with ``labels``, of the mask file, read now.

        Raises:
            UserError: one is missing or unreadable.
        """
        content = super().content(image_id, labels=labels)
        masks = {self.mask_path(image_id): content.label} if labels else {}
        return content._replace(files={**content.files, **masks})

    def fingerprint(self, lists: Sequence[str]) -> str:
        """A digest of the lists and of the names, sizes and times of their image and mask files.

        Raises:
            UserError: a list, an image or a mask is missing.
        """
        digest = hashlib.sha256()
        for name in lists:
            images = self.ids(name)
            digest.update(f"{name} {len(images)}\n".encode())
            for image_id in images:
                for line in self._facts(image_id, name):
                    digest.update(line.encode())
        return digest.hexdigest()

    def _facts(self, image_id: str, list_name: str) -> Iterator[str]:
        """Names, sizes and times of an image's files; an error says which list names them."""
        place = list_name if is_list_file(list_name) else self._list_path(list_name)
        try:
            for path in (self.image_path(image_id), self.mask_path(image_id)):
                facts = path.stat()
                yield f"{path.relative_to(self.root)} {facts.st_size} {facts.st_mtime_ns}\n"
        except UserError as error:
            raise UserError(f"{error} (the list {place} names it)") from None
        except OSError as error:
            raise UserError(f"{place}: names {image_id[:80]!r}: {error.strerror or error}") from None

    def _values(self, image_id: str) -> UInt8:
        """(H, W) label values, as the mask file has them."""
        path = self.mask_path(image_id)
        data = self.read(image_id, path, "mask")
        return read_sbd_labels(path, data) if path.suffix == ".mat" else read_labels(path, data)

    def _labels(self, image_id: str) -> _Labels:
        path = self.mask_path(image_id)
        values = self._values(image_id)
        check_mask_size(path, values, self.image_path(image_id))
        counts = np.array(Image.fromarray(values).histogram(), dtype=np.int64)
        self._check_values(path, counts)
        return _Labels(values, counts)

    def _check_values(self, path: Path, counts: npt.NDArray[np.int64]) -> None:
        last = len(self.classes)
        outside = [v for v in np.flatnonzero(counts).tolist() if last < v != VOID]
        if not outside:
            return
        listing = ", ".join(map(str, outside[:10])) + (", ..." if len(outside) > 10 else "")
        raise UserError(
            f"{path}: label values {listing} are outside the protocol's {last} classes "
            f"(0 is background, 1 to {last} the classes, {VOID} void); mend the mask or the list of classes"
        )


def _first_file(folder: Path, stem: str, suffixes: Iterable[str]) -> Path | None:
    for suffix in suffixes:
        path = folder / f"{stem}{suffix}"
        if path.is_file():
            return path
    return None


def _read_list(path: Path) -> tuple[str, ...]:
    try:
        lines = regular(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(f"{path}: no such list; put a text file with one image name a line there") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: the list cannot be read: {error}") from None
    images = {_image_id(line) for line in lines if line.strip()}
    if not images:
        raise UserError(f"{path}: the list is empty; it must have one image name a line")
    return tuple(sorted(images))


def _image_id(line: str) -> str:
    """The image of a list's line: all of it, or the name in ``/JPEGImages/<id>.jpg /<masks>/<id>.png``."""
    text = line.strip()
    if "JPEGImages/" not in text:
        return text
    return PurePosixPath(text.split()[0]).stem
