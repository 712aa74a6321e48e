"""Instance files that are not what they should be: the message names the file and the entry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from fsseg_bench.data.coco_json import run_lengths
from fsseg_bench.data.sources.coco import CocoSource
from fsseg_bench.errors import UserError
from tests.support.coco import box, crowd, one_image
from tests.support.datasets import CLASSES, HEIGHT, WIDTH, save_image, write_instances
from tests.support.datasets import run_lengths as lengths_of


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
