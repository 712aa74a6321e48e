"""From a folder to a protocol: layouts, and what cannot be used."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fsseg_bench.data.index import build_index
from fsseg_bench.data.open import open_source
from fsseg_bench.data.own import survey as survey_of
from fsseg_bench.data.own.proposal import propose
from fsseg_bench.data.sources.coco import CocoKeys
from fsseg_bench.data.sources.folder import FolderKeys
from fsseg_bench.data.sources.voc import VocKeys
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.protocol.spec import Protocol
from tests.support.datasets import (
    CLASSES,
    HEIGHT,
    WIDTH,
    label_map,
    save_image,
    save_mask,
    scenes,
    write_class_folders,
    write_coco,
    write_voc,
)


def proposed(root: Path, name: str | None = None) -> Protocol:
    """The proposal, written and loaded."""
    for file, text in propose(root, name).files.items():
        (root / file).write_text(text, encoding="utf-8")
    return load_protocol(root / "protocol.toml")


def refused(root: Path) -> str:
    with pytest.raises(UserError) as error:
        propose(root)
    return str(error.value)


# One folder a class


def test_class_folders(tmp_path: Path) -> None:
    protocol = proposed(write_class_folders(tmp_path / "my photos", 3))
    assert protocol.name == "my-photos"
    assert protocol.classes == CLASSES
    assert protocol.data.source == "folder"
    assert protocol.data.root == "."
    assert protocol.data.train_list == protocol.data.test_list == ("all",)
    assert protocol.data.novel_in_train == "drop-image"
    assert not protocol.data.train_excludes_test
    assert protocol.data.min_object_pixels == WIDTH * HEIGHT // 100
    assert protocol.image.size == 65  # 8 n + 1, never smaller
    assert sorted(name for names in protocol.folds.values() for name in names) == sorted(CLASSES)


def test_every_key_is_explained_or_plain(tmp_path: Path) -> None:
    """Each setting has a comment above or beside it, name, version and description apart."""
    lines = propose(write_class_folders(tmp_path, 3)).files["protocol.toml"].splitlines()
    pairs = zip(["", *lines], lines, strict=False)
    bare = [now for before, now in pairs if " = " in now and "#" not in now and not before.startswith("#")]
    alone = ["name", "version", "description", "1", "2", "3", "4", "test_list"]  # the last is explained two lines above
    assert [line.split(" = ")[0] for line in bare] == alone


def test_missing_masks_are_named(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path, 3)
    (root / "drum/masks/001.png").unlink()
    assert refused(root).startswith(f"masks are missing: {root}/drum/masks/001.png; add them")
    shutil.rmtree(root / "anchor/masks")
    (root / "drum/masks/002.png").rename(root / "drum/masks/mask_002.png")
    message = refused(root)
    assert message.endswith("; these fit no image: 1 (drum/masks/mask_002.png)")
    assert (
        f"{root}/anchor/masks/000.png, {root}/anchor/masks/001.png, {root}/anchor/masks/002.png and 2 more" in message
    )


def test_empty_masks_are_told(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path, 4)
    Image.new("L", (WIDTH, HEIGHT)).save(root / "drum/masks/001.png")
    assert "images with an empty mask are never drawn: 1 (drum/001)" in propose(root).summary
    assert "drum 3/3" in propose(root).summary


def test_unusable_files_are_named(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path, 3)
    Image.new("L", (HEIGHT, WIDTH), 1).save(root / "drum/masks/001.png")
    assert "drum/masks/001.png is 30 x 40 pixels and its image" in refused(root)
    (root / "drum/masks/001.png").write_bytes(b"no")
    assert "drum/masks/001.png: the mask cannot be read" in refused(root)


def test_a_folder_without_images(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path, 3)
    (root / "empty/images").mkdir(parents=True)
    assert "empty/images: has no images" in refused(root)


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        (3, "3 folds in place of 4: no more classes have enough images"),
        (1, "one fold holds out all classes: methods can be tested here, but not trained"),
    ],
)
def test_fewer_folds_are_said(tmp_path: Path, classes: int, told: str) -> None:
    root = write_class_folders(tmp_path, 3, CLASSES[:classes])
    assert len(proposed(root).folds) == classes
    assert told in (lines := propose(root).summary.splitlines())
    assert ("  fold 1: anchor 3" in lines) == (classes == 1)


DEFAULT = FolderKeys()


@pytest.mark.parametrize(
    ("image", "mask", "keys", "single"),
    [
        ("{class}/{n}.jpg", "{class}/{n}.png", FolderKeys("{class}", "{class}"), False),  # FSS-1000
        ("Images/{class}/{n:02}.jpg", "Annotations/{class}/{n:02}.png", None, False),  # PerSeg
        ("{class}/{n}.png", "{class}/{n}_mask.png", FolderKeys("{class}", "{class}", "_mask"), False),
        ("{class}/images/{n}.webp", "{class}/masks/{n}-gt.bmp", FolderKeys(mask_suffix="-gt"), False),
        ("{class}/Images/{n}.JPG", "{class}/Masks/{n}.PNG", FolderKeys("{class}/Images", "{class}/Masks"), False),
        ("{class}/images/{n}.tif", "{class}/masks/{n}.TIFF", DEFAULT, False),
        ("images/{n}.jpg", "masks/{n}.png", FolderKeys("images", "masks"), True),
        ("{n}.jpeg", "{n}_mask.png", FolderKeys(".", ".", "_mask"), True),
    ],
)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_layouts_of_images_and_masks(
    tmp_path: Path, image: str, mask: str, keys: FolderKeys | None, single: bool, count: int
) -> None:
    root = tmp_path / "mine"
    names = ["mine"] if single else CLASSES[:count]
    for scene in scenes("train", 3):
        main, n = scene.boxes[0], int(scene.name[-1])
        if main.class_id <= len(names):
            place = {"class": names[main.class_id - 1], "n": n}
            save_image(root / image.format(**place), scene.image)
            (root / mask.format(**place)).parent.mkdir(parents=True, exist_ok=True)
            values = (label_map(scene, border=False) == main.class_id) * np.uint8(255)
            Image.fromarray(values).save(root / mask.format(**place))
    (root / image.format(**{"class": names[0], "n": 0})).with_name("._0.jpg").touch()
    (root / image.format(**{"class": names[0], "n": 0})).with_name("notes.md").touch()
    protocol = proposed(root)
    assert protocol.classes == tuple(names)
    assert protocol.data.options == (keys or FolderKeys("Images/{class}", "Annotations/{class}"))
    index = build_index(open_source(protocol), protocol)
    assert index.frame["pixels"].tolist() == [16 * 14] * (2 * 3 * len(names))
    hidden, others = index.source_remarks
    assert hidden.startswith("files of the system are passed over: 1 (")
    assert others.startswith("files of other kinds are not read: ")
    if keys == DEFAULT:
        assert "images = " not in (root / "protocol.toml").read_text()


def test_more_classes_than_bytes_have_values(tmp_path: Path) -> None:
    """FSS-1000 has 1,000."""
    for c in range(300):
        (tmp_path / f"c{c:03}").mkdir()
        for i in range(2):
            Image.new("L", (9, 9), 255).save(tmp_path / f"c{c:03}/{i}.png")
            Image.new("RGB", (9, 9)).save(tmp_path / f"c{c:03}/{i}.bmp")
    protocol = proposed(tmp_path)
    source = open_source(protocol)
    assert source.class_pixels("c299/1") == {300: 81}
    assert source.class_masks("c299/1", [44, 300])[:, 0, 0].tolist() == [0, 1]


def test_label_values_are_no_single_class(tmp_path: Path) -> None:
    """Masks of one value each, but of different ones: each would pass for a mask of the one class."""
    for i, value in enumerate((1, 2, 2, 0)):
        for kind in ("images", "masks"):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.new("L", (9, 9), value).save(tmp_path / kind / f"{i}.png")
    said = refused(tmp_path)
    assert "the masks have different values on their objects: 1 (0.png), 2 (1.png). Label values" in said
    root = write_class_folders(tmp_path / "folders", 3)
    Image.new("L", (WIDTH, HEIGHT), 1).save(root / "drum/masks/002.png")
    told = "masks of drum have different values, all taken for the object: 1 (002.png), 255 (000.png)"
    assert told in propose(root).summary


@pytest.mark.parametrize("masks", ["masks/{n}.jpg", "masks/{c}/{n}.jpg"])
def test_masks_in_jpegs_are_told(tmp_path: Path, masks: str) -> None:
    for n in (1, 2):
        for place in (masks, masks.replace("masks", "images")):
            path = tmp_path / place.format(c="cup", n=n)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (9, 9), 255).save(path)
    assert re.search(
        r"masks are missing: .*1\.jpg, but its format does not keep the values of a mask", refused(tmp_path)
    )


def test_lists_are_no_classes(tmp_path: Path) -> None:
    for kind, suffix in (("images", "jpg"), ("masks", "png")):
        (tmp_path / kind / "train").mkdir(parents=True)
        Image.new("L", (9, 9)).save(tmp_path / kind / "train" / f"1.{suffix}")
    assert "the folders train are lists of images and no classes. Use VOC's layout" in refused(tmp_path)


def test_names_that_only_resemble_masks(tmp_path: Path) -> None:
    for i in range(6):
        Image.new("RGB", (9, 9)).save(tmp_path / f"photo{i}.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "photo1_2.png")
    assert "none of the known layouts" in refused(tmp_path)


def test_masks_alone_and_lossy_masks_are_told(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path, 3)
    (root / "drum/images/001.jpg").unlink()
    protocol = proposed(root)
    remarks = build_index(open_source(protocol), protocol).source_remarks
    assert remarks == ("masks without an image are not used: 1 (drum/masks/001.png)",)
    for path in (root / "drum/masks").iterdir():
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
    said = r"masks are missing: .*drum/masks/000\.jpg, but its format does not keep the values of a mask"
    assert re.search(said, refused(root))


def test_images_are_decoded_where_they_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_class_folders(tmp_path, 3)
    assert "all 24 images and masks were decoded: none is broken" in propose(root).summary
    for name in ("anchor", "drum"):
        content = (root / name / "images/002.jpg").read_bytes()
        (root / name / "images/002.jpg").write_bytes(content[: len(content) // 2])
    assert re.fullmatch(r"2 images cannot be used: .*anchor/images/002\.jpg: .*drum/images/002\.jpg: .*", refused(root))
    monkeypatch.setattr(survey_of, "MOST_DECODED", 20)
    assert "not decoded: data verify does it" in propose(root).summary


# VOC's layout


def test_voc_as_labelme_and_others_write_it(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "mine", 3, 3)
    (root / "SegmentationClass").rename(root / "SegmentationClassPNG")
    (root / "SegmentationClass").mkdir()
    (root / "SegmentationClass/val_c1_0.npy").touch()
    lists = root / "ImageSets/Segmentation"
    for name in ("train", "val"):
        path = lists / f"{name}.txt"
        lines = [f"JPEGImages\\{line}.jpg" for line in path.read_text().splitlines()]
        path.rename(lists / f"{name.capitalize()}.txt").write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    (lists / "trainval.txt").write_text("train_c1_0\n")
    proposal = propose(root)
    assert "SegmentationClass/ holds no mask that can be read, and is not used" in proposal.summary
    assert "lists that are not used: trainval (used: train_list Train; test_list Val)" in proposal.summary
    assert "# Not used, but there: trainval." in proposal.files["protocol.toml"]
    protocol = proposed(root)
    assert protocol.data.options == VocKeys(("SegmentationClassPNG",))
    index = build_index(open_source(protocol), protocol)
    assert sorted(set(index.frame["image"][index.frame["split"] == "test"]))[0] == "val_c1_0"


def test_a_split_by_other_names_is_told(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "mine", 3, 3)
    (root / "ImageSets/Segmentation/val.txt").rename(root / "ImageSets/Segmentation/rest.txt")
    assert "all lists serve for training and for testing: rest, train" in propose(root).summary


def test_lists_beside_are_told(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "mine", 3, 3)
    (root / "ImageSets/Segmentation").rename(root / "ImageSets/Main")
    words = "so that these are not used: ImageSets/Main/train.txt, ImageSets/Main/val.txt"
    assert words in propose(root).summary


@pytest.mark.parametrize("name", ["classes.txt", "SegmentationClass", "ImageSets/Other", "shoe"])
def test_links_that_lead_nowhere_are_named(tmp_path: Path, name: str) -> None:
    root = write_voc(tmp_path / "mine", 3, 3)
    if name == "SegmentationClass":
        (root / name).rename(tmp_path / "moved")
    (root / name).symlink_to(tmp_path / "gone")
    assert f"{root / name}: is a link to {tmp_path / 'gone'}, which is not there" in refused(root)


def test_instance_files_that_are_gone_are_no_lists_less(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "mine", 3, 3)
    path = next((root / "annotations").glob("*train*.json"))
    path.unlink()
    path.symlink_to("/nowhere/train.json")
    assert f"{path}: is a link to /nowhere/train.json" in refused(root)


@pytest.mark.parametrize(("ending", "words"), [("\n1", "line break"), ("\u20281", "line break"), (" ", "blank")])
def test_names_that_no_list_holds_are_refused(tmp_path: Path, ending: str, words: str) -> None:
    root = write_voc(tmp_path / "mine", 3, 3)
    shutil.rmtree(root / "ImageSets")
    (root / "JPEGImages/val_c1_0.jpg").rename(root / f"JPEGImages/val_c1_0{ending}.jpg")
    assert words in refused(root)


def test_voc_with_lists(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "mine", 3, 3)
    (root / "classes.txt").write_text("\n".join(CLASSES))
    protocol = proposed(root)
    assert protocol.classes == CLASSES
    assert (protocol.data.source, protocol.data.options) == ("voc", VocKeys(("SegmentationClass",)))
    assert (protocol.data.train_list, protocol.data.test_list) == (("train",), ("val",))
    assert protocol.data.novel_in_train == "background"
    assert protocol.data.train_excludes_test


def test_voc_without_lists_gets_one(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "mine", 3, 3)
    shutil.rmtree(root / "ImageSets")
    (root / "SegmentationClass/val_c1_0.png").unlink()
    proposal = propose(root)
    images = proposal.files["all.txt"].splitlines()
    assert len(images) == 47
    assert "val_c1_0" not in images
    assert "images without a mask are not used: 1 (val_c1_0)" in proposal.summary
    protocol = proposed(root)
    assert protocol.data.test_list == (str(root / "all.txt"),)
    assert protocol.data.novel_in_train == "drop-image"
    assert protocol.classes[:2] == ("class-1", "class-2")


def test_a_class_with_one_image_is_in_no_fold(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "mine", 3, 3)
    labels = Image.open(root / "SegmentationClass/val_c1_0.png")
    rare = labels.point(lambda value: 9 if value == 1 else value)
    rare.save(root / "SegmentationClass/val_c1_0.png")
    protocol = proposed(root)
    assert "class-9" in protocol.classes
    assert all("class-9" not in names for names in protocol.folds.values())
    text = (root / "protocol.toml").read_text()
    assert "of them: class-9 (0)." in " ".join(text.replace("\n#", "").split())


def test_voc_problems(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "mine", 2, 2)
    (root / "SegmentationClass/val_c2_0.png").unlink()
    assert "val_c2_0: no mask val_c2_0.png" in refused(root)
    save_mask(root / "SegmentationClass/val_c2_0.png", label_of(3)[:-1])
    assert "val_c2_0.png is 40 x 29 pixels and its image" in refused(root)
    shutil.rmtree(root / "SegmentationClass")
    assert f"has JPEGImages/ but no masks; put them as PNGs into {root}/SegmentationClass" in refused(root)


def test_voc_without_any_match(tmp_path: Path) -> None:
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "SegmentationClass").mkdir()
    assert "has JPEGImages/ but no masks; put them as PNGs into" in refused(tmp_path)
    save_mask(tmp_path / "SegmentationClass/a.png", label_of(0)[:8, :8])
    assert "JPEGImages: has no images" in refused(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "JPEGImages/b.jpg")
    assert "b: no mask b.png in" in refused(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "JPEGImages/a.jpg")
    assert "no mask shows any class" in refused(tmp_path)


def label_of(value: int) -> npt.NDArray[np.uint8]:
    return np.full((HEIGHT, WIDTH), value, dtype=np.uint8)


# COCO's annotations


def test_coco(tmp_path: Path) -> None:
    protocol = proposed(write_coco(tmp_path / "mine", 3, 3, year=2014))
    assert protocol.classes == ("junk", *CLASSES)
    assert (protocol.data.source, protocol.data.options) == ("coco", CocoKeys(0))
    assert (protocol.data.train_list, protocol.data.test_list) == (("train2014",), ("val2014",))
    assert all("junk" not in names for names in protocol.folds.values())


def test_categories_that_one_file_lacks_are_told(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "mine", 3, 3)
    path = root / "annotations/instances_val2017.json"
    table = json.loads(path.read_text())
    table["categories"].append({"id": 999, "name": "kite"})
    path.write_text(json.dumps(table))
    proposal = propose(root)
    assert "categories that not every instance file has are not used: kite" in proposal.summary
    assert '"kite"' not in proposal.files["protocol.toml"]


def test_images_that_no_instance_file_lists_are_told(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "mine", 3, 3)
    assert "do not list" not in propose(root).summary
    folder = next(path.parent for path in root.rglob("*.jpg"))
    (folder / "other.jpg").write_bytes(next(folder.glob("*.jpg")).read_bytes())
    assert "images that the instance files in use do not list are left out: 1 (other.jpg)" in propose(root).summary


# Any layout


def test_no_known_layout(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    message = refused(tmp_path)
    assert message.startswith(f"{tmp_path}: holds pictures, which is none of the known layouts")
    assert "holds nothing" in refused(tmp_path / "pictures")
    assert refused(tmp_path / "nowhere") == f"{tmp_path}/nowhere: no such folder"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("above-folder", r"side by side, but \S*/above-folder/set does; give that"),
        ("above-voc", r"holds whole data sets, 1 \(set\), .*; give the folder of one, as \S*/above-voc/set,"),
        ("above-coco", r"holds whole data sets, 1 \(set\), .*; give the folder of one, as \S*/above-coco/set,"),
        ("above-folder/set/drum/images", r"side by side, but \S*/set/drum does; give that"),
        ("above-voc/set/JPEGImages", r"lies in a data set; if that is meant, give \S*/above-voc/set$"),
        ("above-coco/set/train2017", r"lies in a data set; if that is meant, give \S*/above-coco/set$"),
        ("above-coco/set/annotations", r"lies in a data set; if that is meant, give \S*/above-coco/set$"),
        ("cvat", r"has SegmentationClass/ but no JPEGImages/; put the images there, .* CVAT exports them where"),
        ("packed", r"none of the known layouts.* First unpack 1 \(mine\.zip\)$"),
    ],
)
def test_the_wrong_folder(tmp_path: Path, given: str, said: str) -> None:
    """One too high, one too low, or without the images: the message names the folder that is meant."""
    write_class_folders(tmp_path / "above-folder/set", 2)
    write_voc(tmp_path / "above-voc/set", 2, 2)
    write_coco(tmp_path / "above-coco/set", 2, 2)
    shutil.rmtree(write_voc(tmp_path / "cvat", 2, 2) / "JPEGImages")
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed/mine.zip").touch()
    assert re.search(said, refused(tmp_path / given))


@pytest.mark.parametrize(
    ("write", "added", "said"),
    [
        (write_class_folders, "zebra/", "not used, since they belong to no class: 1 (zebra)"),
        (write_class_folders, "1.JPG", "not used, since they belong to no class: 1 (1.JPG)"),
        (write_class_folders, "1.json", "not used, since they belong to no class: 1 (1.json)"),
        (lambda root: write_voc(root, 2, 2), "", "no file names the classes (classes.txt): they are called class-1"),
    ],
)
def test_what_is_not_used_is_said(tmp_path: Path, write: Callable[[Path], Path], added: str, said: str) -> None:
    root = write(tmp_path / "mine")
    (root / "classes.txt").unlink(missing_ok=True)
    before = propose(root).summary if added else ""
    (root / added).mkdir() if added.endswith("/") else (root / (added or "x.md")).touch()
    assert said not in before and said in propose(root).summary


def test_a_folder_whose_name_is_not_utf8(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / os.fsdecode(b"mine\xe9"), 2)
    assert refused(root).startswith(f"{tmp_path}/mine\\xe9: the name is not UTF-8")


def test_two_layouts_at_once(tmp_path: Path) -> None:
    write_class_folders(write_voc(tmp_path / "mine", 2, 2), 2)
    assert "has several layouts: VOC's (JPEGImages/) and one folder a class" in refused(tmp_path / "mine")


@pytest.mark.parametrize(
    ("side", "size", "least"), [(500, 417, 2048), (417, 417, 1738), (300, 297, 900), (64, 65, 40), (20, 65, 4)]
)
def test_size_and_least_pixels_follow_the_images(tmp_path: Path, side: int, size: int, least: int) -> None:
    for name in CLASSES[:4]:
        for kind, mode in (("images", "RGB"), ("masks", "L")):
            (tmp_path / name / kind).mkdir(parents=True)
            for i in range(2):
                Image.new(mode, (side, side), "white").save(tmp_path / name / kind / f"{i}.png")
    protocol = proposed(tmp_path)
    assert protocol.image.size == size
    assert protocol.data.min_object_pixels == least


def test_strange_names_survive(tmp_path: Path) -> None:
    names = ('with "quotes"', "dining table", "café", "back\\slash")
    root = write_class_folders(tmp_path / "_photos & more", 2, names)
    protocol = proposed(root)
    assert set(protocol.classes) == set(names)
    assert protocol.name == "_photos---more"


def test_many_classes_fill_several_lines(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path, 2, [f"a rather long name number {i}" for i in range(8)])
    text = propose(root).files["protocol.toml"]
    assert max(map(len, text.splitlines())) <= 120
    assert len(proposed(root).classes) == 8


def test_names_given_and_refused(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path, 2)
    assert proposed(root, "mine-2").name == "mine-2"
    for name in ("", ".mine", "my photos", "a/b"):
        with pytest.raises(UserError, match="--name"):
            propose(root, name)
