"""Instance files that are not what they should be: the message names the file and the entry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from fsseg_bench.data.coco_notes import NOWHERE, Kind, Note, Notes, sentences
from fsseg_bench.data.instances import Instances, load_instances
from fsseg_bench.data.outlines import run_lengths
from fsseg_bench.errors import UserError
from tests.support.coco import box, crowd, one_image
from tests.support.datasets import HEIGHT, WIDTH, save_image, write_instances
from tests.support.datasets import run_lengths as lengths_of

IMAGE = {"id": 7, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}
CATEGORIES = [{"id": 10, "name": "anchor", "supercategory": "thing"}, {"id": 20, "name": "barrel"}]


def table(*annotations: Any, **changed: Any) -> dict[str, Any]:
    """An instance file's content, with ``changed`` parts."""
    return {"images": [IMAGE], "annotations": list(annotations), "categories": CATEGORIES, **changed}


def instances_of(folder: Path, content: dict[str, Any] | list[Any] | bytes) -> Instances:
    """The content, written to a file and read."""
    path = folder / "instances_val2017.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return load_instances(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON: the file is empty"),
        (b"{", "not valid JSON"),
        (b"<html>", r"not valid JSON: .*it begins with '<html>'"),
        (b'{"id": 1}\n{"id": 2}', "a JSON object a line"),
        ("{}é".encode("latin-1"), "the JSON file cannot be read: .*; save it as UTF-8"),
        ([1, 2], "the top level is not an object"),
        ({"images": []}, "'annotations' is missing"),
        ({"images": {}, "annotations": [], "categories": []}, "'images' is missing or not a list"),
        (table(images=[1]), "'images' is missing or not a list of objects"),
        (table(images=[]), "lists no images"),
        (table(categories=[]), "lists no categories"),
        (table(categories=[{"id": 1}]), "category 1: name is None"),
        (table(categories=[{"id": "a", "name": "a"}]), "category a: id is 'a'; it must be a whole number"),
        (table(categories=[*CATEGORIES, {"id": "10", "name": "cup"}]), "category 10: the id occurs twice, as 'anchor'"),
        (table(images=[{**IMAGE, "id": float("nan")}]), "image a.jpg: id is nan"),
        ([{"image_id": 7, "category_id": 1, "score": 0.5}], "looks like COCO results: predictions alone"),
        ([{"image_id": 7, "category_id": 1}], "a list of annotations alone"),
        ([{"id": 1, "data": {}, "annotations": []}], "Label Studio's own JSON; fsseg-bench data convert"),
        ([{"id": 1, "annotator": 1, "image": "a.jpg", "brush": []}], r"Label Studio's short JSON \(JSON-MIN\)"),
        ({"version": "5", "shapes": [], "imagePath": "a.jpg"}, "labelme's JSON of one image; fsseg-bench data convert"),
        ({"size": {}, "objects": []}, "Supervisely's JSON of one image"),
        ({"a.jpg1": {"filename": "a.jpg", "regions": []}}, "VGG Image Annotator"),
        (
            {"images": [IMAGE], "annotations": [{"image_id": 7, "id": 1, "caption": "a"}]},
            "COCO's captions, which have no outlines; take the file instances",
        ),
        (table({"image_id": 7, "segments_info": []}), "COCO's panoptic annotations"),
        ({"images": [IMAGE], "categories": CATEGORIES}, "COCO's list of images without annotations"),
        (
            table({"id": 1, "image_id": 7, "category_id": 10, "keypoints": [1, 2, 2]}),
            "covers more than a pixel; none has an outline, and boxes or key points are not enough",
        ),
        (
            table({**box(10, 0, 0, 1, 1), "image_id": 7, "segmentation": [[0.1, 0.2, 0.9, 0.2, 0.5, 0.8]]}),
            "covers more than a pixel; the coordinates must be pixels of the image, not shares",
        ),
    ],
)
def test_files_that_are_not_instances(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(UserError, match=rf"instances_val2017\.json: .*{message}"):
        instances_of(tmp_path, content)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_other_encodings_and_byte_order_marks(tmp_path: Path, encoding: str) -> None:
    content = table(box(10, 1, 1, 5, 5, image_id=7), categories=[{"id": 10, "name": "Größe"}])
    written = json.dumps(content, ensure_ascii=False, indent=1).replace("\n", "\r\n").encode(encoding)
    assert instances_of(tmp_path, written).categories == {10: "Größe"}


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"id": 7, "height": 30, "width": 40}, "image 7: file_name is None"),
        ({"id": None, "file_name": "a.jpg", "height": 30, "width": 40}, r"image a\.jpg: id is None"),
        ({"id": 7, "file_name": "a.jpg", "width": 40}, r"image a\.jpg: height is None"),
        ({"id": 7, "file_name": "a.jpg", "height": 0, "width": 40}, r"image a\.jpg: height and width are 0 and 40"),
        ({"id": 7, "file_name": "a.jpg", "height": 30, "width": 10**9}, r"image a\.jpg: height and width are"),
        ({"id": 7, "file_name": "a.jpg", "height": 30.5, "width": 40}, r"image a\.jpg: height is 30\.5"),
        (
            {"id": 7, "file_name": "a.jpg", "height": 40, "width": 30},
            r"says 30 x 40 pixels and its image .* 40 x 30.*: width and height are swapped",
        ),
        ({"id": 7, "file_name": "\ud800.jpg", "height": 40, "width": 30}, "it must be text in one line"),
        ({"id": 7, "file_name": "../../b.jpg", "height": 30, "width": 40}, r"b\.jpg: no such image"),
    ],
)
def test_wrong_image_entries(tmp_path: Path, image: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=rf"{message}"):
        one_image(tmp_path, image=image).class_masks("val2017/a", [1])


@pytest.mark.parametrize(
    "ids", [("7", 7, "10"), (7, "7", 10), (7.0, 7, 10.0), ("a-7", "a-7", 10), (10**30,) * 2 + (10,)]
)
def test_ids_are_compared_as_what_they_stand_for(tmp_path: Path, ids: tuple[Any, Any, Any]) -> None:
    """Numbers as text or with a point are the numbers; of images any text is an id, and any number."""
    annotation = {**box(10, 1, 1, 5, 5), "image_id": ids[1], "category_id": ids[2], "id": 1}
    found = instances_of(tmp_path, table(annotation, annotation, images=[{**IMAGE, "id": ids[0]}]))
    assert [region.pixels for region in found.regions(0)] == [16], "annotation ids may occur twice"


WHOLE = np.ones((HEIGHT, WIDTH))


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (box(10, 1, 1, 5, 5, image_id=8), "image_id 8 is not among the images; take them out of the file"),
        (box(10, 1, 1, 5, 5, image_id=7.5), "image_id 7.5 is not among the images"),
        (box(11, 1, 1, 5, 5), "category_id 11 is not among the categories"),
        (box(10, 1, 1, 5, 5, category_id=None), "category_id is None"),
        (box(10, 1, 1, 5, 5, category_id=2**70), "category_id is 1180591620717411303424"),
        (box(10, 1, 1, 5, 5, segmentation="[[1, 1]]"), r"'\[\[1, 1\]\]' is neither polygons nor run lengths"),
        (box(10, 1, 1, 5, 5, segmentation=["[[1, 1]]"]), "it must be a list of numbers"),
        (box(10, 1, 1, 5, 5, segmentation=[[1, 1, 5, 1, 5]]), "odd number"),
        (box(10, 1, 1, 5, 5, segmentation=[1, 1, 5, 1, 5, 5, 1]), "odd number"),
        (box(10, 1, 1, 5, 5, segmentation=[[1, 1, 5, 1, 5, 1e7]]), "far outside"),
        (box(10, 1, 1, 5, 5, segmentation=[[float("nan"), 1, 5, 1, 5, 5]]), "a coordinate is NaN"),
        (box(10, 1, 1, 5, 5, segmentation=[[1, 1, 5, float("nan"), 5, 5]]), "a coordinate is NaN"),
        (box(10, 1, 1, 5, 5, segmentation=[[1, 1, 5, 1, 5, "x"]]), "a coordinate is 'x', which is not a number"),
        (box(10, 1, 1, 5, 5, segmentation=[["1", "1", "5", "1", "5", "5"]]), "a coordinate is '1'"),
        (box(10, 1, 1, 5, 5, segmentation=[{"x": 1, "y": "2"}] * 3), "its size None"),
        (box(10, 1, 1, 5, 5, iscrowd="no"), "iscrowd is 'no'; it must be 0"),
        (box(10, 1, 1, 5, 5, iscrowd=2), "iscrowd is 2; it must be 0"),
        (box(10, 1, 1, 5, 5, iscrowd=[]), r"iscrowd is \[\]; it must be 0"),
        (crowd(10, WHOLE.T), r"its size \[40, 30\] is not the image's \[30, 40\] \(height and width are swapped\)"),
        ({**crowd(10, WHOLE), "segmentation": {"size": [30, 40], "counts": [5]}}, "add up to 5"),
        ({**crowd(10, WHOLE), "segmentation": {"size": [30, 40], "counts": "b'x'"}}, "the character"),
    ],
)
def test_wrong_annotations(tmp_path: Path, annotation: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=rf"instances_val2017\.json: annotation 100: .*{message}"):
        one_image(tmp_path, annotation).ids("val")


def test_annotations_of_missing_images_are_counted(tmp_path: Path) -> None:
    strays = [box(10, 1, 1, 5, 5, image_id=8 + i, id=i) for i in range(9)]
    message = r"annotation 0: image_id 8 is not among the images, and so 8 more \(1, 2, 3, 4, \.\.\.\)"
    with pytest.raises(UserError, match=message):
        instances_of(tmp_path, table(box(10, 1, 1, 5, 5, image_id=7), *strays))


# what is left out or read otherwise is noted


LENGTHS = {"size": [HEIGHT, WIDTH], "counts": lengths_of(np.eye(HEIGHT, WIDTH, dtype=np.uint8))}
SQUARE = [1, 1, 5, 1, 5, 5, 1, 5]


@pytest.mark.parametrize(
    ("changed", "pixels", "kinds"),
    [
        ({}, 16, []),
        ({"segmentation": SQUARE}, 16, [Kind.FORM]),
        ({"segmentation": [[1, 1], [5, 1], [5, 5], [1, 5]]}, 16, [Kind.FORM]),
        ({"segmentation": [[[1, 1], [5, 1], [5, 5], [1, 5]]]}, 16, [Kind.FORM]),
        ({"segmentation": [{"x": 1, "y": 1}, {"x": 5, "y": 1}, {"x": 5, "y": 5}, {"x": 1, "y": 5}]}, 16, [Kind.FORM]),
        ({"segmentation": [LENGTHS]}, 30, [Kind.FORM]),
        ({"segmentation": [SQUARE, [9, 9, 9, 9]]}, 16, [Kind.PARTS]),
        ({"segmentation": [SQUARE, []]}, 16, []),
        ({"segmentation": None}, None, [Kind.NO_OUTLINE]),
        ({"segmentation": {}}, None, [Kind.NO_OUTLINE]),
        ({"segmentation": []}, None, [Kind.NO_OUTLINE]),
        ({"segmentation": [[]]}, None, [Kind.NO_OUTLINE]),
        ({"segmentation": [[1, 1, 5, 5]]}, None, [Kind.NO_OUTLINE]),
        ({"segmentation": [1, 1, 4, 4]}, None, [Kind.FORM, Kind.NO_OUTLINE]),
        ({"segmentation": [[x + 100 for x in SQUARE]]}, None, [Kind.NO_PIXEL]),
        ({"segmentation": {"size": [30, 40], "counts": [1200]}}, None, [Kind.NO_PIXEL]),
        ({"iscrowd": 1}, 16, [Kind.CROWD]),
        ({"iscrowd": "0"}, 16, [Kind.FLAG]),
        ({"iscrowd": "1"}, 16, [Kind.CROWD, Kind.FLAG]),
        ({"iscrowd": True}, 16, [Kind.CROWD, Kind.FLAG]),
        ({"iscrowd": 0.0}, 16, [Kind.FLAG]),
        ({"iscrowd": None}, 16, [Kind.FLAG]),
        ({"area": float("nan"), "bbox": None, "score": "?"}, 16, []),
    ],
)
def test_what_is_noted(tmp_path: Path, changed: dict[str, Any], pixels: int | None, kinds: list[Kind]) -> None:
    """The notes, and whether they outlive the cache; a second annotation keeps the file from being empty."""
    annotation = {**box(10, 1, 1, 5, 5, image_id=7, id="x1"), **changed}
    content = table(annotation, box(20, 1, 1, 5, 5, image_id=7, id=2))
    for _ in ("parsed", "from the cache"):
        found = (
            instances_of(tmp_path, content) if _ == "parsed" else load_instances(tmp_path / "instances_val2017.json")
        )
        assert [r.pixels for r in found.regions(0) if r.category == 10] == ([] if pixels is None else [pixels])
        assert sorted(found.notes) == sorted(Note(kind, 0, 10, "x1") for kind in kinds)
        assert found.annotations == {10: 1, 20: 1}


def test_of_categories_with_one_name_the_empty_ones_are_left_out(tmp_path: Path) -> None:
    """Roboflow puts the project's name in front, which may be a class's."""
    project = {"id": 0, "name": "anchor", "supercategory": "none"}
    found = instances_of(tmp_path, table(box(10, 1, 1, 5, 5, image_id=7), categories=[project, *CATEGORIES]))
    assert found.categories == {10: "anchor", 20: "barrel"}
    assert found.notes == [Note(Kind.CATEGORY, NOWHERE, 0, "anchor")]
    used = box(0, 1, 1, 5, 5, image_id=7)
    with pytest.raises(UserError, match="categories 0 and 10: are all called 'anchor' and have annotations"):
        instances_of(tmp_path, table(used, box(10, 1, 1, 5, 5, image_id=7), categories=[project, *CATEGORIES]))


def test_notes_are_counted_by_class_with_the_first_ids() -> None:
    notes = Notes()
    for i in range(5):
        notes.add(Kind.NO_OUTLINE, i, 10 if i else 20, i)
    notes.add(Kind.CROWD, 0, 10, "c")
    notes.add(Kind.CROWD, 0, 30, "of no class of the protocol")
    notes.add(Kind.CATEGORY, NOWHERE, 0, "cup")
    assert sentences(notes, {10: "cup", 20: "dog"}, "void") == [
        "category 0 (cup) has no annotation and the same name as another, and is left out",
        "5 annotations without an outline (a box alone, or less than three points): left out; cup 4, dog 1 "
        "(ids 0, 1, 2, ...)",
        '1 annotation with iscrowd 1, crowd regions: void, no objects (data.crowds = "object" makes them objects); '
        "cup 1 (id c)",
    ]


def test_repeated_images(tmp_path: Path) -> None:
    entry = {"id": 7, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}
    source = one_image(tmp_path)
    twice = {
        "image a.jpg: is listed twice, with the ids 7 and 8": {**entry, "id": 8},
        "image b.jpg: its id 7 occurs twice; a.jpg has it, too": {**entry, "file_name": "b.jpg"},
    }
    for message, other in twice.items():
        write_instances(tmp_path, "val2017", [entry, other], [])
        with pytest.raises(UserError, match=message):
            source.ids("val")
    save_image(tmp_path / "val2017/a.png", np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8))
    write_instances(tmp_path, "val2017", [entry, {**entry, "id": 8, "file_name": "a.png"}], [])
    with pytest.raises(UserError, match="same name but for the suffix"):
        source.ids("val")


# run lengths, against pycocotools' compressor


@pytest.mark.parametrize("seed", range(8))
def test_compressed_text_gives_the_plain_counts(seed: int) -> None:
    rng = np.random.RandomState(seed)
    height, width = int(rng.randint(1, 80)), int(rng.randint(1, 400))
    region = (rng.random_sample((height, width)) < rng.choice([0.02, 0.5, 0.995])).astype(np.uint8)
    text = coco_mask.encode(np.asfortranarray(region))["counts"].decode()
    assert run_lengths({"size": [height, width], "counts": text}, height, width)["counts"] == lengths_of(region)


@pytest.mark.parametrize("counts", [[1, 4, 1], "6", "60"])
def test_counts_that_fill_the_image_pass(counts: list[int] | str) -> None:
    passed = run_lengths({"size": [2, 3], "counts": counts}, 2, 3)["counts"]
    assert sum(passed) == 6
    assert isinstance(counts, str) or passed == counts


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ({"size": [3, 2], "counts": [6]}, r"size \[3, 2\] is not the image's \[2, 3\]"),
        ({"counts": [6]}, "size None"),
        ({"size": [2, 3], "counts": [1, 4]}, "add up to 5, not 2 x 3"),
        ({"size": [2, 3], "counts": [7, -1]}, "whole numbers from 0"),
        ({"size": [2, 3], "counts": [6.0]}, "whole numbers from 0"),
        ({"size": [2, 3]}, "whole numbers from 0"),
        ({"size": [2, 3], "counts": "5"}, "add up to 5"),
        ({"size": [2, 3], "counts": "6 "}, "character ' '"),
        ({"size": [2, 3], "counts": "P"}, "middle of a number"),
        ({"size": [2, 3], "counts": "7O"}, "whole numbers from 0"),
    ],
)
def test_counts_that_c_code_must_not_see(rle: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run_lengths(rle, 2, 3)
