"""Instance files of one's own: names without a year, images in other places, list files."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsseg_bench.data.sources.coco import CocoSource
from fsseg_bench.errors import UserError
from tests.support.datasets import CLASSES, write_coco


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """annotations/instances_train.json, train/ and the same for val."""
    root = write_coco(tmp_path, 1, 2, year=2017)
    for name in ("train", "val"):
        (root / f"{name}2017").rename(root / name)
        (root / "annotations" / f"instances_{name}2017.json").rename(root / "annotations" / f"instances_{name}.json")
    return root


def test_names_without_a_year(root: Path) -> None:
    source = CocoSource(root, CLASSES, 0)
    assert source.ids("val")[:2] == ("val/val_c1_0", "val/val_c1_1")
    assert source.image_path("val/val_c1_0") == root / "val" / "val_c1_0.jpg"
    assert source.class_pixels("val/val_c1_0") == {1: 224}


@pytest.mark.parametrize("place", ["images/val", "images", "."])
def test_images_may_lie_elsewhere(root: Path, place: str) -> None:
    target = root / place
    target.mkdir(parents=True, exist_ok=True)
    for path in (root / "val").iterdir():
        path.rename(target / path.name)
    source = CocoSource(root, CLASSES, 0)
    assert source.image_path("val/val_c1_0") == target / "val_c1_0.jpg"
    assert source.fingerprint(["val"]) == source.fingerprint(["val"])


def test_images_nowhere_are_missed_at_the_official_place(root: Path) -> None:
    for path in (root / "val").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"val/val_c1_0\.jpg: no such image and 15 more"):
        CocoSource(root, CLASSES, 0).ids("val")


def test_has_image(root: Path) -> None:
    source = CocoSource(root, CLASSES, 0)
    assert source.has_image("val/val_c1_0")
    assert not source.has_image("val/val_c1_9")
    assert not source.has_image("nowhere/val_c1_0")


def test_damaged_annotations_are_not_taken_for_an_unknown_image(root: Path) -> None:
    (root / "annotations/instances_val.json").write_text("{")
    with pytest.raises(UserError, match=r"instances_val\.json: not valid JSON"):
        CocoSource(root, CLASSES, 0).has_image("val/val_c1_0")


def test_a_list_file_may_mix_instance_files(root: Path) -> None:
    path = root / "some.txt"
    path.write_text("train/train_c2_0\nval/val_c1_1\n")
    source = CocoSource(root, CLASSES, 0)
    assert source.ids(str(path)) == ("train/train_c2_0", "val/val_c1_1")
    before = source.fingerprint([str(path)])
    image = source.image_path("val/val_c1_1")
    image.write_bytes(image.read_bytes() + b"\0")
    assert source.fingerprint([str(path)]) != before
