"""Where the annotations and the images of a list lie, in COCO's layout and in those that labelling tools export."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from fsseg_bench.data.decode import IMAGE_SUFFIXES
from fsseg_bench.data.files import find_file, find_named, is_hidden, is_inside, suffix_of
from fsseg_bench.errors import UserError

_ROBOFLOW = "_annotations.coco.json"
ROBOFLOW_FILES = f"*/{_ROBOFLOW}"
"""Pattern of the files of annotations that Roboflow exports, one in each list's folder."""
_OF_TOOLS = ("result", "annotations", "labels", "dataset", "instances", "instances_default", "_annotations.coco")
_OF_LISTS = ("train", "val", "valid", "validation", "test")
_NO_INSTANCES = ("captions_", "panoptic_", "stuff_", "image_info_", "person_keypoints_")

NEEDED = "annotations/ or */_annotations.coco.json or */labels.json or *.json"
"""What a folder must hold to be taken for the data, as :meth:`fsseg_bench.data.source.Source.needs` says it."""


def places_of_annotations(root: Path, name: str) -> list[Path]:
    """Where the annotations of the list ``name`` may be: COCO's own place first, then those of other tools."""
    inside = root / name
    return [
        root / "annotations" / f"instances_{name}.json",
        root / "annotations" / f"{name}.json",
        inside / _ROBOFLOW,
        *([inside / "labels.json"] if (inside / "data").is_dir() else []),  # FiftyOne
        root / f"{name}.json",  # Label Studio's result.json, labelme2coco's dataset.json, FiftyOne's labels.json
    ]


def annotation_file(root: Path, name: str) -> Path:
    """The annotations of the list ``name``; COCO's own place where there are none.

    Raises:
        UserError: there are several files, none of which is at COCO's own place.
    """
    places = places_of_annotations(root, name)
    if places[0].is_file():
        return places[0]
    found = [path for path in places if path.is_file()]
    if len(found) > 1:
        raise UserError(
            f"{' and '.join(map(str, found))}: each may be the annotations of the list {name}; take one away, or "
            f"rename one to {places[0]}, which comes first"
        )
    return found[0] if found else places[0]


def lists_in(root: Path) -> list[str]:
    """Names of the lists that ``root`` has annotations for, sorted: in ``annotations/``, or a folder a list."""
    own = _json_files(root / "annotations")
    if official := [name.removeprefix("instances_") for name in own if name.startswith("instances_")]:
        return official
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not is_hidden(path.name))
    found = [name for name in own if not name.startswith(_NO_INSTANCES)]
    found += [path.name for path in folders if (path / _ROBOFLOW).is_file()]
    found += [path.name for path in folders if (path / "labels.json").is_file() and (path / "data").is_dir()]
    return sorted(set(found))


def lists_beside(root: Path) -> list[str]:
    """As :func:`lists_in`, of files in ``root`` itself: those that tools write, else the only JSON file there."""
    found = _json_files(root)
    known = [name for name in found if name in _OF_LISTS] or [name for name in found if name in _OF_TOOLS]
    return known or (found if len(found) == 1 else [])


def _json_files(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.json") if path.is_file() and not is_hidden(path.name))


@dataclass(frozen=True)
class Images:
    """The image files of a list."""

    folder: Path
    """The place that has most of them."""
    files: tuple[str, ...]
    """For each name the file in ``folder``; of missing ones the name."""
    missing: tuple[str, ...]
    """Names that no file there fits."""
    respelled: dict[int, str] = field(default_factory=dict)
    """Number of each image whose file is named otherwise, to the file in ``folder``."""


def places_of_images(root: Path, name: str, annotations: Path) -> list[Path]:
    """Where the images of the list ``name`` may be; first, where they are missed if they are nowhere."""
    beside = annotations.parent
    places = [root / "images"] if beside == root else []
    places += [root / name, root / "images" / name, root / "images", root]
    places += [beside / "data", beside / "images", root / name / "images", root / "data" / name, beside]
    return list(dict.fromkeys(places))


def find_images(places: Sequence[Path], names: Sequence[str]) -> Images:
    """The files of ``names`` in that place of ``places`` which has most of them; the first one where none has any.

    A name is taken as it stands, else as spelled otherwise (:func:`fsseg_bench.data.files.find_named`), else by its
    longest end that names a file: absolute paths and web addresses of another machine lead to the image, too.
    """
    best = Images(places[0], tuple(names), tuple(names))
    for place in places:
        found = _as_they_stand(place, names)
        if not found.missing:
            return found
        if len(found.missing) < len(best.missing):
            best = found
    for place in [place for place in places if place.is_dir()]:
        found = _spelled_otherwise(place, names)
        if len(found.missing) < len(best.missing):
            best = found
    return best


def _as_they_stand(place: Path, names: Sequence[str]) -> Images:
    present = {path.name for path in place.iterdir()} if place.is_dir() else set()
    missing = [name for name in names if not _stands(place, name, present)]
    return Images(place, tuple(names), tuple(missing))


def _stands(place: Path, name: str, present: set[str]) -> bool:
    if name in present:
        return True
    return "/" in name and is_inside(name) and (place / name).is_file()


def _spelled_otherwise(place: Path, names: Sequence[str]) -> Images:
    present = {path.name for path in place.iterdir()}
    files, missing, respelled = list(names), [], {}
    for number, name in enumerate(names):
        if _stands(place, name, present):
            continue
        found = next((path for end in _ends(name) if (path := _find(place, end))), None)
        if found is None:
            missing.append(name)
        else:
            files[number] = respelled[number] = found.relative_to(place).as_posix()
    return Images(place, tuple(files), tuple(missing), respelled)


def _find(place: Path, name: str) -> Path | None:
    """The file that ``name`` stands for in ``place``; a name may lack its suffix."""
    return find_named(place, name) or (
        None if suffix_of(name) in IMAGE_SUFFIXES else find_file(place, name, IMAGE_SUFFIXES)
    )


def _ends(name: str) -> Iterator[str]:
    """``name`` and its ends, the longest first, without what leads out of a folder."""
    if "?d=" in name:  # Label Studio's files on its own disk
        name = unquote(name.partition("?d=")[2])
    elif "://" in name:
        name = name.partition("://")[2].partition("?")[0]
    elif is_inside(name):
        yield name
    parts = [part for part in name.replace("\\", "/").split("/") if part not in {"", ".", ".."}]
    for start in range(len(parts)):
        yield "/".join(parts[start:])
