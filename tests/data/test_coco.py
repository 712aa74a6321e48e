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
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from fsseg_bench.data.cachefile import Arrays
from fsseg_bench.data.coco_json import parse_instances
from fsseg_bench.data.decode import sha256
from fsseg_bench.data.index import build_index
from fsseg_bench.data.outlines import draw, run_lengths
from fsseg_bench.data.sources.coco import CocoSource
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.load import load_protocol
from tests.support.coco import box, crowd, one_image
from tests.support.datasets import CLASSES, HEIGHT, WIDTH, save_image, scenes, write_coco
from tests.support.datasets import run_lengths as lengths_of

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools

ID = "val2017/val_c3_0"


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


def test_more_classes_than_a_byte_has_values(root: Path) -> None:
    """LVIS-92i has 920 over its folds."""
    fillers = [f"filler-{i}" for i in range(300)]
    for path in (root / "annotations").iterdir():
        content = json.loads(path.read_text())
        content["categories"] += [{"id": 1000 + i, "name": name} for i, name in enumerate(fillers)]
        path.write_text(json.dumps(content))
    few, many = CocoSource(root, CLASSES, 2017), CocoSource(root, [*fillers, *CLASSES], 2017)
    assert many.class_pixels(ID) == {300 + c: count for c, count in few.class_pixels(ID).items()}
    assert (many.class_masks(ID, [303, 1]) == few.class_masks(ID, [3, 1]) * np.array([[[1]], [[0]]])).all()


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


def test_a_file_is_parsed_once_until_it_changes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[Path] = []

    def parse(path: Path, *, crops: bool = False) -> Arrays:
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
    with pytest.raises(UserError, match=r"instances_val2017\.json says 40 x 30 .* image .*val_c3_0\.jpg 30 x 40"):
        source.class_masks(ID, [1])
    (root / "val2017/val_c3_0.jpg").write_bytes(b"junk")
    reads: list[Callable[[], object]] = [lambda: source.image(ID), lambda: source.class_masks(ID, [1])]
    for read in reads:
        with pytest.raises(UserError, match=r"val_c3_0\.jpg: the image cannot be read"):
            read()


def test_unknown_image(root: Path) -> None:
    with pytest.raises(UserError, match=r"instances_val2017\.json: no image 'val2017/none'"):
        CocoSource(root, CLASSES, 2017).image("val2017/none")


# names without a year


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """annotations/instances_train.json, train/ and the same for val."""
    own = write_coco(tmp_path, 1, 2, year=2017)
    for name in ("train", "val"):
        (own / f"{name}2017").rename(own / name)
        (own / "annotations" / f"instances_{name}2017.json").rename(own / "annotations" / f"instances_{name}.json")
    return own


def test_names_without_a_year(own: Path) -> None:
    source = CocoSource(own, CLASSES, 0)
    assert source.ids("val")[:2] == ("val/val_c1_0", "val/val_c1_1")
    assert source.image_path("val/val_c1_0") == own / "val" / "val_c1_0.jpg"
    assert source.class_pixels("val/val_c1_0") == {1: 224}


@pytest.mark.parametrize("place", ["images/val", "images", "."])
def test_images_may_lie_elsewhere(own: Path, place: str) -> None:
    target = own / place
    target.mkdir(parents=True, exist_ok=True)
    for path in (own / "val").iterdir():
        path.rename(target / path.name)
    source = CocoSource(own, CLASSES, 0)
    assert source.image_path("val/val_c1_0") == target / "val_c1_0.jpg"
    assert source.fingerprint(["val"]) == source.fingerprint(["val"])


def test_images_nowhere_are_missed_at_the_official_place(own: Path) -> None:
    for path in (own / "val").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"val/val_c1_0\.jpg: no such image and 15 more"):
        CocoSource(own, CLASSES, 0).ids("val")


def test_has_image(own: Path) -> None:
    source = CocoSource(own, CLASSES, 0)
    assert source.has_image("val/val_c1_0")
    assert not source.has_image("val/val_c1_9")
    assert not source.has_image("nowhere/val_c1_0")


def test_damaged_annotations_are_not_taken_for_an_unknown_image(own: Path) -> None:
    (own / "annotations/instances_val.json").write_text("{")
    with pytest.raises(UserError, match=r"instances_val\.json: not valid JSON"):
        CocoSource(own, CLASSES, 0).has_image("val/val_c1_0")


def test_a_list_file_may_mix_instance_files(own: Path) -> None:
    path = own / "some.txt"
    path.write_text("train/train_c2_0\nval/val_c1_1\n")
    source = CocoSource(own, CLASSES, 0)
    assert source.ids(str(path)) == ("train/train_c2_0", "val/val_c1_1")
    before = source.fingerprint([str(path)])
    image = source.image_path("val/val_c1_1")
    image.write_bytes(image.read_bytes() + b"\0")
    assert source.fingerprint([str(path)]) != before


# real images, against two other ways to draw their masks


@pytest.fixture
def real(test_data: Path) -> CocoSource:
    return CocoSource(test_data / "data/coco-mini", load_protocol("coco20i-a").classes, 2017)


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("part", ["train", "val"])
def test_each_real_annotation_survives_a_round_trip(part: str, test_data: Path) -> None:
    """Drawn as pycocotools draws it; its run lengths, as text and as a list, are read back as the same mask."""
    path = test_data / f"data/coco-mini/annotations/instances_{part}2017.json"
    table = COCO(str(path))
    forms = {list: 0, dict: 0}
    for annotation in table.anns.values():
        image = table.imgs[annotation["image_id"]]
        height, width = image["height"], image["width"]
        expected = table.annToMask(annotation)
        region = draw(annotation["segmentation"], height, width).region
        assert region is not None
        assert np.array_equal(coco_mask.decode(region), expected)
        text = {"size": [height, width], "counts": region["counts"].decode()}
        plain = run_lengths(text, height, width)
        assert plain["counts"] == lengths_of(expected)
        for written in (text, plain):
            again = draw(json.loads(json.dumps(written)), height, width)
            assert again.region == region
            assert again.pixels == expected.sum()
        x0, y0, columns, rows = coco_mask.toBbox(region) - annotation["bbox"]
        assert min(x0, y0) >= -1.5, "inside of COCO's box, but for rounding"
        assert max(x0 + columns, y0 + rows) <= 1.5
        forms[type(annotation["segmentation"])] += 1
    assert forms[list] > 1000
    assert forms[dict] > 5


@pytest.mark.real_data
def test_fingerprint_and_labels_of_real_images_are_pinned(real: CocoSource) -> None:
    """Recorded runs hold them."""
    protocol = load_protocol("coco20i-a", {"data.year": 2017})
    index = build_index(real, protocol)
    assert index.fingerprint == "9669f555be2732103fcb0c4c75bd8a02cf9e06a5fe467c20c6e390bd37cb3c72"
    labels = "".join(map(real.label_digest, (*real.ids("val"), *real.ids("train"))))
    assert sha256(labels.encode()) == "33b29f9627881a50bcb1209e7073dcd2d00ae705209851d8d7de5daa8ff02e20"
    said = [text.partition(";")[0] for text in index.source_remarks]
    assert said == [
        f"annotations/instances_{part}2017.json: {count} annotations with iscrowd 1, crowd regions: void, no objects "
        '(data.crowds = "object" makes them objects)'
        for part, count in (("train", 25), ("val", 21))
    ]


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
