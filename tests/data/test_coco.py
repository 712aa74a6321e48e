"""COCO's layout: masks from instances, crowds, lists, and what is said when something is wrong."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from fsseg_bench.data.cachefile import Arrays
from fsseg_bench.data.coco import CocoSource
from fsseg_bench.data.coco_json import parse_instances
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.load import load_protocol
from tests.support.datasets import CLASSES, HEIGHT, WIDTH, run_lengths, save_image, scenes, write_coco, write_instances

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools

ID = "val2017/val_c3_0"


def box(category: int, x0: int, y0: int, x1: int, y1: int, **more: Any) -> dict[str, Any]:
    """An annotation with a rectangle, columns x0 to x1 and rows y0 to y1, ends excluded."""
    return {"category_id": category, "iscrowd": 0, "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]], **more}


def crowd(category: int, region: np.ndarray) -> dict[str, Any]:
    rle = {"size": list(region.shape), "counts": run_lengths(region.astype(np.uint8))}
    return {"category_id": category, "iscrowd": 1, "segmentation": rle}


def one_image(root: Path, *annotations: dict[str, Any], image: dict[str, Any] | None = None) -> CocoSource:
    """A data set of one image ``val2017/a`` with these annotations."""
    save_image(root / "val2017/a.jpg", np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8))
    entry = image or {"id": 7, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}
    numbered = [{"id": 100 + i, "image_id": 7, **a} for i, a in enumerate(annotations)]
    write_instances(root, "val2017", [entry], numbered)
    return CocoSource(root, CLASSES, 2017)


# the tiny data set


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "data", train=2, val=2)


def test_ids_and_paths(root: Path) -> None:
    source = CocoSource(root, CLASSES, 2017)
    assert source.ids("val") == tuple(f"val2017/val_c{c}_{j}" for c in range(1, 9) for j in range(2))
    assert source.ids("train")[0] == "train2017/train_c1_0"
    assert source.image_path(ID) == root / "val2017/val_c3_0.jpg"
    assert source.image(ID).shape == (HEIGHT, WIDTH, 3)


def test_masks_of_every_image(root: Path) -> None:
    source = CocoSource(root, CLASSES, 2017)
    for scene in scenes("val", 2):
        expected = np.zeros((8, HEIGHT, WIDTH), dtype=np.uint8)
        if scene.name.endswith("_0"):
            expected[scene.boxes[0].class_id - 1, HEIGHT - 4 :, WIDTH - 10 :] = 255
        for b in scene.boxes:
            expected[b.class_id - 1, b.y0 : b.y1, b.x0 : b.x1] = 1
        image_id = f"val2017/{scene.name}"
        masks = source.class_masks(image_id, range(1, 9))
        assert masks.dtype == np.uint8
        assert np.array_equal(masks, expected)
        assert np.array_equal(source.class_masks(image_id, [6, 2]), expected[[5, 1]])
        assert source.class_pixels(image_id) == {b.class_id: (b.x1 - b.x0) * (b.y1 - b.y0) for b in scene.boxes}


def test_class_ids_follow_the_protocol_not_the_file(root: Path) -> None:
    source = CocoSource(root, ("harp", "candle"), 2017)
    assert source.class_pixels(ID) == {2: 224}
    assert source.class_pixels("val2017/val_c8_1") == {1: 224}
    assert source.class_pixels("val2017/val_c5_1") == {}, "unnamed categories are background"
    assert source.class_masks("val2017/val_c5_1", [1, 2]).max() == 0


# unions and crowds


def test_instances_are_united_and_parts_are_kept(tmp_path: Path) -> None:
    parts = box(10, 2, 2, 6, 6)
    parts["segmentation"] += [[20, 2, 24, 2, 24, 6, 20, 6], []]
    # Two points have no area; pycocotools alone would take them for a box.
    parts["segmentation"].insert(0, [30, 2, 34, 6])
    source = one_image(tmp_path, parts, box(10, 4, 4, 8, 8), box(20, 5, 5, 9, 9))
    first = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    first[2:6, 2:6] = first[2:6, 20:24] = first[4:8, 4:8] = 1
    second = np.zeros_like(first)
    second[5:9, 5:9] = 1
    assert np.array_equal(source.class_masks("val2017/a", [1, 2]), [first, second]), "classes may overlap"
    assert source.class_pixels("val2017/a") == {1: 16 + 16 + 16 - 4, 2: 16}


def test_crowds_are_void_for_their_class_alone(tmp_path: Path) -> None:
    region = np.zeros((HEIGHT, WIDTH))
    region[10:20, 5:30] = 1
    source = one_image(tmp_path, box(10, 0, 12, 10, 16), crowd(10, region), box(20, 20, 10, 25, 15), crowd(30, region))
    expected = np.zeros((3, HEIGHT, WIDTH), dtype=np.uint8)
    expected[0, 10:20, 5:30] = expected[2, 10:20, 5:30] = 255
    expected[0, 12:16, 0:10] = 1
    expected[1, 10:15, 20:25] = 1
    assert np.array_equal(source.class_masks("val2017/a", [1, 2, 3]), expected)
    assert source.class_pixels("val2017/a") == {1: 40, 2: 25}, "crowds are not counted"


def test_crowd_given_as_compressed_text_or_polygon(tmp_path: Path) -> None:
    from pycocotools import mask as coco_mask

    region = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    region[3:9, 3:30] = 1
    compressed = coco_mask.encode(np.asfortranarray(region))
    text = {"size": compressed["size"], "counts": compressed["counts"].decode()}
    annotation = {"category_id": 10, "iscrowd": 1, "segmentation": text}
    source = one_image(tmp_path, annotation, box(20, 3, 3, 30, 9, iscrowd=1))
    assert np.array_equal(source.class_masks("val2017/a", [1, 2]), [region * 255] * 2)


def test_image_without_annotations(tmp_path: Path) -> None:
    source = one_image(tmp_path)
    assert source.ids("val") == ("val2017/a",)
    assert source.class_pixels("val2017/a") == {}
    assert not source.class_masks("val2017/a", [1, 2]).any()


# opening


def test_nothing_is_printed(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    CocoSource(root, CLASSES, 2017).class_masks(ID, [1])
    assert capfd.readouterr() == ("", "")


def test_a_file_is_parsed_once_until_it_changes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[Path] = []

    def parse(path: Path) -> Arrays:
        parsed.append(path)
        return parse_instances(path)

    monkeypatch.setattr("fsseg_bench.data.instances.parse_instances", parse)
    path = root / "annotations/instances_val2017.json"
    first = CocoSource(root, CLASSES, 2017)
    expected = first.class_masks(ID, range(1, 9))
    assert parsed == [path]
    again = CocoSource(root, CLASSES, 2017)
    assert np.array_equal(again.class_masks(ID, range(1, 9)), expected)
    assert again.label_digest(ID) == first.label_digest(ID)
    assert parsed == [path]
    os.utime(path, ns=(0, 1))
    CocoSource(root, CLASSES, 2017).ids("val")
    assert parsed == [path, path]


def test_damaged_cache_is_made_again(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FSSEG_CACHE", str(tmp_path / "cache"))
    expected = CocoSource(root, CLASSES, 2017).class_masks(ID, range(1, 9))
    (cached,) = (tmp_path / "cache/coco").iterdir()
    cached.write_bytes(cached.read_bytes()[:-400])
    assert np.array_equal(CocoSource(root, CLASSES, 2017).class_masks(ID, range(1, 9)), expected)


def test_pickles_without_the_annotations(root: Path) -> None:
    source = CocoSource(root, CLASSES, 2017)
    expected = source.class_masks(ID, [3])
    content = pickle.dumps(source)
    assert len(content) < 1000
    assert np.array_equal(pickle.loads(content).class_masks(ID, [3]), expected)
    assert np.array_equal(source.class_masks(ID, [3]), expected)


def test_fingerprint_and_label_digest(root: Path) -> None:
    def fingerprint() -> str:
        return CocoSource(root, CLASSES, 2017).fingerprint(["val"])

    seen = [fingerprint()]
    assert fingerprint() == seen[0]
    digest = CocoSource(root, CLASSES, 2017).label_digest(ID)
    image = root / "val2017/val_c3_0.jpg"
    os.utime(image, ns=(0, 1))
    seen.append(fingerprint())
    path = root / "annotations/instances_val2017.json"
    table = json.loads(path.read_text())
    target = next(i["id"] for i in table["images"] if i["file_name"] == image.name)
    moved = next(a for a in table["annotations"] if a["image_id"] == target and not a["iscrowd"])
    moved["segmentation"][0] = [v + 1 for v in moved["segmentation"][0]]
    path.write_text(json.dumps(table))
    seen.append(fingerprint())
    assert len(set(seen)) == 3
    source = CocoSource(root, CLASSES, 2017)
    assert source.label_digest(ID) != digest
    assert source.class_pixels(ID) == {3: 224}
    assert CocoSource(root, CLASSES[:2], 2017).label_digest(ID) != digest, "another set of classes"


# bad input


def test_missing_annotations(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"annotations/instances_val2014\.json: No such file.*instance annotations"):
        CocoSource(tmp_path, CLASSES, 2014).ids("val")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[1, 2]", "not an instance file of COCO"),
        ('{"images": []}', "'annotations' is missing|'categories' is missing"),
        ('{"images": {}, "annotations": [], "categories": []}', "'images' is missing or not a list"),
        ('{"images": [1], "annotations": [], "categories": []}', "'images' is missing or not a list of objects"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1}]}', "name is None"),
        ('{"images": [], "annotations": [], "categories": [{"id": "1", "name": "a"}]}', "id is '1'"),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}',
            "occurs twice",
        ),
        ('{"images": [{"file_name": "a", "id": NaN}]}', "NaN is not a JSON number"),
    ],
)
def test_files_that_are_not_instances(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "annotations/instances_val2017.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(UserError, match=rf"instances_val2017\.json: .*({message})"):
        CocoSource(tmp_path, CLASSES, 2017).ids("val")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"id": 7, "height": 30, "width": 40}, "file_name is None"),
        ({"id": None, "file_name": "a.jpg", "height": 30, "width": 40}, r"image a\.jpg: id is None"),
        ({"id": 7, "file_name": "a.jpg", "width": 40}, r"image a\.jpg: height is None"),
        ({"id": 7, "file_name": "a.jpg", "height": 0, "width": 40}, r"image a\.jpg: height and width are 0 and 40"),
        ({"id": 7, "file_name": "a.jpg", "height": 30, "width": 10**9}, r"image a\.jpg: height and width are"),
        ({"id": 7, "file_name": "../../a.jpg", "height": 30, "width": 40}, "leads out of the image folder"),
        ({"id": 7, "file_name": "/a.jpg", "height": 30, "width": 40}, "leads out of the image folder"),
    ],
)
def test_wrong_image_entries(tmp_path: Path, image: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=rf"instances_val2017\.json: .*{message}"):
        one_image(tmp_path, image=image).ids("val")


WHOLE = np.ones((HEIGHT, WIDTH))


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (box(10, 1, 1, 5, 5, image_id=8), "image_id 8 is not among the images"),
        (box(10, 1, 1, 5, 5, image_id="7"), "image_id is '7'"),
        (box(11, 1, 1, 5, 5), "category_id 11 is not among the categories"),
        (box(10, 1, 1, 5, 5, segmentation=None), "neither polygons nor run lengths"),
        ({"category_id": 10, "caption": "a drum"}, "neither polygons nor run lengths"),
        (box(10, 1, 1, 5, 5, segmentation=[[1, 1, 5, 1, 5]]), "odd number"),
        (box(10, 1, 1, 5, 5, segmentation=[[1, 1, 5, 1, 5, 1e7]]), "far outside"),
        (box(10, 1, 1, 5, 5, segmentation=[[1, 1, 5, 1, 5, "x"]]), "wrong segmentation"),
        (box(10, 1, 1, 5, 5, segmentation=[["1", "1", "5", "1", "5", "5"]]), "wrong segmentation"),
        (box(10, 1, 1, 5, 5, segmentation=[3, 4]), "wrong segmentation"),
        (crowd(10, WHOLE.T), r"its size \[40, 30\] is not the image's \[30, 40\]"),
        ({**crowd(10, WHOLE), "segmentation": {"size": [30, 40], "counts": [5]}}, "add up to 5"),
    ],
)
def test_wrong_annotations(tmp_path: Path, annotation: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=rf"instances_val2017\.json: annotation 100: .*{message}"):
        one_image(tmp_path, annotation).ids("val")


def test_repeated_images(tmp_path: Path) -> None:
    entry = {"id": 7, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}
    source = one_image(tmp_path)
    for other in ({**entry, "id": 8}, {**entry, "file_name": "b.jpg"}):
        write_instances(tmp_path, "val2017", [entry, other], [])
        with pytest.raises(UserError, match=r"its name or its id \d occurs twice"):
            source.ids("val")
    save_image(tmp_path / "val2017/a.png", np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8))
    write_instances(tmp_path, "val2017", [entry, {**entry, "id": 8, "file_name": "a.png"}], [])
    with pytest.raises(UserError, match="same name but for the suffix"):
        source.ids("val")


def test_class_that_the_file_does_not_have(root: Path) -> None:
    with pytest.raises(UserError, match=r"instances_val2017\.json.*'candel'\. Did you mean 'candle'"):
        CocoSource(root, ("anchor", "candel"), 2017).ids("val")


def test_image_entry_without_file(root: Path) -> None:
    (root / "val2017/val_c3_0.jpg").unlink()
    pattern = r"val2017/val_c3_0\.jpg: no such image, but .*instances_val2017\.json lists 16 images"
    with pytest.raises(UserError, match=pattern):
        CocoSource(root, CLASSES, 2017).ids("val")
    (root / "val2017/val_c4_0.jpg").unlink()
    with pytest.raises(UserError, match=r"val_c3_0\.jpg: no such image and 1 more"):
        CocoSource(root, CLASSES, 2017).ids("val")


def test_corrupt_image_and_image_of_another_size(root: Path) -> None:
    source = CocoSource(root, CLASSES, 2017)
    save_image(root / "val2017/val_c3_0.jpg", np.zeros((40, 30, 3), dtype=np.uint8))
    with pytest.raises(UserError, match=r"val_c3_0\.jpg is 30 x 40 pixels, but .*instances_val2017\.json says 40 x 30"):
        source.class_masks(ID, [1])
    (root / "val2017/val_c3_0.jpg").write_bytes(b"junk")
    reads: list[Callable[[], object]] = [lambda: source.image(ID), lambda: source.class_masks(ID, [1])]
    for read in reads:
        with pytest.raises(UserError, match=r"val_c3_0\.jpg: the image cannot be read"):
            read()


def test_unknown_image(root: Path) -> None:
    with pytest.raises(UserError, match=r"instances_val2017\.json: no image 'val2017/none'"):
        CocoSource(root, CLASSES, 2017).image("val2017/none")


# real images


@pytest.fixture
def real(test_data: Path) -> CocoSource:
    return CocoSource(test_data / "data/coco-mini", load_protocol("coco20i-a").classes, 2017)


@pytest.mark.real_data
def test_real_masks_equal_unions_of_single_annotations(real: CocoSource) -> None:
    """Against pycocotools' own reader, one annotation at a time."""
    table = COCO(str(real.root / "annotations/instances_val2017.json"))
    names = {c["id"]: c["name"] for c in table.dataset["categories"]}
    checked = 0
    for image_id in real.ids("val"):
        entry = table.imgs[int(image_id.rpartition("/")[2])]
        expected = np.zeros((80, entry["height"], entry["width"]), dtype=np.uint8)
        annotations = table.imgToAnns[entry["id"]]
        for a in sorted(annotations, key=lambda a: -a["iscrowd"]):
            mask = expected[real.classes.index(names[a["category_id"]])]
            mask[table.annToMask(a) == 1] = 255 if a["iscrowd"] else 1
        present = [c for c in range(1, 81) if expected[c - 1].any()]
        assert np.array_equal(real.class_masks(image_id, present), expected[[c - 1 for c in present]])
        pixels = {c: int((expected[c - 1] == 1).sum()) for c in present}
        assert real.class_pixels(image_id) == {c: n for c, n in pixels.items() if n}
        checked += len(annotations)
    assert checked > 1500


def inside_and_distance(polygons: list[list[float]], height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel's centre: whether it is inside (even-odd), and its distance to the nearest edge."""
    x, y = np.arange(width)[None, :] + 0.5, np.arange(height)[:, None] + 0.5
    inside = np.zeros((height, width), dtype=bool)
    distance = np.full((height, width), np.inf)
    for polygon in polygons:
        points = np.array(polygon).reshape(-1, 2)
        part = np.zeros_like(inside)
        for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
            if y0 != y1:
                part ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) / (y1 - y0) * (x1 - x0))
            squared = max((x1 - x0) ** 2 + (y1 - y0) ** 2, 1e-12)
            along = np.clip(((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / squared, 0, 1)
            np.minimum(distance, np.hypot(x - x0 - along * (x1 - x0), y - y0 - along * (y1 - y0)), out=distance)
        inside |= part
    return inside, distance


@pytest.mark.real_data
def test_real_masks_against_the_pixel_centre_rule(real: CocoSource) -> None:
    """Every pixel whose centre is more than a pixel from the polygons' edges is as the even-odd rule says.

    Nearer pixels may differ, since pycocotools rounds the outline before it fills it. The mask's area is COCO's
    ``area`` (of the polygon itself) but for half a pixel along the outline.
    """
    table = json.loads((real.root / "annotations/instances_val2017.json").read_text())
    images = {i["id"]: i for i in table["images"]}
    names = {c["id"]: c["name"] for c in table["categories"]}
    groups: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for a in table["annotations"]:
        groups.setdefault((a["image_id"], a["category_id"]), []).append(a)
    single = [g[0] for g in groups.values() if len(g) == 1 and not g[0]["iscrowd"]][::20]
    assert len(single) >= 15
    for a in single:
        entry = images[a["image_id"]]
        polygons = a["segmentation"]
        image_id = f"val2017/{Path(entry['file_name']).stem}"
        class_id = real.classes.index(names[a["category_id"]]) + 1
        mask = real.class_masks(image_id, [class_id])[0] == 1
        inside, distance = inside_and_distance(polygons, entry["height"], entry["width"])
        assert not ((mask != inside) & (distance > 1)).any(), (image_id, class_id)
        points = [np.array(polygon).reshape(-1, 2) for polygon in polygons]
        length = sum(np.linalg.norm(p - np.roll(p, 1, axis=0), axis=1).sum() for p in points)
        assert abs(int(mask.sum()) - a["area"]) <= 0.5 * length + 1, (image_id, class_id)


@pytest.mark.real_data
def test_real_crowds_against_a_decoder_of_run_lengths(real: CocoSource) -> None:
    checked = 0
    for folder in ("train2017", "val2017"):
        table = json.loads((real.root / f"annotations/instances_{folder}.json").read_text())
        images = {i["id"]: i for i in table["images"]}
        names = {c["id"]: c["name"] for c in table["categories"]}
        for a in table["annotations"]:
            if not a["iscrowd"]:
                continue
            height, width = a["segmentation"]["size"]
            counts = a["segmentation"]["counts"]
            flat = np.repeat(np.arange(len(counts)) % 2, counts)
            region = flat.reshape(width, height).T == 1
            image_id = f"{folder}/{Path(images[a['image_id']]['file_name']).stem}"
            mask = real.class_masks(image_id, [real.classes.index(names[a["category_id"]]) + 1])[0]
            assert np.isin(mask[region], (1, 255)).all()
            assert (mask[region] == 255).any()
            crowds = [b for b in table["annotations"] if b["image_id"] == a["image_id"] and b["iscrowd"]]
            if sum(b["category_id"] == a["category_id"] for b in crowds) == 1:
                assert not (mask[~region] == 255).any()
            checked += 1
    assert checked >= 10
