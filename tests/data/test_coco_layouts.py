"""COCO's annotations where labelling tools put them: the files of a list, names of images, and what is said of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fsseg_bench.data.own.proposal import propose
from fsseg_bench.data.sources.coco import CocoKeys, CocoSource
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.protocol.spec import Protocol
from tests.support.coco import box, crowd, one_image
from tests.support.datasets import CLASSES, HEIGHT, WIDTH, write_coco


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """train2017/, val2017/, annotations/instances_{train,val}2017.json: 16 images each."""
    return write_coco(tmp_path / "data", 2, 2)


def renamed(path: Path, new: Callable[[str], str]) -> None:
    """Changes each image's ``file_name`` in an instance file."""
    table = json.loads(path.read_text())
    for image in table["images"]:
        image["file_name"] = new(image["file_name"])
    path.write_text(json.dumps(table))


def taken_from(root: Path, files: dict[str, str]) -> Path:
    """The data of ``root`` in another folder, with files and folders at new places."""
    other = root.parent / "other"
    for old, new in files.items():
        (other / new).parent.mkdir(parents=True, exist_ok=True)
        if (root / old).is_dir():
            shutil.copytree(root / old, other / new, dirs_exist_ok=True)
        else:
            shutil.copy(root / old, other / new)
    return other


TRAIN, VAL = "annotations/instances_train2017.json", "annotations/instances_val2017.json"
LAYOUTS = {
    "CVAT": ({TRAIN: "annotations/instances_default.json", "train2017": "images"}, ["default"]),
    "CVAT with subsets": (
        {
            **{TRAIN: "annotations/instances_train.json", "train2017": "images/train"},
            **{VAL: "annotations/instances_val.json", "val2017": "images/val"},
        },
        ["train", "val"],
    ),
    "Roboflow": (
        {
            **{TRAIN: "train/_annotations.coco.json", "train2017": "train"},
            **{VAL: "valid/_annotations.coco.json", "val2017": "valid"},
        },
        ["train", "valid"],
    ),
    "Roboflow, one part": ({TRAIN: "_annotations.coco.json", "train2017": "."}, ["_annotations.coco"]),
    "Label Studio": ({TRAIN: "result.json", "train2017": "images"}, ["result"]),
    "labelme2coco": (
        {TRAIN: "train.json", VAL: "val.json", "train2017": "train", "val2017": "val"},
        ["train", "val"],
    ),
    "labelme2coco, one part": ({TRAIN: "dataset.json", "train2017": "."}, ["dataset"]),
    "FiftyOne": ({TRAIN: "labels.json", "train2017": "data"}, ["labels"]),
    "FiftyOne, split": (
        {
            **{TRAIN: "train/labels.json", "train2017": "train/data"},
            **{VAL: "val/labels.json", "val2017": "val/data"},
        },
        ["train", "val"],
    ),
    "mmdetection": (
        {TRAIN: "annotations/train.json", VAL: "annotations/val.json", "train2017": "train", "val2017": "val"},
        ["train", "val"],
    ),
    "Supervisely": ({TRAIN: "annotations/instances.json", "train2017": "images"}, ["instances"]),
    "any name": ({TRAIN: "my labels.json", "train2017": "images"}, ["my labels"]),
}


@pytest.mark.parametrize("tool", LAYOUTS)
def test_layouts_of_tools_are_read(tool: str, coco: Path) -> None:
    files, lists = LAYOUTS[tool]
    root = taken_from(coco, files)
    (root / "._hidden.json").write_bytes(b"\0\5\x16\7")
    for file, text in propose(root).files.items():
        (root / file).write_text(text, encoding="utf-8")
    protocol = load_protocol(root / "protocol.toml")
    assert protocol.data.source == "coco"
    assert [*dict.fromkeys((*protocol.data.train_list, *protocol.data.test_list))] == lists
    source = protocol.data.kind.open(protocol, root)
    assert isinstance(source, CocoSource)
    image = source.ids(lists[0])[0]
    assert image == f"{lists[0]}/train_c1_0"
    expected = CocoSource(coco, protocol.classes, 2017)
    assert source.class_pixels(image) == expected.class_pixels("train2017/train_c1_0")
    assert source.has_image(image)
    assert [text for text in source.remarks(source.ids(lists[0])) if "iscrowd" not in text] == []


def test_data_are_found_by_any_annotations(coco: Path) -> None:
    root = taken_from(coco, {TRAIN: "train/_annotations.coco.json", "train2017": "train"})
    for file, text in propose(root).files.items():
        (root / file).write_text(text.replace('root = "."', 'root = "photos"'), encoding="utf-8")
    protocol = load_protocol(root / "protocol.toml")
    empty = root.parent / "empty"
    (empty / "photos").mkdir(parents=True)
    from fsseg_bench.data.open import open_source

    with pytest.raises(UserError, match=r"photos \(has no annotations/ or \*/_annotations\.coco\.json or "):
        open_source(protocol, empty)
    assert open_source(protocol, root).ids("train")


def test_two_files_for_one_list_are_an_error(coco: Path) -> None:
    root = taken_from(coco, {TRAIN: "train/_annotations.coco.json", VAL: "train.json", "train2017": "train"})
    with pytest.raises(UserError, match=r"_annotations\.coco\.json and .*train\.json: each may be the annotations"):
        CocoSource(root, CLASSES, 0).ids("train")


# names of images


@pytest.mark.parametrize(
    "new",
    [
        lambda name: f"images\\{name}",
        lambda name: f"/home/me/photos/{name}",
        lambda name: f"C:\\photos\\{name}",
        lambda name: f"../images/{name}",
        lambda name: name.replace(".jpg", ".JPG"),
        lambda name: name.removesuffix(".jpg"),
        lambda name: name.replace("_", "%5F"),
        lambda name: f"https://example.org/a/{name}?token=1",
        lambda name: f"/data/local-files/?d=photos%2F{name}",
    ],
)
def test_names_that_lead_to_the_image(coco: Path, new: Callable[[str], str]) -> None:
    """Images keep the ids of their files, and what was read otherwise is said."""
    expected = CocoSource(coco, CLASSES, 2017)
    ids, masks = expected.ids("train"), expected.class_masks("train2017/train_c3_0", [3])
    assert not [text for text in expected.remarks(ids) if "spelling" in text]
    renamed(coco / TRAIN, new)
    source = CocoSource(coco, CLASSES, 2017)
    assert source.ids("train") == ids
    assert np.array_equal(source.class_masks("train2017/train_c3_0", [3]), masks)
    name = new("train_c1_0.jpg")
    found = [text for text in source.remarks(ids) if "spelling" in text]
    assert found == [f"{TRAIN}: 16 images found by another spelling of the name: '{name}' is train_c1_0.jpg"]


def test_names_with_folders_stay_apart(coco: Path) -> None:
    """The folders are part of the id; without them, two images would be one file."""
    for j in range(2):
        (coco / f"train2017/{j}").mkdir()
        for path in sorted((coco / "train2017").glob(f"*_{j}.jpg")):
            path.rename(coco / f"train2017/{j}/{path.name[:-6]}.jpg")
    renamed(coco / TRAIN, lambda name: f"{name[-5]}/{name[:-6]}.jpg")
    assert CocoSource(coco, CLASSES, 2017).ids("train")[:2] == ("train2017/0/train_c1", "train2017/0/train_c2")
    for path in sorted((coco / "train2017/0").iterdir()):
        path.rename(coco / "train2017" / path.name)
    shutil.rmtree(coco / "train2017/1")
    with pytest.raises(UserError, match=r"'0/train_c1\.jpg' and '1/train_c1\.jpg' would both be .*/train_c1\.jpg"):
        CocoSource(coco, CLASSES, 2017).ids("train")


def test_missing_images_are_named_with_the_folder_of_the_others(coco: Path) -> None:
    root = taken_from(coco, {TRAIN: "annotations/instances_default.json", "train2017": "images"})
    for name in ("train_c1_0", "train_c1_1"):
        (root / f"images/{name}.jpg").unlink()
    message = (
        r"other/images/train_c1_0\.jpg: no such image and 1 more \(train_c1_1\.jpg\), but .*instances_default\.json "
        r"lists 16 images; the other 14 are there; put them into .*other/images, or take them out"
    )
    with pytest.raises(UserError, match=message):
        CocoSource(root, CLASSES, 0).ids("default")


def test_a_file_with_another_suffix_is_named(coco: Path) -> None:
    renamed(coco / TRAIN, lambda name: name.replace(".jpg", ".png"))
    with pytest.raises(UserError, match=r"train_c1_0\.png: no such image \(there is train_c1_0\.jpg; .* and 15 more"):
        CocoSource(coco, CLASSES, 2017).ids("train")


def test_images_that_are_nowhere_are_missed_where_the_tool_would_put_them(coco: Path) -> None:
    for place, images in (("result.json", "images"), ("result/_annotations.coco.json", "result")):
        root = taken_from(coco, {TRAIN: place})
        with pytest.raises(UserError, match=rf"other/{images}/train_c1_0\.jpg: no such image and 15 more"):
            CocoSource(root, CLASSES, 0).ids("result")
        shutil.rmtree(root)


@pytest.mark.parametrize("sides", [(HEIGHT, WIDTH), (2 * WIDTH, 2 * HEIGHT)])
def test_annotations_of_another_size_are_found_before_the_protocol_is_written(
    coco: Path, sides: tuple[int, int]
) -> None:
    table = json.loads((coco / TRAIN).read_text())
    table["annotations"] = [a for a in table["annotations"] if not a["iscrowd"]]
    for image in table["images"]:
        image["width"], image["height"] = sides
    (coco / TRAIN).write_text(json.dumps(table))
    with pytest.raises(UserError, match=rf"16 masks cannot be used: .*says {sides[0]} x {sides[1]} .* 40 x 30"):
        propose(coco)


def test_lvis_names_images_by_their_addresses(coco: Path) -> None:
    table = json.loads((coco / TRAIN).read_text())
    for image in table["images"]:
        image["coco_url"] = f"http://images.cocodataset.org/train2017/{image.pop('file_name')}"
    (coco / "annotations/instances_lvis.json").write_text(json.dumps(table))
    source = CocoSource(coco, CLASSES, 0)
    assert source.ids("lvis")[0] == "lvis/train2017/train_c1_0"
    assert source.remarks([]) == []
    assert source.class_pixels("lvis/train2017/train_c3_0") == {3: 224}


# what is said


def test_remarks_are_on_the_images_and_classes_asked_for(tmp_path: Path) -> None:
    source = one_image(tmp_path, box(10, 1, 1, 5, 5), box(20, 1, 1, 5, 5), box(20, 1, 1, 1, 1), box(5, 1, 1, 5, 5))
    where = "annotations/instances_val2017.json"
    empty = "1 annotation that cover no pixel of their image: left out; barrel 1 (id 102)"
    others = "categories that the protocol does not name are background; their images: "
    assert source.remarks([]) == []
    assert source.remarks(["val2017/a"]) == [f"{where}: {empty}", f"{where}: {others}junk 1"]
    assert CocoSource(tmp_path, ["anchor"], 2017).remarks(["val2017/a"]) == [f"{where}: {others}barrel 1, junk 1"]


def test_crowds_may_be_objects(tmp_path: Path) -> None:
    region = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    region[10:20, 5:30] = 1
    void = one_image(tmp_path, box(10, 0, 12, 10, 16), crowd(10, region), crowd(20, region))
    objects = CocoSource(tmp_path, CLASSES, 2017, "object")
    region_and_box = region.copy()
    region_and_box[12:16, 0:10] = 1
    assert np.array_equal(objects.class_masks("val2017/a", [1, 2]), [region_and_box, region])
    assert objects.class_pixels("val2017/a") == {1: 270, 2: 250}
    assert objects.label_digest("val2017/a") != void.label_digest("val2017/a")
    said = "annotations with iscrowd 1, crowd regions: {}; anchor 1, barrel 1 (ids 101, 102)"
    where = "annotations/instances_val2017.json: 2"
    as_void = said.format('void, no objects (data.crowds = "object" makes them objects)')
    assert void.remarks(["val2017/a"]) == [f"{where} {as_void}"]
    as_objects = said.format("objects like all others (data.crowds)")
    assert objects.remarks(["val2017/a"]) == [f"{where} {as_objects}"]


@pytest.mark.parametrize(
    ("crowded", "proposed"),
    [
        (lambda a: True, ["anchor", "barrel", "candle", "drum", "easel", "flute", "globe", "harp"]),
        (lambda a: a["category_id"] == 30, ["candle"]),
        (lambda a: a["category_id"] == 30 and a["id"] % 2, []),
    ],
)
def test_crowds_that_look_like_objects_are_proposed_as_objects(
    coco: Path, crowded: Callable[[dict[str, Any]], bool], proposed: list[str]
) -> None:
    for path in (coco / TRAIN, coco / VAL):
        table = json.loads(path.read_text())
        table["annotations"] = [a for a in table["annotations"] if not a["iscrowd"]]
        for annotation in table["annotations"]:
            annotation["iscrowd"] = int(bool(crowded(annotation)))
        path.write_text(json.dumps(table))
    found = propose(coco)
    (coco / "protocol.toml").write_text(found.files["protocol.toml"])
    protocol: Protocol = load_protocol(coco / "protocol.toml")
    assert protocol.data.options_as(CocoKeys).crowds == ("object" if proposed else "void")
    assert (f"most regions of {', '.join(proposed)} have iscrowd 1" in found.summary) == bool(proposed)
