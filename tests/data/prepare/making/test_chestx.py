"""Chest X-ray: two collections, two ways to name a mask, two data sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsseg_bench.data.prepare.making import chestx
from tests.data.prepare.making import given
from tests.data.prepare.making.conftest import Made


@pytest.mark.parametrize(
    ("mask", "image"),
    [
        ("CHNCXR_0001_0_mask", "CHNCXR_0001_0"),
        ("MCUCXR_0001_0", "MCUCXR_0001_0"),
        ("CHNCXR_0001_0", None),
        ("MCUCXR_0001_0_mask", None),
        ("0001_mask", None),
    ],
)
def test_the_image_of_a_mask(mask: str, image: str | None) -> None:
    assert chestx.image_of_mask(mask) == image


@pytest.mark.parametrize("name", ["chestx-704", "chestx-566"])
def test_two_data_sets_of_one_archive(tmp_path: Path, made: Made, name: str) -> None:
    folder = given.chestx(tmp_path) / "Lung Segmentation"
    (folder / "masks" / "CHNCXR_0001_0.png").write_bytes((folder / "masks" / "MCUCXR_0001_0.png").read_bytes())
    (tmp_path / "chestx").mkdir()
    folder.rename(tmp_path / "chestx" / "raw")
    making = made(chestx, name)
    shenzhen = {"CHNCXR_0001_0", "CHNCXR_0002_0", "CHNCXR_0003_1"}
    montgomery = {"MCUCXR_0001_0", "MCUCXR_0002_1"} if name == "chestx-704" else set()
    found = {path.stem for path in (tmp_path / name / "lung" / "images").iterdir()}
    assert found == shenzhen | montgomery
    for image in found:
        source = f"{image}_mask" if image in shenzhen else image
        mask = tmp_path / name / "lung" / "masks" / f"{image}.png"
        assert mask.read_bytes() == (tmp_path / "chestx" / "raw" / "masks" / f"{source}.png").read_bytes()
    assert making.notes == [
        "images without a mask, left out: 1 (CHNCXR_0025_0)",
        "masks without an image, left out: 1 (CHNCXR_0999_1_mask.png)",
        "masks with a name of neither collection, left out: 1 (CHNCXR_0001_0.png)",
        "3 pairs of Shenzhen and 2 of Montgomery (chestx-566 has Shenzhen's alone)"
        if montgomery
        else "pairs of Montgomery, left out: 2 (MCUCXR_0001_0, MCUCXR_0002_1)",
    ]
