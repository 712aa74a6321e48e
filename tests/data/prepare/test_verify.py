"""Planted damage: each kind is found, and the file is named."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from fsseg_bench.data.prepare.prepare import protocol_of
from fsseg_bench.data.prepare.verify import Findings, verify
from fsseg_bench.errors import UserError
from fsseg_bench.progress import Progress
from tests.data.prepare.layouts import Small, labels, mask
from tests.data.prepare.running import Recorder, dataset_of, put, run
from tests.support.sbd import write_sbd

VOC = "VOCdevkit/VOC2012"


def save_mask(path: Path, values: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    Image.fromarray(values).save(path)


def other_values(path: Path) -> None:
    values = labels(65)
    values[0, 0] = 37
    save_mask(path, values)


def same_size_other_content(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-30] ^= 0xFF
    path.write_bytes(bytes(content))


LISTS, SBD = f"{VOC}/ImageSets/Segmentation", f"{VOC}/SBD/dataset"
JPEG, PNG, MAT = f"{VOC}/JPEGImages/2008_000065.jpg", f"{VOC}/SegmentationClass/2008_000065.png", "2008_000090.mat"


class Damage(NamedTuple):
    file: str
    do: Callable[[Path], object]
    full: str
    """What a full check of data without records says (a pattern)."""
    fast: bool
    """Whether --fast says it as well; else it finds nothing."""
    named: str = ""
    """What the message names when it is not the file."""


def edit(change: Callable[[str], str]) -> Callable[[Path], object]:
    return lambda path: path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


def coco_edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def do(path: Path) -> None:
        table = json.loads(path.read_text(encoding="utf-8"))
        change(table)
        path.write_text(json.dumps(table), encoding="utf-8")

    return do


WITH_TEST_IMAGE = "".join(f"2008_{n:06d}\n" for n in [*range(39), 45, *range(80, 120)])
PASCAL = {
    "image missing": Damage(JPEG, Path.unlink, r"no such image", True),
    "mask missing": Damage(PNG, Path.unlink, r"no mask 2008_000065\.png", True, "2008_000065"),
    "mask missing where SBD has one": Damage(
        f"{VOC}/SegmentationClass/2008_000045.png", Path.unlink, r"no such mask; .*cls/2008_000045 steps in", True
    ),
    "SBD mask missing": Damage(f"{SBD}/cls/{MAT}", Path.unlink, r"no mask .* or 2008_000090\.mat", True, "2008_000090"),
    "image empty": Damage(JPEG, lambda p: p.write_bytes(b""), r"is empty", True),
    "mask empty": Damage(PNG, lambda p: p.write_bytes(b""), r"is empty", True),
    "image cut": Damage(JPEG, lambda p: p.write_bytes(p.read_bytes()[:-200]), r"cannot be read", False),
    "image is a web page": Damage(JPEG, lambda p: p.write_text("<html>404</html>"), r"cannot be read", False),
    "image of another size": Damage(JPEG, lambda p: Image.new("RGB", (60, 64)).save(p), r"its image .* 60 x 64", False),
    "mask cut": Damage(PNG, lambda p: p.write_bytes(p.read_bytes()[:-60]), r"cannot be read", False),
    "mask of another size": Damage(PNG, lambda p: save_mask(p, labels(65)[:50]), r"is 64 x 50 pixels", False),
    "mask with colours": Damage(PNG, lambda p: Image.new("RGB", (64, 64)).save(p), r"holds colours", False),
    "mask with other values": Damage(PNG, other_values, r"label values 37 are outside", False),
    "SBD mask damaged": Damage(f"{SBD}/cls/{MAT}", lambda p: p.write_bytes(b"x" * 500), r"not a class mask", False),
    "list missing": Damage(f"{LISTS}/val.txt", Path.unlink, r"no such list", True),
    "list empty": Damage(f"{LISTS}/val.txt", lambda p: p.write_text(""), r"the list is empty", True),
    "list is no text": Damage(f"{LISTS}/val.txt", lambda p: p.write_bytes(b"\xff\xfe\n"), r"cannot be read", True),
    "list cut": Damage(f"{LISTS}/val.txt", edit(lambda t: t[:240]), r"has 20 images; it must have 40", True),
    "line repeated": Damage(f"{LISTS}/val.txt", edit(lambda t: t + "2008_000041\n"), r"is there 2 times", True),
    "line of no image": Damage(
        f"{LISTS}/val.txt", edit(lambda t: t + "2008_9\n"), r"no such image", True, "2008_9.jpg"
    ),
    "SBD list missing": Damage(f"{SBD}/train.txt", Path.unlink, r"no such list.*train\.txt", True),
    "SBD list cut": Damage(
        f"{SBD}/train.txt", edit(lambda t: t[:-24]), r"78 images; it must have 80", True, "trainaug"
    ),
    "test image in the training list": Damage(
        f"{LISTS}/trainaug.txt", lambda p: p.write_text(WITH_TEST_IMAGE), r"test images as well, 2008_000045", True
    ),
}
JSON, COCO_JPEG = "coco/annotations/instances_val2014.json", "coco/val2014/COCO_val2014_000000001007.jpg"
COCO = {
    "image missing": Damage(COCO_JPEG, Path.unlink, r"no such image", True),
    "image cut": Damage(COCO_JPEG, lambda p: p.write_bytes(p.read_bytes()[:-200]), r"cannot be read", False),
    "image empty": Damage(COCO_JPEG, lambda p: p.write_bytes(b""), r"is empty", True),
    "image of another size": Damage(
        COCO_JPEG, lambda p: Image.new("RGB", (64, 63)).save(p), r"says 64 x 64 pixels and its image .* 64 x 63", False
    ),
    "annotations missing": Damage(JSON, Path.unlink, r"No such file", True),
    "annotations cut": Damage(JSON, lambda p: p.write_bytes(p.read_bytes()[:-200]), r"not valid JSON", True),
    "annotations of another kind": Damage(JSON, lambda p: p.write_text("{}"), r"not an instance file", True),
    "images gone from the annotations": Damage(
        JSON, coco_edit(lambda t: [t["images"].pop(), t["annotations"].pop()]), r"159 images; it must have 160", True
    ),
    "annotation of no image": Damage(
        JSON, coco_edit(lambda t: t["annotations"][3].update(image_id=77)), r"annotation 4: image_id 77", True
    ),
    "category gone": Damage(JSON, coco_edit(lambda t: t["categories"].pop()), r"category_id 80", True),
}
ALL = [("pascal5i", kind) for kind in PASCAL] + [("coco20i", kind) for kind in COCO]


def prepared(small: Small, name: str, folder: Path) -> Path:
    run(small, folder / "root", name=name, given=(put(folder / "archives", small),))
    return folder / "root"


@pytest.fixture(scope="module")
def sound_pascal(pascal: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(pascal, "pascal5i", tmp_path_factory.mktemp("pascal"))


@pytest.fixture(scope="module")
def sound_coco(coco: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(coco, "coco20i", tmp_path_factory.mktemp("coco"))


def check(small: Small, root: Path, name: str = "pascal5i", fast: bool = False) -> Findings:
    dataset = dataset_of(small, name)
    return verify(dataset, protocol_of(dataset), root, Progress(), fast)


@pytest.mark.parametrize("fast", [True, False])
def test_sound_data(pascal: Small, coco: Small, sound_pascal: Path, sound_coco: Path, fast: bool) -> None:
    found = check(pascal, sound_pascal, fast=fast)
    assert found.problems == []
    assert found.notes[:2] == ["list trainaug: 80 images", "list val: 40 images"]
    assert any(note.startswith("PASCAL VOC 2012 trainval: 203 files from VOCtrainval") for note in found.notes)
    if not fast:
        assert "test: 40 pairs (image, class) with at least 2,048 pixels" in found.notes
        assert "train: 80 pairs (image, class) with at least 2,048 pixels" in found.notes
        assert "aeroplane: 2 images of val; PFENet's and BAM's lists have 81" in found.notes
        assert sum("PFENet" in note for note in found.notes) == 20
    found = check(coco, sound_coco, "coco20i", fast)
    assert found.problems == []
    assert found.notes[:2] == ["list train: 160 images", "list val: 160 images"]


@pytest.fixture
def copy(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str, bool], tuple[Small, Path]]:
    """A copy of sound data, with or without the records of their preparation."""

    def make(name: str, records: bool) -> tuple[Small, Path]:
        short = "pascal" if name == "pascal5i" else "coco"
        root = tmp_path / "root"
        shutil.copytree(request.getfixturevalue(f"sound_{short}"), root)
        if not records:
            shutil.rmtree(root / ".prepared")
        return request.getfixturevalue(short), root

    return make


Copy = Callable[[str, bool], tuple[Small, Path]]


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_damage_is_found_without_records(copy: Copy, name: str, kind: str) -> None:
    damage = (PASCAL if name == "pascal5i" else COCO)[kind]
    small, root = copy(name, False)
    assert check(small, root, name).problems == []
    damage.do(root / damage.file)
    wanted = re.compile(damage.full)
    for fast in (False, True):
        problems = check(small, root, name, fast).problems
        if fast and not damage.fast:
            assert problems == []
        else:
            assert [p for p in problems if wanted.search(p) and (damage.named or Path(damage.file).name) in p], problems


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_damage_is_found_with_records(copy: Copy, name: str, kind: str) -> None:
    """Whatever has changed: the file is named, at once where its size is another one."""
    damage = (PASCAL if name == "pascal5i" else COCO)[kind]
    small, root = copy(name, True)
    path = root / damage.file
    size = path.stat().st_size if path.exists() else None
    damage.do(path)
    now = path.stat().st_size if path.exists() else None
    for fast in (False, True):
        problems = check(small, root, name, fast).problems
        if size is None:  # a file that the preparation did not make
            assert problems
        elif not fast or now != size:
            wanted = re.compile(rf"{re.escape(str(path))}: (is missing|has [\d,]+ bytes|its content is not what was)")
            assert [p for p in problems if wanted.match(p)], problems


@pytest.mark.parametrize(
    ("file", "do"),
    [
        (JPEG, same_size_other_content),
        (f"{SBD}/cls/{MAT}", same_size_other_content),
        (f"{VOC}/JPEGImages/2008_000115.jpg", same_size_other_content),
        (PNG, lambda p: p.write_bytes(mask(66))),
        (f"{SBD}/cls/{MAT}", lambda p: write_sbd(p, labels(91))),
    ],
)
def test_sound_files_with_another_content(copy: Copy, file: str, do: Callable[[Path], object]) -> None:
    """Nothing but the record tells that a sound mask is not the right one."""
    small, root = copy("pascal5i", True)
    do(root / file)
    assert [p for p in check(small, root).problems if p.startswith(str(root / file))]


def test_another_fingerprint(copy: Copy) -> None:
    small, root = copy("pascal5i", True)
    for part in ("voc2012", "sbd"):
        (root / f".prepared/{part}.txt").unlink()
    (root / PNG).write_bytes(mask(66))
    (problem,) = check(small, root).problems
    assert re.search(r"pascal5i: the fingerprint is \w{64}; it was \w{64} when the data were prepared", problem)
    found = check(small, root)
    assert any("no record of its files" in note for note in found.notes)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("sbd.txt", "{}\n"),
        ("sbd.txt", ""),
        ("sbd.txt", '{"origin": "x", "files": 2}\n00000000 5 a\n'),
        ("sbd.txt", '{"origin": "x", "files": 1}\nzz 5 a\n'),
        ("pascal5i.json", "{"),
        ("pascal5i.json", "[]"),
        ("pascal5i.json", '{"fingerprint": "x", "subset": false, "images": {"val": "many"}}'),
    ],
)
def test_a_damaged_record(copy: Copy, file: str, content: str) -> None:
    small, root = copy("pascal5i", True)
    (root / ".prepared" / file).write_text(content)
    with pytest.raises(UserError, match=rf"{file}: the record is damaged .*delete it and prepare the data again"):
        check(small, root)


def test_a_subset_is_compared_with_what_was_prepared(copy: Copy, tmp_path: Path) -> None:
    small, theirs = copy("pascal5i", False)
    edit(lambda t: t[:240])(theirs / f"{LISTS}/val.txt")
    root = tmp_path / "subset"
    run(small, root, given=(theirs,), subset=True)
    found = check(small, root)
    assert found.problems == []
    assert not any("PFENet" in note for note in found.notes)
    edit(lambda t: t[:120])(root / f"{LISTS}/val.txt")
    assert any("has 10 images; it must have 20" in p for p in check(small, root).problems)


def test_published_counts_are_for_their_rule_alone(pascal: Small, sound_pascal: Path) -> None:
    dataset = dataset_of(pascal)
    protocol = protocol_of(dataset)
    data = dataclasses.replace(protocol.data, min_object_pixels=1)
    found = verify(dataset, dataclasses.replace(protocol, data=data), sound_pascal, Progress())
    assert not any("PFENet" in note for note in found.notes)


def test_every_file_is_read_and_shown(pascal: Small, sound_pascal: Path) -> None:
    dataset = dataset_of(pascal)
    progress = Recorder()
    verify(dataset, protocol_of(dataset), sound_pascal, progress)
    assert progress.done == {
        "looking for files": 120,
        "reading the files of voc2012": 203,
        "reading the files of sbd": 82,
        "reading images and masks": 120,
    }
