"""Recognises how a collection of images and binary masks lies in its folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fsseg_bench.data.decode import IMAGE_SUFFIXES
from fsseg_bench.data.files import MASK_SUFFIXES, check_name, data_files, folders_in, suffix_of
from fsseg_bench.data.sources.folder import CLASS, FolderKeys
from fsseg_bench.errors import UserError

_IMAGES = ("images", "image", "imgs", "img", "jpegimages", "photos", "rgb")
_MASKS = (
    "masks", "mask", "annotations", "annotation", "labels", "label", "segmentations", "segmentation", "ground_truth",
    "groundtruth", "gt", "binary",
)  # fmt: skip
_SPLITS = {"train", "val", "valid", "validation", "test", "training", "testing"}


@dataclass(frozen=True)
class Collection:
    """Folders of images and masks."""

    found: str
    """What was recognised, for people."""
    classes: tuple[str, ...]
    places: FolderKeys
    single: bool = False
    """Whether the one class is that of the folder, which has no name of its own."""


def recognise(root: Path) -> Collection | None:
    """The layout of ``root``; None where it is none of one folder a class.

    Raises:
        UserError: folders of classes differ in how they are laid out, or a class's name is not UTF-8.
    """
    for find in (_inside_classes, _classes_inside, _together, _single):
        if found := find(root):
            for name in found.classes:
                check_name(root / name)
            return found
    return None


def _inside_classes(root: Path) -> Collection | None:
    """``cup/images/001.jpg`` and ``cup/masks/001.png``."""
    classes = {folder.name: _child(folder, _IMAGES) for folder in folders_in(root)}
    classes = {name: images for name, images in classes.items() if images}
    if not classes:
        return None
    kinds = {images.name: name for name, images in classes.items() if images}
    if len(kinds) > 1:
        places = " and ".join(f"{name}/{kind}" for kind, name in sorted(kinds.items()))
        raise UserError(f"{root}: the folders of images have different names, as {places}; give them one name")
    images = next(iter(kinds))
    masks = {m.name for name in classes if (m := _child(root / name, _MASKS))}
    if len(masks) > 1:
        raise UserError(f"{root}: the folders of masks have different names: {', '.join(sorted(masks))}; give them one")
    within = not masks and any(_suffix(root / name / images, root / name / images) for name in classes)
    other = next(iter(masks), images if within else "masks")
    if {name.lower() for name in classes} <= _SPLITS:
        if any(data_files(root / name / other, MASK_SUFFIXES) for name in classes):
            raise _splits(root, sorted(classes))
        return None
    return _collection(root, sorted(classes), f"{CLASS}/{images}", f"{CLASS}/{other}")


def _classes_inside(root: Path) -> Collection | None:
    """``Images/cup/001.jpg`` and ``Annotations/cup/001.png``, as in PerSeg."""
    images, masks = _child(root, _IMAGES), _child(root, _MASKS)
    if images is None or masks is None:
        return None
    classes = [folder.name for folder in folders_in(images) if data_files(folder)]
    if not classes or not any(data_files(masks / name) for name in classes):
        return None
    if {name.lower() for name in classes} <= _SPLITS:
        raise _splits(root, classes)
    return _collection(root, classes, f"{images.name}/{CLASS}", f"{masks.name}/{CLASS}")


def _splits(root: Path, names: Sequence[str]) -> UserError:
    return UserError(
        f"{root}: the folders {', '.join(names)} are lists of images and no classes. Use VOC's layout: all images in "
        "JPEGImages/, all masks in SegmentationClass/, and for each list a file "
        f"ImageSets/Segmentation/{names[0]}.txt with the names of its images"
    )


def _together(root: Path) -> Collection | None:
    """``cup/1.jpg`` and ``cup/1.png``, as in FSS-1000, or ``cup/1_mask.png``."""
    folders = [folder for folder in folders_in(root) if data_files(folder)]
    if not any(_suffix(folder, folder) is not None for folder in folders):
        return None
    return _collection(root, [folder.name for folder in folders], CLASS, CLASS)


def _single(root: Path) -> Collection | None:
    """``images/001.jpg`` and ``masks/001.png``, or both in ``root``: one class."""
    images, masks = _child(root, _IMAGES), _child(root, _MASKS)
    name = root.resolve().name or "object"
    if images and masks and data_files(images) and data_files(masks):  # also JPEGs, which are refused by name then
        return _collection(root, [name], images.name, masks.name, single=True)
    if _suffix(root, root) is not None:
        return _collection(root, [name], ".", ".", single=True)
    return None


def _collection(root: Path, classes: Sequence[str], images: str, masks: str, *, single: bool = False) -> Collection:
    keys = FolderKeys(images, masks)
    suffixes = [_suffix(root / keys.images_of(name), root / keys.masks_of(name)) for name in classes]
    counted = Counter(suffix for suffix in suffixes if suffix is not None)
    suffix = counted.most_common(1)[0][0] if counted else ""
    example = f"{images.replace(CLASS, '<class>')}/<name>.jpg and {masks.replace(CLASS, '<class>')}/<name>{suffix}.png"
    kind = "one class" if single else "one folder a class"
    return Collection(f"{kind}, {example}", tuple(classes), FolderKeys(images, masks, suffix), single)


def _suffix(images: Path, masks: Path) -> str | None:
    """What the masks' names have behind the images', for most masks; None where no mask belongs to an image."""
    found = Counter(_suffixes(images, masks))
    if not found:
        return None
    suffix = min(found, key=lambda suffix: (-found[suffix], len(suffix)))
    alone = [path for path in data_files(images) if not path.stem.endswith(suffix)] if images == masks else []
    # names such as a.png and a_2.png are no image and its mask, unless most images have such a neighbour
    return suffix if 2 * found[suffix] >= len(alone) or not suffix else None


def _suffixes(images: Path, masks: Path) -> Iterator[str]:
    together = images == masks
    stems = sorted({path.stem for path in data_files(images)})
    lossy = {path.stem for path in data_files(images, set(IMAGE_SUFFIXES) - {".png"})}
    for mask in data_files(masks, MASK_SUFFIXES):
        if mask.stem in (lossy if together else stems) and (not together or suffix_of(mask.name) == ".png"):
            yield ""
        else:
            shorter = [mask.stem[:n] for n in range(len(mask.stem) - 1, 0, -1)]
            if stem := next((s for s in shorter if s in stems and not mask.stem[len(s) :].isalnum()), None):
                yield mask.stem[len(stem) :]


def _child(folder: Path, words: Sequence[str]) -> Path | None:
    """The folder in ``folder`` that is called by the first of ``words``, in any case."""
    there = {path.name.lower(): path for path in reversed(folders_in(folder))}
    return next((there[word] for word in words if word in there), None)
