"""The pair index: which images count for which class, and when it is read anew."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fsseg_bench.data.cachefile import load_arrays, save_arrays
from fsseg_bench.data.index import PairIndex, build_index
from fsseg_bench.data.open import open_source
from fsseg_bench.data.sources.voc import VocSource
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.load import load_protocol
from tests.support.datasets import CLASSES, save_mask, tiny_protocol, write_coco, write_list, write_protocol, write_voc

ARRAYS: dict[str, Any] = {"a": np.arange(5000), "b": np.array("text"), "names": np.array(["x", "yz"])}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FSSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The images whose masks were read."""
    seen: list[str] = []
    original: Callable[[VocSource, str], dict[int, int]] = VocSource.class_pixels

    def class_pixels(self: VocSource, image_id: str) -> dict[int, int]:
        seen.append(image_id)
        return original(self, image_id)

    monkeypatch.setattr(VocSource, "class_pixels", class_pixels)
    return seen


def build(folder: Path, source: str = "voc", **values: object) -> PairIndex:
    protocol = tiny_protocol(folder, source, **values)
    return build_index(open_source(protocol), protocol)


def repaint(root: Path, image_id: str, **boxes: tuple[slice, slice]) -> None:
    """Another mask for an image: ``c3=(rows, columns)`` paints class 3."""
    labels = np.zeros((30, 40), dtype=np.uint8)
    for name, where in boxes.items():
        labels[where] = int(name[1:])
    save_mask(root / "SegmentationClass" / f"{image_id}.png", labels)


# what is in it


@pytest.mark.parametrize(("source", "prefix"), [("voc", ""), ("coco", "val2017/")])
def test_pairs_by_hand(tmp_path: Path, source: str, prefix: str) -> None:
    (write_voc if source == "voc" else write_coco)(tmp_path / f"tiny-{source}", train=2, val=2)
    index = build(tmp_path, source)
    # Class c is the main object of its own two images and, with 64 px, in image 1 of the class before.
    assert index.test_pairs(2) == {
        3: (f"{prefix}val_c2_1", f"{prefix}val_c3_0", f"{prefix}val_c3_1"),
        4: (f"{prefix}val_c3_1", f"{prefix}val_c4_0", f"{prefix}val_c4_1"),
    }
    base = index.train_pairs(2)
    assert tuple(base) == (1, 2, 5, 6, 7, 8)
    train = prefix.replace("val", "train")
    assert base[1] == (f"{train}train_c1_0", f"{train}train_c1_1", f"{train}train_c8_1")
    assert base[5] == (f"{train}train_c4_1", f"{train}train_c5_0", f"{train}train_c5_1")


def test_frame_lists_every_class_of_every_image(tmp_path: Path) -> None:
    write_voc(tmp_path / "tiny-voc", train=1, val=2)
    frame = build(tmp_path, min_object_pixels=200).frame
    assert list(frame.columns) == ["image", "class", "pixels", "split", "listed"]
    assert frame.pop("listed").all()
    rows = [tuple(row) for row in frame.itertuples(index=False)]
    test = []
    for c in range(1, 9):
        test.append((f"val_c{c}_0", c, 224, "test"))
        test += sorted([(f"val_c{c}_1", c, 224, "test"), (f"val_c{c}_1", c % 8 + 1, 64, "test")])
    assert rows == test + [(f"train_c{c}_0", c, 224, "train") for c in range(1, 9)]


def test_min_object_pixels_is_the_least_that_counts(tmp_path: Path) -> None:
    write_voc(tmp_path / "tiny-voc", train=1, val=2)
    assert build(tmp_path, min_object_pixels=64).test_pairs(2)[3] == ("val_c2_1", "val_c3_0", "val_c3_1")
    assert build(tmp_path, min_object_pixels=65).test_pairs(2)[3] == ("val_c3_0", "val_c3_1")
    assert build(tmp_path, min_object_pixels=225).test_pairs(2) == {3: (), 4: ()}, "empty, but named"


def test_training_leaves_out_test_images(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "tiny-voc", train=1, val=1)
    write_list(root, "all", [f"{kind}_c{c}_0" for kind in ("train", "val") for c in range(1, 9)])
    apart = build(tmp_path, train_list=["all"])
    assert apart.train_pairs(1)[5] == ("train_c5_0",)
    together = build(tmp_path, train_list=["all"], train_excludes_test=False)
    assert together.train_pairs(1)[5] == ("train_c5_0", "val_c5_0")
    assert together.test_pairs(3)[5] == ("val_c5_0",)


def test_several_lists_are_united(tmp_path: Path) -> None:
    write_voc(tmp_path / "tiny-voc", train=1, val=1)
    index = build(tmp_path, test_list=["val", "train"])
    assert index.test_pairs(1)[1] == ("train_c1_0", "val_c1_0")
    assert index.train_pairs(1) == dict.fromkeys(range(3, 9), ())


def test_drop_image_rule(tmp_path: Path) -> None:
    """A training image with any pixel of a novel class is dropped, however small; test images are not."""
    root = write_voc(tmp_path / "tiny-voc", train=2, val=2)
    repaint(root, "train_c5_0", c5=(slice(0, 10), slice(0, 10)), c3=(slice(29, 30), slice(39, 40)))
    kept = build(tmp_path).train_pairs(2)
    assert kept[5] == ("train_c4_1", "train_c5_0", "train_c5_1")
    dropped = build(tmp_path, novel_in_train="drop-image")
    # Fold 2 holds out 3 and 4: gone are their own images and those beside which they appear.
    assert dropped.train_pairs(2)[5] == ("train_c5_1",)
    assert dropped.train_pairs(2)[2] == ("train_c1_1", "train_c2_0")
    assert dropped.train_pairs(3)[2] == ("train_c1_1", "train_c2_0", "train_c2_1"), "each fold by its own classes"
    assert dropped.test_pairs(2) == build(tmp_path).test_pairs(2)


def test_classes_in_no_fold_are_no_pairs(tmp_path: Path) -> None:
    write_voc(tmp_path / "tiny-voc", train=1, val=1)
    protocol = tiny_protocol(tmp_path)
    folds = {**protocol.folds, 4: ("globe",)}
    index = PairIndex(type(protocol)(**{**vars(protocol), "folds": folds}), "", build(tmp_path).frame)
    assert tuple(index.train_pairs(1)) == (3, 4, 5, 6, 7)


# the cache


def test_masks_are_read_once(tmp_path: Path, reads: list[str]) -> None:
    write_voc(tmp_path / "tiny-voc", train=1, val=1)
    first = build(tmp_path)
    assert sorted(reads) == sorted(f"{kind}_c{c}_0" for kind in ("train", "val") for c in range(1, 9))
    second = build(tmp_path)
    assert len(reads) == 16
    assert second.fingerprint == first.fingerprint
    assert second.frame.equals(first.frame)
    build(tmp_path, min_object_pixels=5, novel_in_train="drop-image")
    assert len(reads) == 16, "rules that act later share the index"


def test_changed_data_are_read_again(tmp_path: Path, reads: list[str], cache: Path) -> None:
    root = write_voc(tmp_path / "tiny-voc", train=1, val=1)
    first = build(tmp_path)
    repaint(root, "val_c1_0", c2=(slice(0, 10), slice(0, 10)))
    second = build(tmp_path)
    assert len(reads) == 32
    assert first.test_pairs(1) == {1: ("val_c1_0",), 2: ("val_c2_0",)}
    assert second.test_pairs(1) == {1: (), 2: ("val_c1_0", "val_c2_0")}
    assert first.fingerprint != second.fingerprint
    assert len(list((cache / "index").iterdir())) == 1, "the old index is replaced"


def test_changed_list_and_changed_settings(tmp_path: Path, reads: list[str]) -> None:
    root = write_voc(tmp_path / "tiny-voc", train=1, val=1)
    prints = {
        build(tmp_path).fingerprint,
        build(tmp_path, train_list=["train", "val"], train_excludes_test=False).fingerprint,
    }
    write_list(root, "val", [f"val_c{c}_0" for c in range(1, 8)])
    index = build(tmp_path)
    assert index.test_pairs(4)[8] == ()
    assert len({*prints, index.fingerprint}) == 3
    renamed = build(tmp_path, classes=[*CLASSES, "ninth"])
    assert renamed.fingerprint == index.fingerprint


def test_the_packages_protocols_and_ones_own_share_no_index(tmp_path: Path) -> None:
    """Of one's own data copies of a photo are found, of the package's they are left as papers had them."""
    images = write_voc(tmp_path / "tiny-voc", train=1, val=1) / "JPEGImages"
    shutil.copy(images / "val_c1_0.jpg", images / "train_c1_0.jpg")
    own = tiny_protocol(tmp_path, "voc")
    packaged, source = replace(own, home=None), open_source(own)
    left_out = [build_index(source, protocol).left_out for protocol in (own, packaged, own, packaged)]
    assert left_out == [{"train_c1_0": "val_c1_0"}, {}] * 2


def test_damaged_cache_is_made_again(tmp_path: Path, reads: list[str], cache: Path) -> None:
    write_voc(tmp_path / "tiny-voc", train=1, val=1)
    first = build(tmp_path)
    (path,) = (cache / "index").iterdir()
    path.write_bytes(path.read_bytes()[:700])
    second = build(tmp_path)
    assert second.frame.equals(first.frame)
    assert len(reads) == 32
    build(tmp_path)
    assert len(reads) == 32, "and kept"


def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_voc(tmp_path / "tiny-voc", train=1, val=1)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FSSEG_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"file/index: cannot be written.*FSSEG_CACHE"):
        build(tmp_path)


def test_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file.npz"
    save_arrays(path, ARRAYS)
    loaded = load_arrays(path, ARRAYS)
    assert loaded is not None
    assert all(np.array_equal(loaded[key], ARRAYS[key]) for key in ARRAYS)
    save_arrays(path, {"a": np.arange(3)})
    replaced = load_arrays(path, ["a"])
    assert replaced is not None
    assert replaced["a"].tolist() == [0, 1, 2]
    assert [p.name for p in path.parent.iterdir()] == ["file.npz"]


def test_absent_or_lacking_an_array(tmp_path: Path) -> None:
    assert load_arrays(tmp_path / "none.npz", ["a"]) is None
    save_arrays(tmp_path / "f.npz", ARRAYS)
    assert load_arrays(tmp_path / "f.npz", ["a", "c"]) is None


def test_damage_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "f.npz"
    save_arrays(path, ARRAYS)
    sound = path.read_bytes()
    flipped = bytearray(sound)
    flipped[2000] ^= 1
    for damaged in (b"", b"junk", sound[:3000], sound[:-30], bytes(flipped)):
        path.write_bytes(damaged)
        assert load_arrays(path, ARRAYS) is None


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", a=np.array([{"an": "object"}], dtype=object))
    assert load_arrays(tmp_path / "f.npz", ["a"]) is None


# identity


@pytest.mark.parametrize("source", ["voc", "coco"])
def test_fingerprint_is_the_same_in_another_place(tmp_path: Path, source: str) -> None:
    (write_voc if source == "voc" else write_coco)(tmp_path / f"a/tiny-{source}", train=1, val=1)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for path in (tmp_path / "b").rglob("*"):
        os.utime(path, ns=(0, 10**9))
    assert build(tmp_path / "a", source).fingerprint == build(tmp_path / "b", source).fingerprint


def test_fingerprint_sees_labels_that_only_moved(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "tiny-voc", train=1, val=1)
    repaint(root, "val_c1_0", c1=(slice(0, 10), slice(0, 10)))
    first = build(tmp_path)
    repaint(root, "val_c1_0", c1=(slice(5, 15), slice(5, 15)))
    second = build(tmp_path)
    assert first.frame.equals(second.frame)
    assert first.fingerprint != second.fingerprint


# bad input


def test_an_error_in_one_mask_names_it_and_keeps_nothing(tmp_path: Path, cache: Path) -> None:
    root = write_voc(tmp_path / "tiny-voc", train=2, val=2)
    mask = root / "SegmentationClass/train_c6_1.png"
    sound = mask.read_bytes()
    mask.write_bytes(sound[:60])
    with pytest.raises(UserError, match=r"SegmentationClass/train_c6_1\.png: the mask cannot be read"):
        build(tmp_path)
    assert not (cache / "index").exists()
    mask.write_bytes(sound)
    assert build(tmp_path).train_pairs(1)[6] == ("train_c5_1", "train_c6_0", "train_c6_1")


def test_a_missing_image_of_a_list(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "tiny-voc", train=1, val=1)
    (root / "JPEGImages/val_c2_0.jpg").unlink()
    with pytest.raises(UserError, match=r"JPEGImages/val_c2_0\.jpg: no such image"):
        build(tmp_path)


# real images


@pytest.mark.real_data
def test_voc12_mini_has_the_pairs_of_its_readme(test_data: Path) -> None:
    protocol = load_protocol(Path(__file__).parents[1] / "fixtures/voc12-mini.toml")
    source = open_source(protocol, test_data / "data")
    index = build_index(source, protocol)
    expected = {
        1: {"bottle": (14, 10), "car": (34, 22), "cat": (88, 54)},
        2: {"chair": (72, 41), "cow": (83, 47), "dog": (118, 67)},
        3: {"horse": (80, 50), "person": (115, 67), "pottedplant": (29, 23)},
        4: {"sheep": (81, 49), "sofa": (69, 39), "tvmonitor": (22, 16)},
    }
    assert {f: tuple(c) for f, c in expected.items()} == dict(protocol.folds)
    assert (len(source.ids("train")), len(source.ids("val"))) == (453, 267)
    for fold in protocol.folds:
        test = {protocol.class_name(c): len(images) for c, images in index.test_pairs(fold).items()}
        assert test == {name: counts[1] for name, counts in expected[fold].items()}
        train = {protocol.class_name(c): len(images) for c, images in index.train_pairs(fold).items()}
        others = {k: v[0] for f in expected if f != fold for k, v in expected[f].items()}
        assert train == others


@pytest.mark.real_data
def test_coco_mini_has_every_class(test_data: Path) -> None:
    protocol = load_protocol("coco20i-b", {"data.year": "2017", "data.min_object_pixels": "1"})
    source = open_source(protocol, test_data / "data/coco-mini")
    index = build_index(source, protocol)
    assert (len(source.ids("train")), len(source.ids("val"))) == (294, 206)
    assert set(index.frame["class"]) == set(range(1, 81))
    assert all(image.startswith("val2017/") for images in index.test_pairs(1).values() for image in images)
    assert all(image.startswith("train2017/") for images in index.train_pairs(1).values() for image in images)


# the order of list files


def test_pairs_in_the_order_of_a_list(tmp_path: Path) -> None:
    """Pairs of other folds, and those that are too small, are left out; the fingerprint is that of the same pairs."""
    write_voc(tmp_path / "tiny-voc", train=1, val=2)
    pairs = tmp_path / "pairs.txt"
    lines = ["val_c4_1__4", "val_c4_1__4", "val_c3_1__03", "val_c1_0__01", "val_c2_1__3", "val_c3_1__4"]
    fingerprints = []
    for order in (1, -1):
        pairs.write_text("\n".join(lines[::order]))
        protocol = load_protocol(
            write_protocol(tmp_path / "tiny-voc.toml", "voc", test_list=["pairs.txt"], min_object_pixels=100),
            {"episodes.class_sampling": "each-pair"},
        )
        index = build_index(open_source(protocol), protocol)
        fingerprints.append(index.fingerprint)
        assert index.test_order(2) == ((4, "val_c4_1"), (3, "val_c3_1"))[::order]
        assert index.test_order(1) == ((1, "val_c1_0"),)
        assert index.test_order(4) == ()
    assert fingerprints[0] == fingerprints[1]


def test_images_in_the_order_of_a_list(tmp_path: Path) -> None:
    write_voc(tmp_path / "tiny-voc", train=1, val=2)
    (tmp_path / "images.txt").write_text("val_c3_1\nval_c4_0\nval_c2_1\n")
    path = write_protocol(tmp_path / "tiny-voc.toml", "voc", test_list=["images.txt"])
    text = path.read_text().replace('["candle", "drum"]', '["drum", "candle"]')
    for sampling, wanted in (
        ("each-image", ((4, "val_c3_1"), (3, "val_c3_1"), (4, "val_c4_0"), (3, "val_c2_1"))),
        ("uniform", ()),
    ):
        path.write_text(text)
        protocol = load_protocol(path, {"episodes.class_sampling": sampling})
        assert build_index(open_source(protocol), protocol).test_order(2) == wanted


def test_names_of_lists_have_no_order(tmp_path: Path) -> None:
    write_voc(tmp_path / "tiny-voc", train=1, val=2)
    protocol = load_protocol(write_protocol(tmp_path / "tiny-voc.toml"), {"episodes.class_sampling": "each-pair"})
    assert build_index(open_source(protocol), protocol).test_order(2) == ()
