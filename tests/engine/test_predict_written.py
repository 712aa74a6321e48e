"""Results on disk, read back by Pillow and pycocotools; earlier files in the folder are said, never mixed in."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection
from pathlib import Path, PurePath

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from fsseg_bench.data.instances import load_instances
from fsseg_bench.data.loading import all_ways
from fsseg_bench.data.sources.coco import CocoSource
from fsseg_bench.engine.predict.predictor import Segmentation
from fsseg_bench.engine.predict.queries import Query
from fsseg_bench.engine.predict.supports import read_supports
from fsseg_bench.engine.predict.written import Format, Outputs
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.load import load_protocol

CLASSES = ("cup", "dog, big", "leaf")


def query(folder: Path, name: str, size: tuple[int, int]) -> Query:
    path = folder / "in" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (100, 100, 100)).save(path)
    return Query(path, PurePath(name))


def result(of: Query, seed: int, classes: tuple[str, ...] = CLASSES, values: int = 4) -> Segmentation:
    rng = np.random.RandomState(seed)
    width, height = Image.open(of.path).size
    mask = rng.randint(0, values, (height, width)).astype(np.uint8)
    return Segmentation(of.path, mask, rng.rand(height, width).astype(np.float32), classes)


@pytest.fixture
def queries(tmp_path: Path) -> list[Query]:
    return [
        query(tmp_path, "dog/a.jpg", (13, 7)),
        query(tmp_path, "cup/a.png", (5, 9)),
        query(tmp_path, "b.jpg", (4, 4)),
    ]


def written(
    queries: list[Query], out: Path, formats: Collection[Format], classes: tuple[str, ...] = CLASSES
) -> list[Segmentation]:
    results = [result(one, seed, classes, len(classes) + 1) for seed, one in enumerate(queries)]
    results[-1] = results[-1]._replace(mask=np.zeros_like(results[-1].mask))
    outputs = Outputs(out, queries, classes, formats)
    assert [place for *_, place in outputs.write_all(zip(queries, results, strict=True))]
    outputs.close()
    return results


def test_coco_read_by_pycocotools(queries: list[Query], tmp_path: Path) -> None:
    results = written(queries, tmp_path / "out", ["coco"])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["predictions.json"]
    coco = COCO(str(tmp_path / "out" / "predictions.json"))
    assert {entry["id"]: entry["name"] for entry in coco.loadCats(coco.getCatIds())} == dict(
        enumerate(CLASSES, start=1)
    )
    images = coco.loadImgs(coco.getImgIds())
    assert [image["file_name"] for image in images] == ["dog/a.jpg", "cup/a.png", "b.jpg"]
    for image, expected in zip(images, results, strict=True):
        assert (image["height"], image["width"]) == expected.mask.shape
        drawn = np.zeros_like(expected.mask)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]])):
            chosen = coco.annToMask(annotation) == 1
            assert not drawn[chosen].any()
            drawn[chosen] = annotation["category_id"]
            assert annotation["area"] == chosen.sum()
            assert annotation["score"] == pytest.approx(expected.probability[chosen].mean(), abs=1e-6)
            ys, xs = np.nonzero(chosen)
            assert annotation["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
        assert np.array_equal(drawn, expected.mask)
    content = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert len(coco.loadRes(content["annotations"]).anns) == 6


@pytest.mark.slow
@pytest.mark.real_data
def test_real_masks_and_boxes_survive_a_round_trip(test_data: Path, tmp_path: Path) -> None:
    """COCO's masks, written as predictions: pycocotools and the reader of data find them; boxes fit as supports."""
    classes = load_protocol("coco20i-a").classes
    source = CocoSource(test_data / "data/coco-mini", classes, 2017)
    queries, results = [], []
    for image in source.ids("val")[:50]:
        label = all_ways(source.class_masks(image, range(1, len(classes) + 1)))
        label[label == 255] = 0
        queries.append(Query(source.image_path(image), PurePath(source.image_path(image).name)))
        results.append(Segmentation(queries[-1].path, label, np.ones(label.shape, np.float32), classes))
    outputs = Outputs(tmp_path, queries, classes, ["coco"])
    assert len(list(outputs.write_all(zip(queries, results, strict=True)))) == 50
    outputs.close()
    coco, read = COCO(str(tmp_path / "predictions.json")), load_instances(tmp_path / "predictions.json")
    assert read.notes == []
    assert read.names == tuple(image["file_name"] for image in coco.loadImgs(coco.getImgIds()))
    for number, expected in enumerate(results):
        annotations = coco.imgToAnns[number + 1]
        regions = list(read.regions(number))
        assert (
            [a["category_id"] for a in annotations]
            == [r.category for r in regions]
            == np.unique(expected.mask)[1:].tolist()
        )
        for annotation, region in zip(annotations, regions, strict=True):
            mask = expected.mask == annotation["category_id"]
            assert np.array_equal(coco.annToMask(annotation) == 1, mask)
            assert np.array_equal(read.draw(number, region), mask)
            x, y, width, height = annotation["bbox"]
            (support,) = read_supports(np.zeros((*mask.shape, 3), np.uint8), [(x, y, x + width, y + height)])
            rows, columns = np.nonzero(mask)
            around = np.zeros_like(mask)
            around[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
            assert np.array_equal(support.mask == 1, around)


def test_pictures_of_several_classes(queries: list[Query], tmp_path: Path) -> None:
    results = written(queries, tmp_path / "out", ["png"])
    for place, expected in zip(("dog/a", "cup/a", "b"), results, strict=True):
        picture = Image.open(tmp_path / "out" / f"{place}-mask.png")
        assert picture.mode == "P"
        assert np.array_equal(np.asarray(picture), expected.mask)
        colours = np.reshape(picture.getpalette(), (256, 3))
        assert colours[0].tolist() == [0, 0, 0]
        assert len(np.unique(colours[:4], axis=0)) == 4
    with (tmp_path / "out" / "legend.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["value", "name"],
            ["0", "background"],
            *([str(i), n] for i, n in enumerate(CLASSES, 1)),
        ]
    assert len([path for path in (tmp_path / "out").rglob("*") if path.is_file()]) == 10


def test_earlier_files_are_said(queries: list[Query], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert Outputs(out, queries, CLASSES).notes == []
    written(queries[:2], out, ["png", "coco"])
    (out / "notes.txt").write_text("mine")
    again = Outputs(out, queries, ["cup"])
    assert again.notes == [
        f"{out}: 6 files of an earlier call are replaced",
        f"{out}: 3 files that this call does not write lie there already, and stay",
    ]
    again.leave_out(queries[0])  # an old mask must not pass for the result of a query that failed
    assert sorted(path.name for path in out.rglob("*") if path.is_file()) == [
        *("a-mask.png", "a-overlay.png", "a-probability.png", "legend.csv", "notes.txt", "predictions.json")
    ]


def test_names_that_would_meet(tmp_path: Path) -> None:
    same = [query(tmp_path, "a.jpg", (4, 4)), query(tmp_path, "a.png", (4, 4))]
    with pytest.raises(UserError, match=r"a.jpg and .*a.png would write the same files"):
        Outputs(tmp_path / "out", same, CLASSES)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match=r"--out .*in holds the query a.jpg"):
        Outputs(tmp_path / "in", same[:1], CLASSES)
    earlier = query(tmp_path, "out/x/a-mask.png", (4, 4))
    with pytest.raises(UserError, match=r"holds the query a-mask.png"):
        Outputs(tmp_path / "in" / "out", [earlier], CLASSES)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: cannot be written"):
        Outputs(tmp_path / "file", same[:1], CLASSES)
