"""Pascal-Part and PACO-Part as COCO's instances."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from fsseg_bench.data.prepare.making import paco_part, pascal_part
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.load import load_protocol
from tests.data.prepare.making import given
from tests.data.prepare.making.conftest import Made


def instances(path: Path) -> tuple[dict[str, Any], dict[int, str], dict[int, str]]:
    """The file, file names by image id, and class names by category id."""
    table = json.loads(path.read_text(encoding="utf-8"))
    files = {image["id"]: image["file_name"] for image in table["images"]}
    names = {category["id"]: category["name"] for category in table["categories"]}
    assert len(names) == len(set(names.values()))
    return table, files, names


def test_pascal_part(tmp_path: Path, made: Made) -> None:
    given.pascal_part(tmp_path)
    making = made(pascal_part, "pascal-part")
    table, files, names = instances(tmp_path / "pascal-part" / "annotations" / "instances_val.json")
    classes = load_protocol("pascal-part").classes
    assert tuple(names[number] for number in range(1, 57)) == classes
    assert len(files) == 2 * len({name.partition(" ")[0] for name in classes})
    assert all((tmp_path / "pascal-part" / "images" / file).is_file() for file in files.values())
    shown: Counter[tuple[str, int]] = Counter()
    for entry in table["annotations"]:
        number = entry["object"]
        assert entry["object_bbox"] == [1 + 15 * number, 2, 15, 18]
        thing, _, part = names[entry["category_id"]].partition(" ")
        assert files[entry["image_id"]].startswith(f"{thing}_")
        mask = coco_mask.decode(entry["segmentation"])
        order = [name.partition(" ")[2] for name in classes if name.startswith(f"{thing} ")]
        wanted = np.zeros((given.H, given.W))
        left = 1 + 15 * number + 2 * order.index(part)
        wanted[3:13, left : left + 2] = 1
        np.testing.assert_array_equal(mask, wanted)
        shown[names[entry["category_id"]], number] += 1
    first = {
        next(name for name in classes if name.startswith(f"{thing} ")) for thing in {n.split(" ")[0] for n in classes}
    }
    assert shown == {(name, n): 2 for name in classes for n in range(2) if n == 0 or name not in first}
    assert making.notes == [
        "val entries (image, part) of the folds: 62, 8, 10, 32; "
        "published logs: 2,500 or more, 959, 2,500 or more, 2,500 or more",
        "parts that the benchmark does not score, left out: 1 (aeroplane TAIL)",
    ]


def test_pascal_part_in_another_spelling(tmp_path: Path, made: Made) -> None:
    place = given.pascal_part(tmp_path, images=1) / "VOCdevkit" / "VOC2010"
    for path in [place / pascal_part.LISTS, *(place / pascal_part.PARTS).iterdir()]:
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace('"LEG"', '"LEGS"').replace('"WINGS"', '"WING"'), encoding="utf-8")
    made(pascal_part, "pascal-part")
    table, _, names = instances(tmp_path / "pascal-part" / "annotations" / "instances_val.json")
    assert {names[entry["category_id"]] for entry in table["annotations"]} >= {"bird LEG", "bird WINGS", "person LEG"}


def test_pascal_part_says_what_does_not_fit(tmp_path: Path, made: Made) -> None:
    place = given.pascal_part(tmp_path, images=1) / "VOCdevkit" / "VOC2010"
    lists = json.loads((place / pascal_part.LISTS).read_text(encoding="utf-8"))
    lists["indoor"]["object"]["bottle"]["part"]["BODY"]["val"].append("cat_0")
    (place / pascal_part.LISTS).write_text(json.dumps(lists))
    said = made(pascal_part, "pascal-part").notes
    assert (
        said[-1]
        == "images listed for a part that their annotations do not have, not used for it: 1 (cat_0 bottle BODY)"
    )
    del lists["indoor"]["object"]["bottle"]
    (place / pascal_part.LISTS).write_text(json.dumps(lists))
    with pytest.raises(UserError, match=r"of the 56 classes 1 \(bottle BODY\) are not in it"):
        made(pascal_part, "pascal-part")
    (place / pascal_part.PARTS / "cat_0.json").write_text('{"object": [{"name": "cat", "bndbox": {}, "parts": []}]}')
    with pytest.raises(UserError, match=r"cat_0.json: is not as Matcher's archive has it: KeyError\('xmin'\)"):
        pascal_part.parts_of({"object": [{"name": "cat", "bndbox": {}}]}, frozenset(), Path("cat_0.json"))


def test_paco_part(tmp_path: Path, made: Made) -> None:
    raw = given.paco(tmp_path / "paco-part" / "raw")
    (tmp_path / "coco").mkdir()
    (raw / "train2017").rename(tmp_path / "coco" / "train2017")
    making = made(paco_part, "paco-part")
    home = tmp_path / "paco-part"
    table, files, names = instances(home / "annotations" / "instances_val.json")
    wanted = [f"{'mug' if i % 2 else 'chair'}:p{i}" for i in range(9)]
    assert list(names.values()) == wanted
    assert (home / "classes.txt").read_text(encoding="utf-8").split() == wanted
    folds = [(home / f"fold{number}.txt").read_text(encoding="utf-8").split() for number in (1, 2, 3, 4)]
    assert folds == [[wanted[0], wanted[4]], [wanted[1], wanted[5]], [wanted[2], wanted[6]], [wanted[3], wanted[7]]]
    assert sorted(files.values()) == [f"train2017/{image:012d}.jpg" for image in range(3)]
    assert all((home / "images" / file).is_file() for file in files.values())
    assert len(table["annotations"]) == 3 * 8 + 1
    for entry in table["annotations"]:
        image = int(files[entry["image_id"]][10:-4])
        mug = names[entry["category_id"]].startswith("mug:")
        assert entry["object"] == 1000 * (image + 1) + (0 if mug else 100)
        assert entry["object_bbox"] == [0.0 if mug else 16.0, 1.5, 15.5, 20.0]
    assert making.notes == [
        "classes of the folds: 2, 2, 2, 2; Matcher's at 1 shot, from another list of parts: 79, 82, 66, 76",
        "parts that fewer than 2 images show, in no fold: 1 (chair:p8)",
    ]


def test_paco_part_of_no_object(tmp_path: Path) -> None:
    raw = given.paco(tmp_path)
    table = json.loads((raw / "paco_lvis_v1_val.json").read_text(encoding="utf-8"))
    table["annotations"] = [entry for entry in table["annotations"] if entry["id"] != 1000]
    with pytest.raises(UserError, match=r"val\.json: is not as PACO-LVIS v1 has it: KeyError\(1000\)"):
        paco_part.photos_of(table, Path("val.json"))
