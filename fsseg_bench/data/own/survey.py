"""Looks at a folder of images and masks: which layout, which classes, how many pixels of each class in which image."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from fsseg_bench.data.coco_files import annotation_file, lists_beside, lists_in
from fsseg_bench.data.decode import IMAGE_SUFFIXES, image_size, read_text
from fsseg_bench.data.instances import load_instances
from fsseg_bench.data.source import Source
from fsseg_bench.data.sources.coco import CocoSource
from fsseg_bench.data.sources.folder import ALL, FolderSource
from fsseg_bench.data.sources.voc import VocSource
from fsseg_bench.errors import UserError

_MASK_FOLDERS = ("SegmentationClass", "SegmentationClassAug", "SBD/dataset/cls")
_TRAIN = ("trainaug", "train")
_TEST = ("val", "valid", "validation", "test")
_CLASS_FILES = ("classes.txt", "class_names.txt")
_NO_CLASS = {"__ignore__", "_background_", "background"}
_THREADS = 4
_NEW_LIST = "all.txt"
_SAMPLE = 500  # images whose size is looked at

Pixels = Mapping[str, Mapping[int, int]]
"""Image id to class id to native pixels."""
Roles = tuple[tuple[str, ...], tuple[str, ...]]
"""Training lists and test lists."""


@dataclass(frozen=True)
class Words:
    """How a proposed protocol speaks of a layout."""

    source: str
    """The value of ``data.source``."""
    found: str
    classes: str
    """What the classes' names are."""
    lists: str
    """What the lists' names are."""


_VOC = Words(
    "voc",
    "VOC's layout",
    "The label value of a class in the masks is its position in this list, from 1; 0 is background and 255 void. Names "
    "like class-1 are placeholders: put the real ones in their places.",
    "Lists: names of files in ImageSets/Segmentation/, without .txt",
)
_COCO = Words(
    "coco",
    "COCO's instance annotations",
    "Categories of the instance annotations. Those that are not listed are background.",
    "Lists: names of annotations/instances_<list>.json, their images in <list>/ or images/",
)
_FOLDERS = Words(
    "folder",
    "one folder a class, with images/ and masks/",
    "The names of the class folders. In masks, 0 is background and the one other value the object; there is no void.",
    "Lists: all is every image",
)


@dataclass(frozen=True)
class Survey:
    """What a folder holds."""

    root: Path
    layout: Words
    classes: tuple[str, ...]
    """Class names; the label value of a class is its position, from 1."""
    train_list: tuple[str, ...]
    test_list: tuple[str, ...]
    """The same as ``train_list`` where the folder does not say which images are for testing."""
    train: Pixels
    test: Pixels
    side: int
    """Median of the longer side of the images, in pixels."""
    area: int
    """Median of the images' area, in pixels."""
    keys: Mapping[str, tuple[object, str]] = field(default_factory=dict)
    """The source's own keys of ``[data]``: value and explanation."""
    list_files: Mapping[str, str] = field(default_factory=dict)
    """Name to text of list files that the proposal needs."""
    notes: tuple[str, ...] = ()
    """What the user should know."""

    @property
    def shared(self) -> bool:
        """Whether training and testing draw from the same images."""
        return self.train_list == self.test_list


def look(root: Path) -> Survey:
    """Recognises the layout of ``root`` and reads all its masks.

    Raises:
        UserError: no such folder, none of the three layouts, no images, no masks, or a file that cannot be used.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder")
    readers: dict[str, Callable[[Path], Survey]] = {}
    if lists_in(root):
        readers["COCO's (annotations/instances_*.json, or a JSON file in each list's folder)"] = _look_coco
    if (root / "JPEGImages").is_dir():
        readers["VOC's (JPEGImages/)"] = _look_voc
    if _class_folders(root):
        readers["one folder a class (<class>/images/)"] = _look_folders
    if len(readers) > 1:
        raise UserError(f"{root}: has several layouts: {' and '.join(readers)}; put each data set into its own folder")
    if not readers and lists_beside(root):
        readers["COCO's (a JSON file beside the images)"] = _look_coco
    if not readers:
        inside = ", ".join(sorted(path.name for path in root.iterdir())[:8]) or "nothing"
        raise UserError(
            f"{root}: holds {inside}, which is none of the known layouts: JPEGImages/ with SegmentationClass/ (VOC), "
            "annotations/instances_*.json with the images beside (COCO), or for each class a folder with images/ and "
            "masks/. docs/own-data.md shows them"
        )
    return next(iter(readers.values()))(root)


def _look_voc(root: Path) -> Survey:
    masks = tuple(name for name in _MASK_FOLDERS if (root / name).is_dir())
    if not masks:
        raise UserError(f"{root}: has JPEGImages/ but no masks; put them as PNGs into {root / _MASK_FOLDERS[0]}")
    source = VocSource(root, [str(value) for value in range(1, VocSource.most_classes + 1)], masks)
    lists = sorted(path.stem for path in (root / "ImageSets" / "Segmentation").glob("*.txt"))
    files, notes = {}, []
    roles = list_roles(lists or [_NEW_LIST])
    if lists:
        train, test = _of_lists(source, roles)
    else:
        images, without = _voc_images(source)
        files[_NEW_LIST] = "".join(f"{image}\n" for image in images)
        if without:
            shown = ", ".join(without[:3]) + (", ..." if len(without) > 3 else "")
            notes.append(f"images without a mask are not used: {len(without)} ({shown})")
        train = test = _pixels(source, images)
    largest = max((value for shown in (*train.values(), *test.values()) for value in shown), default=0)
    classes = voc_class_names(root, largest)
    keys = {"masks": (masks, "folders of the masks; the first that has the image's is taken")}
    return Survey(root, _VOC, classes, *roles, train, test, *_sizes(source, [*train, *test]), keys, files, tuple(notes))


def _voc_images(source: VocSource) -> tuple[list[str], list[str]]:
    """Names of the images in JPEGImages with a mask, and of those without."""
    found = sorted(p.stem for p in (source.root / "JPEGImages").iterdir() if p.suffix in IMAGE_SUFFIXES)
    if not found:
        raise UserError(f"{source.root / 'JPEGImages'}: has no images (.jpg, .jpeg or .png)")
    masks = {path.stem for name in source.masks for path in (source.root / name).iterdir()}
    used = [image for image in found if image in masks]
    if not used:
        raise UserError(f"{found[0]}: no mask {found[0]}.png in {source.root / source.masks[0]}, nor any other image's")
    return used, [image for image in found if image not in masks]


def _look_coco(root: Path) -> Survey:
    lists = lists_in(root) or lists_beside(root)
    roles = list_roles(lists)
    used = [annotation_file(root, name) for name in dict.fromkeys((*roles[0], *roles[1]))]
    files = [load_instances(path) for path in used]
    categories = [instances.categories for instances in files]
    everywhere = set.intersection(*(set(names.values()) for names in categories))
    classes = tuple(name for _, name in sorted(categories[0].items()) if name in everywhere)
    notes = []
    if partial := sorted({name for names in categories for name in names.values()} - everywhere):
        notes.append(f"categories that not every instance file has are not used: {', '.join(partial)}")
    if len(classes) > (most := CocoSource.most_classes):
        raise UserError(f"{used[0]}: has {len(classes)} categories; at most {most} classes are possible")
    keys: dict[str, tuple[object, str]] = {}
    keys["year"] = (0, "the lists' names below are complete, with their year if they have one")
    crowded = dict.fromkeys(name for instances in files for name in instances.crowded() if name in everywhere)
    source = CocoSource(root, classes, 0, "object" if crowded else "void")
    if crowded:
        keys["crowds"] = ('"object"', "iscrowd 1 marks single objects here; void where it marks crowds")
        notes.append(
            f"most regions of {', '.join(crowded)} have iscrowd 1, as some tools write it for each mask that is no "
            'polygon: taken for objects (data.crowds = "object"); if they are crowds, write "void"'
        )
    train, test = _of_lists(source, roles)
    sizes = _sizes(source, [*train, *test])
    return Survey(root, _COCO, classes, *roles, train, test, *sizes, keys, notes=tuple(notes))


def _look_folders(root: Path) -> Survey:
    classes = _class_folders(root)
    if len(classes) > (most := FolderSource.most_classes):
        raise UserError(f"{root}: has {len(classes)} class folders; at most {most} classes are possible")
    source = FolderSource(root, classes)
    images = source.ids(ALL)
    missing = [image for image in images if not source.expected_mask(image).is_file()]
    if missing:
        shown = ", ".join(str(source.expected_mask(image)) for image in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise UserError(f"masks are missing: {shown}{more}; add them, or remove their images")
    pixels = _pixels(source, images)
    notes = []
    if empty := [image for image, shown in pixels.items() if not shown]:
        notes.append(f"images with an empty mask are never drawn: {len(empty)} ({', '.join(empty[:3])})")
    lists = ((ALL,), (ALL,))
    return Survey(root, _FOLDERS, classes, *lists, pixels, pixels, *_sizes(source, images), notes=tuple(notes))


def _class_folders(root: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in root.iterdir() if (path / "images").is_dir()))


def _of_lists(source: Source, roles: Roles) -> tuple[Pixels, Pixels]:
    """The pixels of the training and of the test lists."""
    images = [sorted({image for name in names for image in source.ids(name)}) for names in roles]
    train = _pixels(source, images[0])
    return train, train if images[0] == images[1] else _pixels(source, images[1])


def _pixels(source: Source, images: Sequence[str]) -> Pixels:
    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(images, pool.map(source.class_pixels, images), strict=True))


def _sizes(source: Source, images: Sequence[str]) -> tuple[int, int]:
    """Medians of the longer side and of the area, over evenly spaced images."""
    chosen = images[:: -(-len(images) // _SAMPLE)]
    sizes = [image_size(source.image_path(image)) for image in chosen]
    return round(statistics.median(map(max, sizes))), round(statistics.median(w * h for w, h in sizes))


def list_roles(lists: Sequence[str]) -> Roles:
    """The lists for training and for testing: ``train`` and ``val`` or alike, else all lists for both.

    A year at the end of a name (``train2017``) does not matter.
    """
    by_name = {name.rstrip("0123456789"): name for name in lists}
    train = next((by_name[name] for name in _TRAIN if name in by_name), None)
    test = next((by_name[name] for name in _TEST if name in by_name), None)
    if train and test:
        return (train,), (test,)
    return tuple(lists), tuple(lists)


def class_file(folder: Path) -> Path | None:
    """The file in ``folder`` that names the classes; None where there is none."""
    return next((folder / name for name in _CLASS_FILES if (folder / name).is_file()), None)


def voc_class_names(root: Path, largest: int) -> tuple[str, ...]:
    """Names of the label values 1 to ``largest`` and beyond, from ``classes.txt`` or ``class_names.txt``.

    These have one name a line, in the order of the label values. labelme's lines ``__ignore__`` and ``_background_``
    (and ``background``) are no classes and do not count. Without such a file: ``class-1``, ``class-2``, ...

    Raises:
        UserError: no mask shows anything, or the file has a name twice or fewer names than the masks have values.
    """
    if not largest:
        raise UserError(f"{root}: no mask shows any class: all pixels are 0 (background) or 255 (void)")
    path = class_file(root)
    if path is None:
        return tuple(f"class-{value}" for value in range(1, largest + 1))
    lines = map(str.strip, read_text(path, "names of the classes").splitlines())
    names = tuple(line for line in lines if line and line.lower() not in _NO_CLASS)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{path}: names {', '.join(twice)} more than once; each class needs a name of its own")
    if len(names) < largest:
        raise UserError(
            f"{path}: has {len(names)} names, but a mask has the label value {largest}; "
            "one name a line is needed, in the order of the label values from 1"
        )
    return names
