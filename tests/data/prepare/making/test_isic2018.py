"""ISIC 2018: the class of an image is that of the published table."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from fsseg_bench.data.prepare.making import isic2018
from fsseg_bench.errors import UserError
from tests.data.prepare.making import given
from tests.data.prepare.making.conftest import Made


def test_classes_and_what_is_left_out(tmp_path: Path, made: Made) -> None:
    raw = given.isic2018(tmp_path / "isic2018" / "raw")
    making = made(isic2018, "isic2018")
    counts = dict.fromkeys(("nevus", "seborrheic_keratosis", "melanoma"), 0)
    for name in making.placed:
        _, class_name, kind, file = name.split("/")
        counts[class_name] += kind == "images"
        assert (tmp_path / "isic2018" / class_name / "masks" / f"{file.partition('.')[0]}.png").is_file()
    assert counts == {"nevus": 1867, "seborrheic_keratosis": 208, "melanoma": 519}
    assert making.notes == ["images without a class, left out: 1 (ISIC_9999999)"]
    (raw / isic2018.MASKS / "ISIC_0000004_segmentation.png").unlink()
    with pytest.raises(UserError, match=r"ISIC_0000004_segmentation: no such mask; what was given is not the whole"):
        made(isic2018, "isic2018")


@pytest.mark.real_data
def test_the_lists_are_the_published_table(test_data: Path) -> None:
    with (test_data / "benchmarks" / "isic2018_class_id.csv").open(encoding="utf-8", newline="") as file:
        table = {row["image"]: row["class"] for row in csv.DictReader(file)}
    ours = {image: name for name in set(table.values()) for image in isic2018.images_of(name)}
    assert ours == table
