"""Reads collections of one folder a class: which masks belong to which images, and whether they are one class's."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from fsseg_bench.data.decode import IMAGE_SUFFIXES
from fsseg_bench.data.files import data_files, folders_in, shown
from fsseg_bench.data.masks import object_values
from fsseg_bench.data.own.folders import Collection
from fsseg_bench.data.own.pictures import choose_orientation
from fsseg_bench.data.own.survey import MOST_DECODED, Survey, Words, each, finished, pixels_of, sizes_of
from fsseg_bench.data.own.tools import said_of_tool
from fsseg_bench.data.sources.folder import ALL, FolderKeys, FolderSource
from fsseg_bench.data.sources.voc import lossy_mask
from fsseg_bench.errors import UserError

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


def look_folders(root: Path, found: Collection) -> Survey:
    """Reads the masks of ``found`` and, where there are few, the images.

    Raises:
        UserError: a mask is missing, a file cannot be used, or the masks of one class are those of several.
    """
    classes = found.classes
    if len(classes) > (most := FolderSource.most_classes):
        raise UserError(f"{root}: has {len(classes)} class folders; at most {most} classes are possible")
    source = FolderSource(root, classes, found.places)
    images = source.ids(ALL)
    missing = [image for image in images if not source.find_mask(image)]
    if len(missing) == len(images) and (said := said_of_tool(root)):
        raise said
    if missing:
        raise _missing(source, missing)
    choose_orientation(source, images)
    notes = _differing_values(source, images, found) if len(images) <= MOST_DECODED or found.single else []
    pixels = pixels_of(source, images)
    if empty := [image for image, seen in pixels.items() if not seen]:
        notes.append(f"images with an empty mask are never drawn: {shown(empty)}")
    if beside := _beside(root, found):
        notes.append(f"not used, since they belong to no class: {shown(beside)}")
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
    sizes = sizes_of(source, images)
    survey = Survey(root, layout, classes, *lists, pixels, pixels, *sizes, keys, notes=tuple(notes))
    return finished(survey, source, [])


def _beside(root: Path, found: Collection) -> list[str]:
    """Images, JSON files and folders beside those of the classes."""
    if found.single:
        return []
    read = {*found.classes, *(Path(folder).parts[0] for folder in (found.places.images, found.places.masks))}
    other = [folder.name for folder in folders_in(root) if folder.name not in read]
    return [*other, *(path.name for path in data_files(root, (*IMAGE_SUFFIXES, ".json")))]


def _differing_values(source: FolderSource, images: Sequence[str], found: Collection) -> list[str]:
    """What to say where masks of one class have different values on their objects.

    Raises:
        UserError: there is one class alone, so that they are most probably label values of several.
    """
    said = []
    masks = {image: source.mask_path(image) for image in images}
    values = each(lambda image: object_values(masks[image]), images, "mask")
    for name in found.classes:
        own = [(value, masks[i].name) for i, value in zip(images, values, strict=True) if i.partition("/")[0] == name]
        first = {value: path for value, path in reversed(own) if len(value) == 1}
        if len(first) < 2:
            continue
        shown_values = ", ".join(f"{value[0]} ({path})" for value, path in sorted(first.items())[:4])
        if found.single:
            raise UserError(
                f"{source.root}: the masks have different values on their objects: {shown_values}. Label values of "
                "several classes need VOC's layout: move the images into JPEGImages/, the masks by the same names "
                "into SegmentationClass/, and put the names of the classes into classes.txt, in the order of their "
                "values from 1. Masks of one class need one value"
            )
        said.append(f"masks of {name} have different values, all taken for the object: {shown_values}")
    return said


def _missing(source: FolderSource, missing: Sequence[str]) -> UserError:
    first = source.expected_mask(missing[0])
    lossy = lossy_mask(first.parent, first.stem) if not source.places.together else ""
    names = ", ".join(str(source.expected_mask(image)) for image in missing[:3])
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    alone = source.masks_alone()
    shorter = shown([path.relative_to(source.root) for path in alone])
    advice = (lossy or "add them, or remove their images") + (f"; these fit no image: {shorter}" if alone else "")
    return UserError(f"masks are missing: {names}{more}; {advice}")
