"""Images and masks in the folder layout of PASCAL VOC, with the masks of SBD where they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from fsseg_bench.conventions import VOID, UInt8
from fsseg_bench.data.decode import IMAGE_SUFFIXES, image_size, read_file, read_text, sha256
from fsseg_bench.data.files import MASK_SUFFIXES, exact_file, find_file, passed_over, shown, spellings, suffix_of
from fsseg_bench.data.masks import check_mask_size, read_labels
from fsseg_bench.data.sbd import read_sbd_labels
from fsseg_bench.data.source import Content, Source
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.data_spec import is_list_file
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.schema import Must, later

_TRAINAUG = "trainaug"
_SBD_FOLDER = "cls"
SUFFIXES = ", ".join(IMAGE_SUFFIXES[1:])


def _different_names(names: tuple[str, ...]) -> bool:
    return bool(names) and all(name.strip() for name in names) and len(set(names)) == len(names)


_COLORS = "a list of different colours like '128,0,0' (red, green, blue, 0 to 255 each), none of them black"


def _are_colors(colors: tuple[str, ...]) -> bool:
    values = [color_value(color) for color in colors]
    return all(values) and len(set(values)) == len(values)


def color_value(color: str) -> int | None:
    """0xRRGGBB of ``"red,green,blue"``; None where it is none."""
    parts = [part.strip() for part in color.split(",")]
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and int(part) <= 255 for part in parts):
        return None
    red, green, blue = map(int, parts)
    return red << 16 | green << 8 | blue


@dataclass(frozen=True)
class VocKeys:
    """The keys of ``[data]`` for VOC's layout."""

    masks: Annotated[tuple[str, ...], Must("a list of different folders, at least one", _different_names)]
    """Mask folders in order of preference, each with palette PNGs or SBD's .mat files."""
    colors: Annotated[tuple[str, ...], Must(_COLORS, _are_colors)] = later(())
    """The colour of each class in the masks, which then decides in place of an index; black is background, 224,224,192
    void."""


class VocSource(Source):
    """``JPEGImages/<id>.jpg``, ``<mask folder>/<id>.png`` and ``ImageSets/Segmentation/<list>.txt``.

    Images may have any suffix of :data:`fsseg_bench.data.decode.IMAGE_SUFFIXES`. Masks are palette or greyscale PNGs
    (or BMP, TIFF), or SBD's ``.mat`` files.
    """

    keys: ClassVar[Any] = VocKeys

    def __init__(self, root: Path, classes: Sequence[str], masks: Sequence[str], colors: Sequence[str] = ()) -> None:
        """A reader of ``root``, the folder that holds ``JPEGImages``.

        ``masks`` are folders relative to ``root``; an image's mask is taken from the first that has one. ``colors`` are
        the classes' own in the masks, in their order; without any, the masks hold label values.

        Raises:
            UserError: there are colours, but not one for each class.
        """
        super().__init__(root, classes)
        self.masks = tuple(masks)
        self.colors = tuple(filter(None, map(color_value, colors)))
        if self.colors and len(self.colors) != len(self.classes):
            raise UserError(
                f"{root}: data.colors has {len(self.colors)} colours for {len(self.classes)} classes; each class needs "
                "its colour, in the order of the classes"
            )

    @classmethod
    def open(cls, protocol: Protocol, root: Path) -> Source:
        """The reader of a protocol's data in ``root``."""
        keys = protocol.data.options_as(VocKeys)
        return cls(root, protocol.classes, keys.masks, keys.colors)

    @classmethod
    def needs(cls, protocol: Protocol) -> tuple[str, ...]:
        """``JPEGImages`` and, unless all lists are files, the folder of the lists."""
        data = protocol.data
        listed = all(is_list_file(entry) for entry in (*data.train_list, *data.test_list))
        return ("JPEGImages/",) if listed else ("JPEGImages/", "ImageSets/Segmentation/")

    @classmethod
    def id_of_name(cls, name: str, class_name: str) -> str:
        """The last part of a path."""
        return PurePosixPath(name).name or name

    def listed(self, list_name: str) -> Iterable[str]:
        """As :meth:`Source.listed`, of ``ImageSets/Segmentation/<list_name>.txt``; an empty list is an error too.

        ``trainaug`` without a file is VOC's train list and SBD's two lists, less VOC's val list.
        """
        path = self._list_path(list_name)
        if list_name == _TRAINAUG and not path.is_file():
            return self._trainaug(path)
        return {self._image_id(line) for line in _read_list(path)}

    def list_file(self, list_name: str) -> Path | None:
        """``ImageSets/Segmentation/<list_name>.txt``, whether or not it is there."""
        return self._list_path(list_name)

    def _list_path(self, list_name: str) -> Path:
        return self.root / "ImageSets" / "Segmentation" / f"{list_name}.txt"

    def lists_to_add(self, protocol: Protocol) -> Mapping[Path, str]:
        """A part of VOC has no list ``trainaug``: its training list stands in, less the test lists."""
        added = {}
        for name in protocol.data.train_list:
            try:
                self.ids(name)
            except UserError:
                images = set(self.ids("train")) - {i for t in protocol.data.test_list for i in self.ids(t)}
                added[self._list_path(name)] = "".join(f"{image}\n" for image in sorted(images))
        return added

    def _image_id(self, line: str) -> str:
        """The image of a list's line.

        All of it, or the name in ``/JPEGImages/<id>.jpg /<masks>/<id>.png``, in any spelling that a file has.
        """
        if line.isascii() and not set(line) & set("\\/%. "):
            return line
        folder = self.root / "JPEGImages"
        words = line.split()
        paths = len(words) == 2 and all(suffix_of(word) in IMAGE_SUFFIXES for word in words)
        first = words[0] if paths or "JPEGImages" in words[0] else line  # of an image's path and its mask's
        for spelling in dict.fromkeys((*spellings(line), *spellings(first))):
            bare = str(PurePosixPath(spelling).with_suffix("")) if suffix_of(spelling) in IMAGE_SUFFIXES else spelling
            for name in (spelling, bare, bare.rpartition("JPEGImages/")[2]):
                inside = not name.startswith("/") and ".." not in PurePosixPath(name).parts
                if inside and (path := find_file(folder, name, IMAGE_SUFFIXES)):
                    return str(path.relative_to(folder).with_suffix(""))
        return PurePosixPath(first.replace("\\", "/")).stem if "JPEGImages" in first else line

    def _trainaug(self, missing: Path) -> set[str]:
        """The 10,582 images that papers call trainaug, from the lists that define it."""
        folders = [(self.root / name).parent for name in self.masks if Path(name).name == _SBD_FOLDER]
        for folder in folders:
            extra = [folder / "train.txt", folder / "val.txt"]
            if all(path.is_file() for path in extra):
                lists = [self._list_path("train"), *extra]
                images = {self._image_id(line) for path in lists for line in _read_list(path)}
                return images - set(self.ids("val"))
        places = " or ".join(f"{folder}/train.txt and val.txt" for folder in folders)
        rule = f", or SBD's own lists as {places} (it is then computed)" if places else ""
        raise UserError(f"{missing}: no such list; put the list of {_TRAINAUG} (10,582 lines) there{rule}")

    def image_path(self, image_id: str) -> Path:
        """As :meth:`Source.image_path`; an error names the folder and the names looked for."""
        folder = self.root / "JPEGImages"
        if path := exact_file(folder, image_id, IMAGE_SUFFIXES):
            return path
        raise UserError(f"{folder / image_id}.jpg: no such image (nor {SUFFIXES}); add it or take it off the list")

    def mask_path(self, image_id: str) -> Path:
        """The mask file: a ``.png`` or the like, or a ``.mat`` of SBD, from the first mask folder that has one.

        Raises:
            UserError: no folder has one; names them all.
        """
        for name in self.masks:
            folder = self.root / name
            if path := find_file(folder, image_id, MASK_SUFFIXES) or find_file(folder, image_id, (".mat",)):
                return path
        places = ", ".join(str(self.root / name) for name in self.masks)
        lossy = next(filter(None, (lossy_mask(self.root / name, image_id) for name in self.masks)), "")
        raise UserError(
            f"{image_id}: no mask {image_id}.png or {image_id}.mat in {places}; "
            + (lossy or "add it, name its folder in data.masks, or take the image off the list")
        )

    def files(self, image_id: str) -> tuple[Path, ...]:
        """The files of the image and of its mask."""
        return self.image_path(image_id), self.mask_path(image_id)

    def doubts(self, test_images: Iterable[str]) -> list[str]:
        """Test images whose mask was found in another folder than most: the right one may be missing.

        Where a mask of VOC is missing, one of SBD would step in and nothing else would tell.
        """
        folders: dict[str, Path] = {}
        for image in sorted(test_images):
            with suppress(UserError):
                folders[image] = self.mask_path(image).parent
        if not folders or len(self.masks) < 2:
            return []
        (usual, _), *_ = Counter(folders.values()).most_common(1)
        return [
            f"{usual / image}.png: no such mask; {folder / image} steps in, unlike for other test images"
            for image, folder in folders.items()
            if folder != usual
        ]

    def remarks(self, images: Iterable[str]) -> list[str]:
        """Files beside the images and masks that are not read."""
        kinds: dict[Path, Sequence[str]] = {self.root / "JPEGImages": IMAGE_SUFFIXES}
        kinds |= {self.root / name: (*MASK_SUFFIXES, ".mat") for name in self.masks}
        return [*super().remarks(images), *not_read(kinds)]

    def label_size(self, image_id: str) -> tuple[int, int]:
        """As :meth:`Source.label_size`, from the mask's header where it is a picture."""
        path = self.mask_path(image_id)
        if path.suffix != ".mat":
            return image_size(path)
        height, width = self._values(image_id).shape
        return width, height

    def class_masks(self, image_id: str, class_ids: Sequence[int]) -> UInt8:
        """As :meth:`Source.class_masks`: a pixel labelled 255 is void for each class."""
        values, _ = self._labels(image_id)
        void = (values == VOID) * np.uint8(VOID)
        masks = np.empty((len(class_ids), *values.shape), dtype=np.uint8)
        for mask, class_id in zip(masks, class_ids, strict=True):
            np.maximum(void, values == class_id, out=mask)
        return masks

    def class_pixels(self, image_id: str) -> dict[int, int]:
        """As :meth:`Source.class_pixels`, from one histogram of the mask."""
        _, counts = self._labels(image_id)
        return {c: int(counts[c]) for c in range(1, len(self.classes) + 1) if counts[c]}

    def label_digest(self, image_id: str) -> str:
        """SHA-256 (hex) of the mask file, and of what else decides how its values are read."""
        digest = self._mask_digest(image_id)
        return sha256(f"{digest} {self._reading}".encode()) if self._reading else digest

    @property
    def _reading(self) -> str:
        """What decides beside a mask file itself which label its values are; empty where nothing does."""
        return str(self.colors) if self.colors else ""

    def _mask_digest(self, image_id: str) -> str:
        return sha256(read_file(self.mask_path(image_id), "mask"))

    def content(self, image_id: str, *, labels: bool) -> Content:
        """As :meth:`Source.content`; with ``labels``, the mask is one of the files."""
        content = super().content(image_id, labels=labels)
        # where nothing else decides, the file's digest is that of its labels
        digest = self._mask_digest(image_id) if labels and self._reading else content.label
        masks = {self.mask_path(image_id): digest} if labels else {}
        return content._replace(files={**content.files, **masks})

    def _values(self, image_id: str) -> UInt8:
        """(H, W) label values, as the mask file has them."""
        path = self.mask_path(image_id)
        data = self.read(image_id, path, "mask")
        return read_sbd_labels(path, data) if path.suffix == ".mat" else read_labels(path, data, self.colors)

    def _labels(self, image_id: str) -> tuple[UInt8, npt.NDArray[np.int64]]:
        """(H, W) label values, 0 to the number of classes or 255, and (256,) pixels of each value."""
        path = self.mask_path(image_id)
        values = self._values(image_id)
        check_mask_size(path, values, self.image_path(image_id), upright=self.upright)
        counts = np.array(Image.fromarray(values).histogram(), dtype=np.int64)
        self._check_values(path, counts)
        return values, counts

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


def not_read(folders: Mapping[Path, Sequence[str]]) -> list[str]:
    """What is passed over in ``folders``, each with the suffixes that are read: a sentence for each kind."""
    hidden: list[str] = []
    others: list[str] = []
    for folder, suffixes in folders.items():
        for names, found in zip((hidden, others), passed_over(folder, suffixes), strict=True):
            names += [f"{folder.name}/{name}" for name in found]
    said = [("files of the system are passed over", hidden), ("files of other kinds are not read", others)]
    return [f"{words}: {shown(names)}" for words, names in said if names]


def lossy_mask(folder: Path, stem: str) -> str:
    """What to say where the mask ``stem`` is a JPEG or the like; empty where it is not."""
    try:
        path = find_file(folder, stem, set(IMAGE_SUFFIXES) - set(MASK_SUFFIXES))
    except UserError:
        return ""
    return (
        f"there is {path}, but its format does not keep the values of a mask: export the masks as PNG" if path else ""
    )


def _read_list(path: Path) -> list[str]:
    """The lines of a list that are not empty."""
    text = read_text(path, "list", "; put a text file with one image name a line there")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{path}: the list is empty; it must have one image name a line")
    return lines
