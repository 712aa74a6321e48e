"""Which images are one photo: links and copies are, whatever they are called; equal sizes alone are not."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsseg_bench.data.decode import sha256
from fsseg_bench.data.index import PairIndex, build_index
from fsseg_bench.data.open import open_source
from fsseg_bench.data.photos import find_copies, of_photos
from fsseg_bench.data.sources.voc import VocSource
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.episodes import sample_episodes
from tests.support.datasets import (
    tiny_protocol,
    write_class_folders,
    write_coco,
    write_instances,
    write_list,
    write_voc,
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSSEG_CACHE", str(tmp_path / "cache"))


def same_size(source: Path, target: Path) -> None:
    """Other bytes of equal number, the middle of them equal too."""
    data = bytearray(source.read_bytes())
    data[-3] ^= 1
    target.write_bytes(data)


def saved_anew(source: Path, target: Path) -> None:
    Image.open(source).save(target, quality=80)


def emptied(source: Path, target: Path) -> None:
    for path in (source, target):
        path.write_bytes(b"")


@pytest.mark.parametrize(
    ("make", "same"),
    [
        (shutil.copy, {"c": "b", "d": "b"}),
        (os.link, {"c": "b", "d": "b"}),
        (lambda source, target: target.symlink_to(source), {"c": "b", "d": "b"}),
        (lambda source, target: target.symlink_to(os.path.relpath(source, target.parent)), {"c": "b", "d": "b"}),
        (same_size, {"d": "b"}),
        (saved_anew, {"d": "b"}),
        (emptied, {}),
    ],
    ids=["copy", "hard link", "link", "relative link", "same size", "saved anew", "empty"],
)
def test_what_is_one_photo(make: Callable[[Path, Path], object], same: dict[str, str], tmp_path: Path) -> None:
    """b and d are made from c, in the same way."""
    images = tmp_path / "JPEGImages"
    images.mkdir()
    noise = np.random.RandomState(0).randint(0, 256, (4, 90, 90, 3)).astype(np.uint8)
    for name, pixels in zip("acef", noise, strict=True):
        Image.fromarray(pixels).save(images / f"{name}.jpg")
    make(images / "c.jpg", images / "b.jpg")
    make(images / "c.jpg", images / "d.jpg")
    assert find_copies(VocSource(tmp_path, "k", ()), "fecdba") == same


def test_photos_are_called_by_their_first_name() -> None:
    assert of_photos({"c": 1, "a": 2, "b": 1, "d": 2}) == {"c": "b", "d": "a"}


def test_only_files_of_equal_size_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive of 120,000 photos is not read to find its copies."""
    root = write_voc(tmp_path / "tiny-voc", train=1, val=1)
    images = sorted((root / "JPEGImages").iterdir())
    for i, path in enumerate(images):
        path.write_bytes(bytes(10_000 + i))
    images[3].write_bytes(bytes(10_004))
    read: list[Path] = []
    monkeypatch.setattr("fsseg_bench.data.photos.read_file", lambda path, _: read.append(path) or path.read_bytes())
    assert find_copies(VocSource(root, "k", ()), [path.stem for path in images]) == {images[4].stem: images[3].stem}
    assert sorted(read) == images[3:5]


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    source = VocSource(tmp_path, "k", ())
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(UserError, match=r"JPEGImages/a\.jpg: no such image"):
        find_copies(source, ["a"])


# in the index


def index_of(folder: Path, source: str, **values: object) -> PairIndex:
    protocol = tiny_protocol(folder, source, **values)
    return build_index(open_source(protocol), protocol)


def _voc_copy(root: Path) -> dict[str, str]:
    """A photo of the test list in the training list, under another name."""
    write_voc(root, train=2, val=2)
    for folder, suffix in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
        shutil.copy(root / folder / f"val_c3_0.{suffix}", root / folder / f"copied.{suffix}")
    write_list(root, "train", ["copied", *(f"train_c{c}_{j}" for c in range(1, 9) for j in (0, 1))])
    return {"copied": "val_c3_0"}


def _coco_link(root: Path) -> dict[str, str]:
    write_coco(root, train=2, val=2)
    path = root / "train2017" / "train_c3_0.jpg"
    path.unlink()
    path.symlink_to(root / "val2017" / "val_c3_0.jpg")
    return {"train2017/train_c3_0": "val2017/val_c3_0"}


@pytest.mark.parametrize(("source", "write"), [("voc", _voc_copy), ("coco", _coco_link)])
def test_a_test_photo_is_not_trained_on_whatever_its_name(
    source: str, write: Callable[[Path], dict[str, str]], tmp_path: Path
) -> None:
    same = write(tmp_path / f"tiny-{source}")
    for _ in range(2):  # read, then from the cache
        index = index_of(tmp_path, source)
        assert (index.left_out, index.copies) == (same, {})
        trained = {image for fold in index.protocol.folds for c in index.train_pairs(fold).values() for image in c}
        assert trained
        assert not trained & same.keys()
        ((image, other),) = same.items()
        assert index.remarks(index.protocol.folds) == [
            f"1 training image is left out: the test lists have the same photo under another name ({image} is {other})"
        ]
    kept = index_of(tmp_path, source, train_excludes_test=False)
    assert (kept.left_out, kept.copies) == ({}, {max(image, other): min(image, other)})
    assert any(image in images for images in kept.train_pairs(1).values())


def test_a_list_file_of_test_images_counts_too(tmp_path: Path) -> None:
    _voc_copy(tmp_path / "tiny-voc")
    listed = tmp_path / "mine.txt"
    listed.write_text("val_c3_0\nval_c4_0\n", encoding="utf-8")
    assert index_of(tmp_path, "voc", test_list=[str(listed)]).left_out == {"copied": "val_c3_0"}


def test_lists_of_one_shared_folder(tmp_path: Path) -> None:
    """COCO's layout with one images/: the lists name the same files, and their ids differ."""
    root = write_coco(tmp_path / "tiny-coco", train=2, val=2)
    (root / "val2017").rename(root / "images")
    whole = json.loads((root / "annotations" / "instances_val2017.json").read_text())
    shutil.rmtree(root / "train2017")
    write_instances(root, "train2017", whole["images"], whole["annotations"])
    few = whole["images"][:5]
    marked = [a for a in whole["annotations"] if a["image_id"] in {image["id"] for image in few}]
    write_instances(root, "val2017", few, marked)
    index = index_of(tmp_path, "coco")
    assert len(index.left_out) == 5
    files = {split: set(rows["image"].str.rpartition("/")[2]) for split, rows in index.frame.groupby("split")}
    assert len(files["train"]) == 11
    assert not files["train"] & files["test"]


def test_a_photo_in_two_class_folders_is_dropped_from_training(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "tiny-folder", count=4)
    shutil.copy(root / "anchor" / "images" / "001.jpg", root / "easel" / "images" / "003.jpg")
    lists = {"train_list": ["all"], "test_list": ["all"], "train_excludes_test": False}
    index = index_of(tmp_path, "folder", novel_in_train="drop-image", **lists)
    assert index.copies == {"easel/003": "anchor/001"}
    assert index.train_pairs(1)[5] == ("easel/000", "easel/001", "easel/002")  # fold 1 holds out anchor
    assert index.train_pairs(3)[1] == ("anchor/000", "anchor/002", "anchor/003")  # fold 3 holds out easel
    assert len(index.train_pairs(2)[5]) == len(index.train_pairs(2)[1]) == 4
    assert index.test_pairs(1)[1][1] == "anchor/001"
    assert [text.partition(":")[0] for text in index.remarks((1, 2, 3))] == [
        "fold 1",
        "fold 3",
        "1 image is the photo of another one (easel/003 is anchor/001)",
    ]
    everything = index_of(tmp_path, "folder", novel_in_train="background", **lists)
    assert len(everything.train_pairs(1)[5]) == 4
    assert len(everything.remarks((1,))) == 1


def test_a_photo_is_never_twice_in_an_episode(tmp_path: Path) -> None:
    """Three of four photos of two classes are the same ones, two of them twice in a class."""
    root = write_class_folders(tmp_path / "tiny-folder", count=6)
    for i in (0, 1, 2):
        shutil.copy(root / "anchor" / "images" / f"00{i}.jpg", root / "barrel" / "images" / f"00{i}.jpg")
    for i in (0, 1):
        shutil.copy(root / "anchor" / "images" / f"00{i}.jpg", root / "anchor" / "images" / f"00{i + 4}.jpg")
    index = index_of(tmp_path, "folder", train_list=["all"], test_list=["all"], train_excludes_test=False)
    digests = {i: sha256(index_file(root, i).read_bytes()) for i in set(index.frame["image"])}
    for way, shot in ((1, 3), (2, 1)):
        table = sample_episodes(index.protocol, 1, index.test_pairs(1), way, shot, index.copies)
        for i in range(len(table)):
            photos = [digests[image] for image in table.images(i)]
            assert len(set(photos)) == len(photos)
    with pytest.raises(UserError, match="'anchor' has 4"):
        sample_episodes(index.protocol, 1, index.test_pairs(1), 1, 4, index.copies)


def index_file(root: Path, image: str) -> Path:
    folder, name = image.split("/")
    return root / folder / "images" / f"{name}.jpg"


def test_without_copies_nothing_is_different(tmp_path: Path) -> None:
    write_voc(tmp_path / "tiny-voc", train=2, val=2)
    index = index_of(tmp_path, "voc")
    assert (index.copies, index.left_out, index.remarks(index.protocol.folds)) == ({}, {}, [])
    source = open_source(index.protocol)
    lines = [
        f"{int(split == 'val')} {image} {source.image_digest(image)} {source.label_digest(image)}\n"
        for split in ("val", "train")
        for image in source.ids(split)
    ]
    assert index.fingerprint == sha256("".join(lines).encode())


def test_copies_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    """They decide what is drawn and dropped: an image of equal size in place of a copy is another experiment."""
    root = write_class_folders(tmp_path / "tiny-folder", count=3)
    lists = {"train_list": ["all"], "test_list": ["all"], "train_excludes_test": False}
    shutil.copy(root / "anchor" / "images" / "001.jpg", root / "easel" / "images" / "001.jpg")
    one = index_of(tmp_path, "folder", **lists)
    same_size(root / "anchor" / "images" / "001.jpg", root / "easel" / "images" / "001.jpg")
    assert index_of(tmp_path, "folder", **lists).fingerprint != one.fingerprint
