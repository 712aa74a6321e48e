"""Recognises the layout of a folder of images and masks, and reads it: COCO's and VOC's here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from fsseg_bench.data.coco_files import ROBOFLOW_FILES, annotation_file, lists_beside, lists_in
from fsseg_bench.data.decode import IMAGE_SUFFIXES
from fsseg_bench.data.files import (
    check_links,
    check_name,
    data_files,
    find_file,
    folders_in,
    is_hidden,
    shown,
    suffix_of,
)
from fsseg_bench.data.instances import load_instances
from fsseg_bench.data.own.folders import recognise
from fsseg_bench.data.own.look_folders import look_folders
from fsseg_bench.data.own.names import NAMES, class_file, coloured_classes, voc_class_names
from fsseg_bench.data.own.pictures import choose_orientation, palette_notes
from fsseg_bench.data.own.survey import (
    TEST,
    TRAIN,
    Survey,
    Words,
    finished,
    list_roles,
    pixels_of,
    pixels_of_lists,
    role_of,
    sizes_of,
)
from fsseg_bench.data.own.tools import files_below, said_of_tool
from fsseg_bench.data.sources.coco import CocoSource
from fsseg_bench.data.sources.folder import FolderKeys
from fsseg_bench.data.sources.voc import VocSource
from fsseg_bench.errors import UserError

_MASK_FOLDERS = ("SegmentationClass", "SegmentationClassPNG", "SegmentationClassAug", "SBD/dataset/cls")
_NEW_LIST = "all.txt"
_PACKED = (".zip", ".tar", ".gz", ".tgz", ".rar", ".7z")

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


def look(root: Path) -> Survey:
    """Recognises the layout of ``root`` and reads all its masks and, where there are few, all images.

    Raises:
        UserError: no such folder, none of the layouts, no images, no masks, or a file that cannot be used.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder" if not root.exists() else f"{root}: is a file; give its folder")
    check_name(root.resolve())
    check_links(root)
    readers: dict[str, Callable[[Path], Survey]] = {}
    if lists_in(root):
        readers["COCO's (annotations/instances_*.json, or a JSON file in each list's folder)"] = _look_coco
    if (root / "JPEGImages").is_dir():
        readers["VOC's (JPEGImages/)"] = _look_voc
    if not readers and (inside := [folder for folder in folders_in(root) if _is_data_set(folder)]):
        raise UserError(
            f"{root}: holds whole data sets, {shown([folder.name for folder in inside])}, where a class or a list "
            f"would be; give the folder of one, as {inside[0]}, or move them elsewhere"
        )
    found = recognise(root) if not readers or any(root.glob("*/images")) else None
    if found and (not readers or found.places == FolderKeys()):
        readers["one folder a class (<class>/images/)"] = lambda root: look_folders(root, found)
    if len(readers) > 1:
        raise UserError(f"{root}: has several layouts: {' and '.join(readers)}; put each data set into its own folder")
    in_coco = root.resolve().name == "annotations" and _is_data_set(root.resolve().parent)
    if not readers and lists_beside(root) and not in_coco:
        readers["COCO's (a JSON file beside the images)"] = _look_coco
    if not readers:
        raise _unknown_layout(root, in_coco)
    return next(iter(readers.values()))(root)


def _is_data_set(folder: Path) -> bool:
    """Whether ``folder`` is laid out as VOC or COCO, as neither a class's folder nor a list's is."""
    voc = (folder / "JPEGImages").is_dir() and any((folder / name).is_dir() for name in _MASK_FOLDERS)
    return voc or any(next(folder.glob(name), None) for name in ("annotations/instances_*.json", ROBOFLOW_FILES))


def _unknown_layout(root: Path, in_coco: bool) -> UserError:
    if not in_coco and (said := said_of_tool(root)):
        return said
    if masks := [name for name in _MASK_FOLDERS if _has_masks(root / name)]:
        return UserError(
            f"{root}: has {masks[0]}/ but no JPEGImages/; put the images there, by the names of the masks. CVAT "
            'exports them where "Save images" is ticked'
        )
    above = root.resolve().parent
    if _is_data_set(above):
        return UserError(f"{root}: lies in a data set; if that is meant, give {above}")
    if near := [str(folder) for folder in [*folders_in(root), above] if _is_collection(folder, root.name)]:
        there = f"{near[0]} does; give that" if len(near) == 1 else f"some in it do: {shown(near)}; give one"
        return UserError(f"{root}: holds no images and masks side by side, but {there}")
    inside = ", ".join(sorted(path.name for path in root.iterdir() if not is_hidden(path.name))[:8]) or "nothing"
    packed = [path.name for path in data_files(root, _PACKED)]
    return UserError(
        f"{root}: holds {inside}, which is none of the known layouts: JPEGImages/ with SegmentationClass/ (VOC), "
        "annotations/instances_*.json with the images beside (COCO), or for each class a folder with images/ and "
        "masks/, where a mask has its image's name, or the name with an ending (001.jpg, 001_mask.png). "
        "docs/reference/layouts.md shows them, and what the exports of labelling tools need"
        + (f". First unpack {shown(packed)}" if packed else "")
    )


def _is_collection(folder: Path, given: str) -> bool:
    """Whether ``folder`` holds images and masks; one that holds ``given`` does where that is one of the two."""
    try:
        found = recognise(folder)
    except UserError:
        return False  # whatever is wrong there is said where it is given
    inside = (folder / given).is_dir()
    return found is not None and (not inside or given in (found.places.images, found.places.masks))


def _look_voc(root: Path) -> Survey:
    masks = tuple(name for name in _MASK_FOLDERS if (root / name).is_dir())
    useful = tuple(name for name in masks if _has_masks(root / name))
    if not useful:
        other = f"; {' and '.join(masks)} there hold{'s' if len(masks) == 1 else ''} none" if masks else ""
        place = f"put them as PNGs into {root / _MASK_FOLDERS[0]}{other}"
        raise said_of_tool(root) or UserError(f"{root}: has JPEGImages/ but no masks; {place}")
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
        notes.append(f"the masks are read by the colours of {coloured.path.name} (data.colors), not by values")
        keys["colors"] = (coloured.colors, f"of the classes in the masks, from {coloured.path.name}")
    if lists:
        train, test = pixels_of_lists(source, roles)
    else:
        images, without = _voc_images(source)
        files[_NEW_LIST] = "".join(f"{image}\n" for image in images)
        if without:
            notes.append(f"images without a mask are not used: {shown(without)}")
        choose_orientation(source, images)
        train = test = pixels_of(source, images)
    notes += [*_other_lists(root, lists), *palette_notes(source, {**train, **test})]
    largest = max((value for seen in (*train.values(), *test.values()) for value in seen), default=0)
    classes = coloured.names if coloured else voc_class_names(root, largest)
    if not coloured and not class_file(root):
        notes.append(f"no file names the classes ({NAMES[0]}): they are called class-1, class-2, ... by their values")
    survey = Survey(
        root, _VOC, classes, *roles, train, test, *sizes_of(source, [*train, *test]), keys, files, tuple(notes)
    )
    return finished(survey, source, lists)


def _has_masks(folder: Path) -> bool:
    return any(suffix_of(path.name) in {*IMAGE_SUFFIXES, ".mat"} for path in files_below(folder))


def _other_lists(root: Path, lists: Sequence[str]) -> list[str]:
    """Text files that look like lists and lie where none are read."""
    places = [root, *(path for path in (root / "ImageSets").glob("*") if path.name != "Segmentation")]
    found = [path for place in places if place.is_dir() for path in sorted(place.glob("*.txt"))]
    roles = {*TRAIN, *TEST, "trainval", "default", "all"}
    names = [str(p.relative_to(root)) for p in found if role_of(p.stem) in roles and p.name != _NEW_LIST]
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
        if path.stem != path.stem.strip():
            raise UserError(f"{path}: the name begins or ends with a blank, which lists do not keep; rename the file")
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
        if "not an instance file of COCO" in str(error) and (said := said_of_tool(root)):
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
    train, test = pixels_of_lists(source, roles)
    if unlisted := _unlisted(source, [*train, *test]):
        notes.append(f"images that the instance files in use do not list are left out: {shown(unlisted)}")
    sizes = sizes_of(source, [*train, *test])
    survey = Survey(root, _COCO, classes, *roles, train, test, *sizes, keys, notes=tuple(notes))
    return finished(survey, source, lists)


def _unlisted(source: CocoSource, images: Sequence[str]) -> list[str]:
    """Names of the images that lie beside those of the lists, and are none of these."""
    files = {source.image_path(image) for image in images}
    folders = sorted({path.parent for path in files})
    return [path.name for folder in folders for path in data_files(folder) if path not in files]
