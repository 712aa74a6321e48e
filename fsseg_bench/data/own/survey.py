"""Looks at a folder of images and masks: which layout, which classes, how many pixels of each class in which image."""

from __future__ import annotations

import dataclasses
import re
import shlex
import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from fsseg_bench.data.coco_files import annotation_file, lists_beside, lists_in
from fsseg_bench.data.decode import IMAGE_SUFFIXES
from fsseg_bench.data.files import check_name, find_file, is_hidden, shown, suffix_of
from fsseg_bench.data.instances import load_instances
from fsseg_bench.data.own.folders import Collection, recognise
from fsseg_bench.data.own.names import class_file, class_names, coloured_classes
from fsseg_bench.data.own.pictures import choose_orientation, palette_notes
from fsseg_bench.data.own.tools import CONVERT, files_below, tool_of
from fsseg_bench.data.source import Source
from fsseg_bench.data.sources.coco import CocoSource
from fsseg_bench.data.sources.folder import ALL, FolderKeys, FolderSource
from fsseg_bench.data.sources.voc import VocSource, lossy_mask
from fsseg_bench.errors import UserError

_T = TypeVar("_T")
_MASK_FOLDERS = ("SegmentationClass", "SegmentationClassPNG", "SegmentationClassAug", "SBD/dataset/cls")
_TRAIN = ("trainaug", "train", "training")
_TEST = ("val", "valid", "validation", "test", "testing")
_THREADS = 4
_NEW_LIST = "all.txt"
_SAMPLE = 500  # images whose size is looked at
MOST_DECODED = 500
"""Images that are all decoded; of more, none is: that takes minutes."""

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
    "one folder a class",
    "The names of the class folders. In masks, 0 is background and the one other value the object; there is no void.",
    "Lists: all is every image",
)

_FOLDER_WORDS = {
    "images": "the folder of a class's images; {class} stands for its name",
    "masks": "the folder of its masks",
    "mask_suffix": "what a mask's name has behind its image's",
}


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
    unused_lists: tuple[str, ...] = ()
    """Lists that are there, but serve for neither training nor testing."""
    decoded: int = 0
    """How many images were decoded; 0 where there are too many."""
    upright: bool = True
    """Whether photos are turned upright as their EXIF orientation says."""

    @property
    def shared(self) -> bool:
        """Whether training and testing draw from the same images."""
        return self.train_list == self.test_list


def look(root: Path) -> Survey:
    """Recognises the layout of ``root`` and reads all its masks and, where there are few, all images.

    Raises:
        UserError: no such folder, none of the layouts, no images, no masks, or a file that cannot be used.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder" if not root.exists() else f"{root}: is a file; give its folder")
    readers: dict[str, Callable[[Path], Survey]] = {}
    if lists_in(root):
        readers["COCO's (annotations/instances_*.json, or a JSON file in each list's folder)"] = _look_coco
    if (root / "JPEGImages").is_dir():
        readers["VOC's (JPEGImages/)"] = _look_voc
    found = recognise(root) if not readers or any(root.glob("*/images")) else None
    if found and (not readers or found.places == FolderKeys()):
        readers["one folder a class (<class>/images/)"] = lambda root: _look_folders(root, found)
    if len(readers) > 1:
        raise UserError(f"{root}: has several layouts: {' and '.join(readers)}; put each data set into its own folder")
    if not readers and lists_beside(root):
        readers["COCO's (a JSON file beside the images)"] = _look_coco
    if not readers:
        raise _unknown_layout(root)
    return next(iter(readers.values()))(root)


def _of_tool(root: Path) -> UserError | None:
    """What to say of files of a labelling tool that are not read as they are; None where there are none."""
    if (tool := tool_of(root)) is None:
        return None
    name, advice = tool
    if advice == CONVERT:
        advice = f"fsseg-bench data convert {shlex.quote(str(root))} writes them as COCO instances, which are read"
    return UserError(f"{root}: holds files of {name}, which are not read as they are: {advice}")


def _unknown_layout(root: Path) -> UserError:
    if said := _of_tool(root):
        return said
    inside = ", ".join(sorted(path.name for path in root.iterdir() if not is_hidden(path.name))[:8]) or "nothing"
    return UserError(
        f"{root}: holds {inside}, which is none of the known layouts: JPEGImages/ with SegmentationClass/ (VOC), "
        "annotations/instances_*.json with the images beside (COCO), or for each class a folder with images/ and "
        "masks/. docs/own-data.md shows them, and what the exports of labelling tools need"
    )


def _look_voc(root: Path) -> Survey:
    masks = tuple(name for name in _MASK_FOLDERS if (root / name).is_dir())
    useful = tuple(name for name in masks if _has_masks(root / name))
    if not useful:
        other = f"; {' and '.join(masks)} there hold{'s' if len(masks) == 1 else ''} none" if masks else ""
        place = f"put them as PNGs into {root / _MASK_FOLDERS[0]}{other}"
        raise _of_tool(root) or UserError(f"{root}: has JPEGImages/ but no masks; {place}")
    notes = [f"{name}/ holds no mask that can be read, and is not used" for name in masks if name not in useful]
    source = VocSource(root, [str(value) for value in range(1, VocSource.most_classes + 1)], useful)
    lists = sorted(p.stem for p in (root / "ImageSets" / "Segmentation").glob("*.txt") if not is_hidden(p.name))
    files = {}
    roles = list_roles(lists or [_NEW_LIST])
    keys: dict[str, tuple[object, str]] = {}
    keys["masks"] = (useful, "folders of the masks; the first that has the image's is taken")
    used = {image for part in roles for name in part for image in source.ids(name)} if lists else _voc_images(source)[0]
    if coloured := coloured_classes(source, sorted(used)):
        source = VocSource(root, coloured.names, useful, coloured.colors)
        keys["colors"] = (coloured.colors, f"of the classes in the masks, from {coloured.path.name}")
    if lists:
        train, test = _of_lists(source, roles)
    else:
        images, without = _voc_images(source)
        files[_NEW_LIST] = "".join(f"{image}\n" for image in images)
        if without:
            notes.append(f"images without a mask are not used: {shown(without)}")
        choose_orientation(source, images)
        train = test = _pixels(source, images)
    notes += [*_other_lists(root, lists), *palette_notes(source, {**train, **test})]
    largest = max((value for seen in (*train.values(), *test.values()) for value in seen), default=0)
    classes = coloured.names if coloured else voc_class_names(root, largest)
    survey = Survey(
        root, _VOC, classes, *roles, train, test, *_sizes(source, [*train, *test]), keys, files, tuple(notes)
    )
    return _finished(survey, source, lists)


def _has_masks(folder: Path) -> bool:
    return any(suffix_of(path.name) in {*IMAGE_SUFFIXES, ".mat"} for path in files_below(folder))


def _other_lists(root: Path, lists: Sequence[str]) -> list[str]:
    """Text files that look like lists and lie where none are read."""
    places = [root, *(path for path in (root / "ImageSets").glob("*") if path.name != "Segmentation")]
    found = [path for place in places if place.is_dir() for path in sorted(place.glob("*.txt"))]
    roles = {*_TRAIN, *_TEST, "trainval", "default", "all"}
    names = [str(p.relative_to(root)) for p in found if _role(p.stem) in roles and p.name != _NEW_LIST]
    words = "lists are read from ImageSets/Segmentation/ alone, so that these are not used"
    return [f"{words}: {', '.join(names)}"] if names and not lists else []


def _voc_images(source: VocSource) -> tuple[list[str], list[str]]:
    """Names of the images in JPEGImages with a mask, and of those without."""
    folder = source.root / "JPEGImages"
    found = [path for path in files_below(folder) if suffix_of(path.name) in IMAGE_SUFFIXES]
    if not found:
        raise UserError(f"{folder}: has no images ({', '.join(IMAGE_SUFFIXES)})")
    for path in found:
        check_name(path)
    names = sorted({str(path.relative_to(folder).with_suffix("")) for path in found})
    kinds = (*IMAGE_SUFFIXES, ".mat")  # what is no mask, such as a JPEG, is refused when it is read
    used = [i for i in names if any(find_file(source.root / name, i, kinds) for name in source.masks)]
    if not used:
        raise UserError(f"{names[0]}: no mask {names[0]}.png in {source.root / source.masks[0]}, nor any other image's")
    return used, sorted(set(names) - set(used))


def _look_coco(root: Path) -> Survey:
    lists = lists_in(root) or lists_beside(root)
    roles = list_roles(lists)
    used = [annotation_file(root, name) for name in dict.fromkeys((*roles[0], *roles[1]))]
    try:
        files = [load_instances(path) for path in used]
    except UserError as error:
        if "not an instance file of COCO" in str(error) and (said := _of_tool(root)):
            raise said from None
        raise
    categories = [instances.categories for instances in files]
    everywhere = set.intersection(*(set(names.values()) for names in categories))
    classes = tuple(name for _, name in sorted(categories[0].items()) if name in everywhere)
    if not classes:
        raise UserError(f"{' and '.join(map(str, used))}: have no category in common; a class must be in each file")
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
        keys["crowds"] = ("object", "iscrowd 1 marks single objects here; void where it marks crowds")
        notes.append(
            f"most regions of {', '.join(crowded)} have iscrowd 1, as some tools write it for each mask that is no "
            'polygon: taken for objects (data.crowds = "object"); if they are crowds, write "void"'
        )
    train, test = _of_lists(source, roles)
    sizes = _sizes(source, [*train, *test])
    survey = Survey(root, _COCO, classes, *roles, train, test, *sizes, keys, notes=tuple(notes))
    return _finished(survey, source, lists)


def _look_folders(root: Path, found: Collection) -> Survey:
    classes = found.classes
    if len(classes) > (most := FolderSource.most_classes):
        raise UserError(f"{root}: has {len(classes)} class folders; at most {most} classes are possible")
    source = FolderSource(root, classes, found.places)
    images = source.ids(ALL)
    missing = [image for image in images if not source.find_mask(image)]
    if len(missing) == len(images) and (said := _of_tool(root)):
        raise said
    if missing:
        raise _missing(source, missing)
    choose_orientation(source, images)
    pixels = _pixels(source, images)
    notes = []
    if empty := [image for image, seen in pixels.items() if not seen]:
        notes.append(f"images with an empty mask are never drawn: {shown(empty)}")
    keys = {
        key: (value, words)
        for key, words in _FOLDER_WORDS.items()
        if (value := getattr(found.places, key)) != getattr(FolderKeys(), key)
    }
    layout = dataclasses.replace(_FOLDERS, found=found.found)
    if found.single:
        words = "The name of the one class, which is the folder's: change it here, and nowhere else. "
        layout = dataclasses.replace(layout, classes=words + _FOLDERS.classes.partition(". ")[2])
    lists = ((ALL,), (ALL,))
    sizes = _sizes(source, images)
    survey = Survey(root, layout, classes, *lists, pixels, pixels, *sizes, keys, notes=tuple(notes))
    return _finished(survey, source, [])


def _missing(source: FolderSource, missing: Sequence[str]) -> UserError:
    first = source.expected_mask(missing[0])
    lossy = lossy_mask(first.parent, first.stem) if not source.places.together else ""
    names = ", ".join(str(source.expected_mask(image)) for image in missing[:3])
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    return UserError(f"masks are missing: {names}{more}; {lossy or 'add them, or remove their images'}")


def _finished(survey: Survey, source: Source, lists: Sequence[str]) -> Survey:
    """Decodes the images where they are few, and notes the lists that are not used and how photos are turned."""
    images = sorted(survey.train.keys() | survey.test.keys())
    few = len(images) <= MOST_DECODED
    if few:
        _each(lambda image: source.image(image).shape, images, "image")
    unused = tuple(name for name in lists if name not in (*survey.train_list, *survey.test_list))
    decoded = len(images) if few else 0
    return dataclasses.replace(survey, decoded=decoded, unused_lists=unused, upright=source.upright)


def _of_lists(source: Source, roles: Roles) -> tuple[Pixels, Pixels]:
    """The pixels of the training and of the test lists."""
    images = [sorted({image for name in names for image in source.ids(name)}) for names in roles]
    choose_orientation(source, {*images[0], *images[1]})
    train = _pixels(source, images[0])
    return train, train if images[0] == images[1] else _pixels(source, images[1])


def _pixels(source: Source, images: Sequence[str]) -> Pixels:
    return dict(zip(images, _each(source.class_pixels, images, "mask"), strict=True))


def _each(work: Callable[[str], _T], images: Sequence[str], kind: str) -> list[_T]:
    """``work`` of each image.

    Raises:
        UserError: it failed for some; says how many, and names the first three.
    """

    def tried(image: str) -> _T | UserError:
        try:
            return work(image)
        except UserError as error:
            return error

    with ThreadPoolExecutor(_THREADS) as pool:
        results = list(pool.map(tried, images))
    broken = list(dict.fromkeys(str(result) for result in results if isinstance(result, UserError)))
    if len(broken) > 1:
        more = f"; and {len(broken) - 3:,} more" if len(broken) > 3 else ""
        raise UserError(f"{len(broken):,} {kind}s cannot be used: {'; '.join(broken[:3])}{more}")
    if broken:
        raise UserError(broken[0])
    return [result for result in results if not isinstance(result, UserError)]


def _sizes(source: Source, images: Sequence[str]) -> tuple[int, int]:
    """Medians of the longer side and of the area, over evenly spaced images."""
    chosen = images[:: -(-len(images) // _SAMPLE)]
    sizes = [source.image_size(image) for image in chosen]
    return round(statistics.median(map(max, sizes))), round(statistics.median(w * h for w, h in sizes))


def list_roles(lists: Sequence[str]) -> Roles:
    """The lists for training and for testing: ``train`` and ``val`` or alike, else all lists for both.

    Capital letters do not matter, nor does a number at the end of a name: of ``train1`` and ``train2`` both are for
    training. Of several years (``train2014``, ``train2017``) the last is taken.
    """
    train, test = (_named(lists, words) for words in (_TRAIN, _TEST))
    return (train, test) if train and test else (tuple(lists), tuple(lists))


def _named(lists: Sequence[str], words: Sequence[str]) -> tuple[str, ...]:
    for word in words:
        if found := tuple(name for name in lists if _role(name) == word):
            years = [re.search(r"(19|20)\d\d$", name) for name in found]
            last = max((year[0] for year in years if year), default="")
            return tuple(name for name in found if name.endswith(last)) if all(years) else found
    return ()


def _role(name: str) -> str:
    return re.sub(r"[\W_]*\d*$", "", name.lower())


def voc_class_names(root: Path, largest: int) -> tuple[str, ...]:
    """Names of the label values 1 to ``largest`` and beyond, from ``classes.txt`` or the like.

    These have one name a line, in the order of the label values; see :func:`fsseg_bench.data.own.names.class_names`.
    Without such a file: ``class-1``, ``class-2``, ...

    Raises:
        UserError: no mask shows anything, or the file has a name twice, fewer names than the masks have values, or the
            background behind a class.
    """
    if not largest:
        raise UserError(f"{root}: no mask shows any class: all pixels are 0 (background) or 255 (void)")
    path = class_file(root)
    if path is None:
        return tuple(f"class-{value}" for value in range(1, largest + 1))
    names = class_names(path)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{path}: names {', '.join(twice)} more than once; each class needs a name of its own")
    if len(names) < largest:
        raise UserError(
            f"{path}: has {len(names)} names, but a mask has the label value {largest}; "
            "one name a line is needed, in the order of the label values from 1"
        )
    return names
