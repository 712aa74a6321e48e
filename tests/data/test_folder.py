"""One folder a class: ids, masks, lists, and every kind of file that is missing or wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsseg_bench.data.index import build_index
from fsseg_bench.data.open import open_source
from fsseg_bench.data.sources.folder import FolderSource
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.load import load_protocol
from tests.support.datasets import HEIGHT, MAIN_PIXELS, WIDTH, save_image, scenes, write_class_folders
from tests.support.protocol_text import with_source, write

CLASSES = ("anchor", "barrel", "candle", "drum")


@pytest.fixture
def source(tmp_path: Path) -> FolderSource:
    return FolderSource(write_class_folders(tmp_path, 3, CLASSES), CLASSES)


def test_ids_are_class_and_name(source: FolderSource) -> None:
    assert source.ids("all") == tuple(f"{name}/{i:03}" for name in CLASSES for i in range(3))
    assert source.image_path("drum/001") == source.root / "drum/images/001.jpg"
    assert source.mask_path("drum/001") == source.root / "drum/masks/001.png"
    assert source.image("drum/001").shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("value", [1, 255])
def test_a_mask_is_that_of_the_folders_class(tmp_path: Path, value: int) -> None:
    source = FolderSource(write_class_folders(tmp_path, 2, CLASSES, value), CLASSES)
    box = next(scene.boxes[0] for scene in scenes("train", 2) if scene.name == "train_c2_1")
    expected = np.zeros((3, HEIGHT, WIDTH), dtype=np.uint8)
    expected[1, box.y0 : box.y1, box.x0 : box.x1] = 1
    assert np.array_equal(source.class_masks("barrel/001", [1, 2, 4]), expected)
    assert source.class_pixels("barrel/001") == {2: MAIN_PIXELS}


def test_an_empty_mask_shows_nothing(source: FolderSource) -> None:
    Image.new("L", (WIDTH, HEIGHT)).save(source.root / "anchor/masks/000.png")
    assert source.class_pixels("anchor/000") == {}
    assert source.class_masks("anchor/000", [1]).max() == 0


def test_lists_are_all_or_files(source: FolderSource, tmp_path: Path) -> None:
    path = tmp_path / "some.txt"
    path.write_text("drum/001\nanchor/000\n")
    assert source.ids(str(path)) == ("anchor/000", "drum/001")
    with pytest.raises(UserError, match=r"unknown list 'train'\. Known: a file that ends in \.txt, all"):
        source.ids("train")


def test_other_files_and_folders_do_not_matter(source: FolderSource) -> None:
    (source.root / "anchor/images/notes.md").write_text("mine")
    (source.root / "unused/images").mkdir(parents=True)
    assert len(source.ids("all")) == 12


def test_folders_inside_are_told(source: FolderSource) -> None:
    save_image(source.root / "drum/images/more/000.jpg", np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8))
    assert source.remarks([]) == ["folders inside are not looked into: 1 (drum/images/more)"]
    for path in (source.root / "drum/images").glob("*.jpg"):
        path.unlink()
    with pytest.raises(UserError, match=r"drum/images: has no images .*; move those of more into it, or take 'drum'"):
        FolderSource(source.root, CLASSES).ids("all")


def test_no_images(source: FolderSource) -> None:
    for path in (source.root / "candle/images").iterdir():
        path.rename(path.with_suffix(".gif"))
    with pytest.raises(UserError, match=r"candle/images: has no images .*take 'candle' off the classes"):
        FolderSource(source.root, CLASSES).ids("all")
    with pytest.raises(UserError, match=r"flute/images: has no images"):
        FolderSource(source.root, ["flute"]).ids("all")


def test_two_images_of_one_name(source: FolderSource) -> None:
    Image.new("RGB", (WIDTH, HEIGHT)).save(source.root / "drum/images/001.png")
    with pytest.raises(UserError, match=r"001\.png and 001\.jpg have the same name but for the suffix"):
        FolderSource(source.root, CLASSES).ids("all")


def test_missing_image_and_mask(source: FolderSource) -> None:
    with pytest.raises(UserError, match=r"drum/images/009: no such image"):
        source.image("drum/009")
    (source.root / "drum/masks/001.png").unlink()
    for use in (source.class_pixels, source.label_digest, lambda image: source.class_masks(image, [1])):
        with pytest.raises(UserError, match=r"drum/masks/001\.png: no such mask, but there is .*drum/images/001\.jpg"):
            use("drum/001")
    with pytest.raises(UserError, match=r"drum/masks/001\.png: no such mask"):
        source.fingerprint(["all"])


def test_a_protocol_opens_and_indexes_it(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "own-data", 3, ("ant", "bee", "cat", "dog", "eel", "fox"))
    text = with_source("folder").replace('["train"]', '["all"]').replace('["val"]', '["all"]')
    text = text.replace("train_excludes_test = true", "train_excludes_test = false").replace("2048", "60")
    protocol = load_protocol(write(tmp_path, text))
    source = open_source(protocol)
    assert isinstance(source, FolderSource)
    index = build_index(source, protocol)
    assert index.test_pairs(1) == {1: ("ant/000", "ant/001", "ant/002"), 2: ("bee/000", "bee/001", "bee/002")}
    assert set(index.train_pairs(1)) == {3, 4, 5}


def test_a_threshold_is_part_of_what_is_read_and_cached(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "own-data", 2, ("ant", "bee", "cat", "dog", "eel", "fox"))
    soft = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    soft[3:7, 5] = 127, 128, 200, 255
    Image.fromarray(soft).save(tmp_path / "own-data/ant/masks/000.png")
    text = with_source("folder").replace('["train"]', '["all"]').replace('["val"]', '["all"]')
    text = text.replace("train_excludes_test = true", "train_excludes_test = false").replace("2048", "1")
    path = write(tmp_path, text)
    strict = load_protocol(path)
    with pytest.raises(UserError, match=r"ant/masks/000\.png: the mask has the values 127, .*data\.mask_threshold"):
        build_index(open_source(strict), strict)
    found = {}
    for threshold, pixels in ((128, 3), (201, 1), (127, 4)):
        protocol = load_protocol(path, {"data.mask_threshold": str(threshold)})
        source = open_source(protocol)
        index = build_index(source, protocol)
        rows = index.frame[index.frame["image"] == "ant/000"]
        assert rows["pixels"].unique().tolist() == [pixels]
        assert np.array_equal(source.class_masks("ant/000", [2, 1])[1], soft >= threshold)
        content = source.content("ant/000", labels=True)
        mask = tmp_path / "own-data/ant/masks/000.png"
        assert content.files[mask.resolve()] == hashlib.sha256(mask.read_bytes()).hexdigest()
        found[threshold] = (index.fingerprint, content.label, protocol.digest)
        assert not index.source_remarks
    assert len({*sum(found.values(), (strict.digest,))}) == 10
    assert load_protocol(path, {"data.mask_threshold": "0"}).digest == strict.digest


def test_images_that_show_nothing_are_said(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "own-data", 2, ("ant", "bee", "cat", "dog", "eel", "fox"))
    Image.new("L", (WIDTH, HEIGHT), 99).save(tmp_path / "own-data/bee/masks/001.png")
    text = with_source("folder").replace('["train"]', "[]").replace('["val"]', '["all"]').replace("2048", "1")
    text = text[: text.index("2 = [")] + text[text.index("\n[data]") :]  # one fold: nothing is trained
    protocol = load_protocol(write(tmp_path, text), {"data.mask_threshold": "100"})
    index = build_index(open_source(protocol), protocol)
    assert index.test_pairs(1)[2] == ("bee/000",)
    assert index.source_remarks == (
        "images that show nothing of their class and are used nowhere, masks without a grey from 100 on "
        "(data.mask_threshold): 1 (bee/001)",
    )
