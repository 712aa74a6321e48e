"""What labelling tools export, converted to COCO's instances: the masks are those that were drawn."""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fsseg_bench.data.own.convert import convert
from fsseg_bench.data.own.proposal import propose
from fsseg_bench.data.sources.coco import CocoSource
from fsseg_bench.errors import UserError
from tests.support.datasets import CLASSES, HEIGHT, WIDTH, Box, Scene, label_map, save_image, scenes

NAMES = sorted(CLASSES)
Mask = npt.NDArray[np.bool_]


def png(mask: Mask) -> bytes:
    out = io.BytesIO()
    Image.fromarray(mask).save(out, "png")
    return out.getvalue()


def corners(box: Box) -> list[list[int]]:
    return [[box.x0, box.y0], [box.x1, box.y0], [box.x1, box.y1], [box.x0, box.y1]]


def filled(box: Box) -> Mask:
    return np.ones((box.y1 - box.y0, box.x1 - box.x0), dtype=np.bool_)


def packed(mask: Mask) -> list[int]:
    """As Label Studio packs a brush, values one by one in runs of up to 16."""
    values = np.repeat(mask.ravel(), 4).astype(np.uint8) * 255
    bits = f"{len(values):032b}" + f"{7:05b}" + "".join(f"{n:04b}" for n in (2, 3, 7, 15))
    at = 0
    while at < len(values):
        same = int(np.argmax(values[at:] != values[at])) or len(values) - at
        run = min(same, 2**16)
        bits += f"1{3:02b}{run - 1:016b}{values[at]:08b}" if run > 3 else f"0{0:02b}{0:03b}{values[at]:08b}"
        at += run if run > 3 else 1
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def labelme(root: Path, scene: Scene) -> None:
    save_image(root / "pictures" / f"{scene.name}.jpg", scene.image)
    main, *others = scene.boxes
    shapes: list[dict[str, Any]] = [
        {"label": CLASSES[main.class_id - 1], "points": corners(main), "shape_type": "polygon"}
    ]
    for box in others:
        mask = {"shape_type": "mask", "points": [[box.x0, box.y0], [box.x1, box.y1]]}
        shapes.append(mask | {"label": CLASSES[box.class_id - 1], "mask": base64.b64encode(png(filled(box))).decode()})
    shapes.append({"label": "harp", "points": [[1, 1], [9, 9]], "shape_type": "line"})
    shapes.append({"label": "__ignore__", "points": corners(main), "shape_type": "polygon"})
    table = {
        "shapes": shapes,
        "imagePath": f"..\\pictures\\{scene.name}.jpg",
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
    }
    path = root / "labels" / f"{scene.name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(table).encode())


def supervisely(root: Path, scene: Scene) -> None:
    save_image(root / "ds0/img" / f"{scene.name}.jpg", scene.image)
    (root / "meta.json").write_text(json.dumps({"classes": [{"title": name} for name in CLASSES]}))
    main, *others = scene.boxes
    points = {"exterior": corners(main), "interior": []}
    objects: list[dict[str, Any]] = [
        {"classTitle": CLASSES[main.class_id - 1], "geometryType": "polygon", "points": points}
    ]
    for box in others:
        bitmap = {"origin": [box.x0, box.y0], "data": base64.b64encode(zlib.compress(png(filled(box)))).decode()}
        objects.append({"classTitle": CLASSES[box.class_id - 1], "geometryType": "bitmap", "bitmap": bitmap})
    path = root / "ds0/ann" / f"{scene.name}.jpg.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"size": {"height": HEIGHT, "width": WIDTH}, "objects": objects}))


def label_studio(root: Path, scene: Scene) -> None:
    save_image(root / "images" / f"{scene.name}.jpg", scene.image)
    path = root / "project.json"
    tasks = json.loads(path.read_text()) if path.exists() else []
    size = {"original_width": WIDTH, "original_height": HEIGHT}
    main, *others = scene.boxes
    points = [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in corners(main)]
    results = [{"type": "polygonlabels", "value": {"points": points, "polygonlabels": [CLASSES[main.class_id - 1]]}}]
    for box in others:
        mask = label_map(scene._replace(boxes=(box,)), border=False) > 0
        value = {"format": "rle", "rle": packed(mask), "brushlabels": [CLASSES[box.class_id - 1]]}
        results.append({"type": "brushlabels", "value": value})
    image = f"/data/upload/3/0a1b2c3d-{scene.name}.jpg"
    tasks.append({"data": {"image": image}, "annotations": [{"result": [size | entry for entry in results]}]})
    path.write_text(json.dumps(tasks))


def yolo(root: Path, scene: Scene) -> None:
    save_image(root / "train/images" / f"{scene.name}.jpg", scene.image)
    (root / "data.yaml").write_text(f"train: ../train/images\nnc: {len(NAMES)}\nnames: {NAMES}\n")
    lines = []
    for box in scene.boxes:
        numbers = (value for x, y in corners(box) for value in (x / WIDTH, y / HEIGHT))
        lines.append(" ".join(map(str, (NAMES.index(CLASSES[box.class_id - 1]), *numbers))))
    path = root / "train/labels" / f"{scene.name}.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def written(root: Path, write: Callable[[Path, Scene], None]) -> Iterator[Scene]:
    for scene in scenes("train", 2):
        write(root, scene)
        yield scene


@pytest.mark.parametrize(
    ("write", "tool", "list_name", "said"),
    [
        (labelme, "labelme", "labels", ["shapes that are no areas (points, lines) are left out: 16"]),
        (supervisely, "Supervisely", "ds0", ["other JSON files are not read: 1"]),
        (label_studio, "Label Studio", "all", []),
        (yolo, "YOLO", "train", []),
    ],
)
def test_masks_are_those_that_were_drawn(
    tmp_path: Path, write: Callable[[Path, Scene], None], tool: str, list_name: str, said: list[str]
) -> None:
    drawn = list(written(tmp_path, write))
    with pytest.raises(UserError, match=rf"holds files of {tool}, .* fsseg-bench data convert"):
        propose(tmp_path)
    result = convert(tmp_path)
    assert list(result.files) == [f"annotations/instances_{list_name}.json"]
    assert result.said[0] == f"found {tool}: 16 images, 24 areas of 8 classes ({', '.join(NAMES)})"
    assert set(said) <= set(result.said)
    for name, text in result.files.items():
        (tmp_path / "annotations").mkdir()
        (tmp_path / name).write_text(text)
    source = CocoSource(tmp_path, CLASSES, 0)
    ids = {image.rpartition("/")[2]: image for image in source.ids(list_name)}
    for scene in drawn:
        labels = label_map(scene, border=False)
        masks = source.class_masks(ids[scene.name], range(1, 9))
        assert np.array_equal(masks, np.stack([labels == c for c in range(1, 9)]))
    assert "8 classes" in propose(tmp_path).summary


def labelme_file(root: Path, *shapes: dict[str, Any], image: str = "a.png") -> Path:
    Image.new("RGB", (20, 10)).save(root / "a.png")
    path = root / "a.json"
    path.write_text(json.dumps({"shapes": list(shapes), "imagePath": image, "imageHeight": 10, "imageWidth": 20}))
    return path


def areas(root: Path) -> dict[int, float]:
    """Annotation id to its area."""
    (text,) = convert(root).files.values()
    return {entry["id"]: entry["area"] for entry in json.loads(text)["annotations"]}


TRIANGLE = {"label": "cup", "points": [[0, 0], [8, 0], [0, 8]]}


def test_other_shapes_of_labelme(tmp_path: Path) -> None:
    rectangle = {"label": "cup", "points": [[2, 1], [6, 4]], "shape_type": "rectangle"}
    circle = {"label": "cup", "points": [[10, 5], [10, 8]], "shape_type": "circle"}
    parts = [TRIANGLE | {"group_id": 1}, TRIANGLE | {"group_id": 1, "points": [[12, 0], [18, 0], [18, 6]]}]
    labelme_file(tmp_path, rectangle, circle, *parts, TRIANGLE | {"points": [[1, 1], [2, 2]]})
    found = areas(tmp_path)
    assert len(found) == 3  # two parts are one object
    assert found[1] == 12
    assert found[2] == pytest.approx(np.pi * 9, rel=0.2)
    said = convert(tmp_path).said
    assert "outlines of less than three points are left out: 1" in said
    assert any(text.startswith("rectangles are taken as areas") and text.endswith(": 1") for text in said)


def test_a_hole_of_supervisely_is_no_object(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    points = {"exterior": [[0, 0], [10, 0], [10, 10], [0, 10]], "interior": [[[2, 2], [6, 2], [6, 6], [2, 6]]]}
    entry = {"classTitle": "ring", "geometryType": "polygon", "points": points}
    (tmp_path / "a.png.json").write_text(json.dumps({"size": {"height": 10, "width": 20}, "objects": [entry]}))
    assert areas(tmp_path) == {1: 100 - 16}


def test_a_turned_rectangle_of_label_studio(tmp_path: Path) -> None:
    Image.new("RGB", (100, 100)).save(tmp_path / "a.png")
    value = {"x": 50, "y": 10, "width": 20, "height": 10, "rotation": 90, "rectanglelabels": ["cup"]}
    task = {"data": {"image": "a.png"}, "annotations": [{"result": [{"type": "rectanglelabels", "value": value}]}]}
    (tmp_path / "x.json").write_text(json.dumps([task]))
    (text,) = convert(tmp_path).files.values()
    assert json.loads(text)["annotations"][0]["bbox"] == [40, 10, 10, 20]  # turned about its upper left corner


def test_boxes_of_yolo_are_counted(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    Image.new("RGB", (20, 10)).save(tmp_path / "images/a.png")
    (tmp_path / "labels/a.txt").write_text("0 0.5 0.5 0.2 0.2\n1 0 0 0.5 0 0.5 1\n")
    result = convert(tmp_path)
    assert result.said[0].endswith("1 areas of 1 classes (class-1)")
    assert "boxes without an outline are left out (export YOLO segmentation): 1" in result.said
    (tmp_path / "labels/classes.txt").write_text("cup\n")
    with pytest.raises(UserError, match=r"a\.txt: the class 1 has no name among the 1"):
        convert(tmp_path)
    with pytest.raises(UserError, match=r"a\.txt: its image .*/images/a\.png lies outside .*/labels; give a folder"):
        convert(tmp_path / "labels")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda root: (root / "a.png").unlink(),
            r"a\.json: its image is 'a\.png', but .* no such image",
        ),
        (
            lambda root: labelme_file(root, {"points": []}),
            r"a\.json: is not as labelme writes .*KeyError: 'label'",
        ),
        (lambda root: labelme_file(root), "no file of labelme has an area with a label"),
        (lambda root: (root / "b.json").write_text((root / "a.json").read_text()), r"a\.json and .*b\.json both label"),
        (lambda root: (root / "a.json").unlink(), "holds no files of labelme, Supervisely, Label Studio, YOLO"),
    ],
)
def test_what_cannot_be_converted(tmp_path: Path, change: Callable[[Path], object], message: str) -> None:
    labelme_file(tmp_path, TRIANGLE)
    change(tmp_path)
    with pytest.raises(UserError, match=message):
        convert(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("labels/a.txt", "0 0.5 0.5 0.2 0.2\n", r"files of YOLO \(boxes\), .*bounding boxes"),
        ("annotations.xml", "<annotations><meta></meta></annotations>", "files of CVAT's XML, .*'COCO 1.0'"),
        ("Annotations/a.xml", "<annotation><object></object></annotation>", "files of VOC's XML, .*bounding boxes"),
        ("via.json", '{"a.png1": {"filename": "a.png", "regions": []}}', "files of VGG Image Annotator, .*COCO"),
        ("default.json", '{"categories": {}, "items": []}', "files of Datumaro, .*datum convert"),
    ],
)
def test_other_tools_are_named(tmp_path: Path, file: str, content: str, message: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(content)
    for use in (propose, convert):
        with pytest.raises(UserError, match=message):
            use(tmp_path)
