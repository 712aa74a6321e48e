"""The VOC layout: lists, images, masks in every form, and what is said when something is wrong."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from fsseg_bench.data.sources.voc import VocSource
from fsseg_bench.errors import UserError
from tests.support.datasets import CLASSES, label_map, save_image, save_mask, scenes, write_list, write_voc
from tests.support.png import read_indices
from tests.support.sbd import write_sbd

LABELS = {scene.name: label_map(scene) for scene in scenes("val", 2)}
ONE = "val_c3_1"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_voc(tmp_path / "data", train=2, val=2)


def reader(root: Path, *masks: str) -> VocSource:
    return VocSource(root, CLASSES, masks or ("SegmentationClass",))


def naive_masks(labels: np.ndarray, classes: list[int]) -> np.ndarray:
    """Pixel by pixel, from the words of the contract."""
    out = np.zeros((len(classes), *labels.shape), dtype=np.uint8)
    for (y, x), value in np.ndenumerate(labels):
        for i, c in enumerate(classes):
            out[i, y, x] = 255 if value == 255 else int(value == c)
    return out


# lists


def test_ids_are_sorted_and_distinct(root: Path) -> None:
    write_list(root, "mine", ["val_c2_0", "val_c1_1", "", "  val_c2_0  "])
    assert reader(root).ids("mine") == ("val_c1_1", "val_c2_0")
    assert reader(root).ids("val") == tuple(sorted(LABELS))


def test_list_with_two_paths_a_line(root: Path) -> None:
    write_list(root, "mine", ["/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png"])
    assert reader(root).ids("mine") == ("2007_000032",)


def test_names_may_hold_spaces_and_dots(root: Path) -> None:
    write_list(root, "mine", ["field 3 v1.2"])
    save_image(root / "JPEGImages" / "field 3 v1.2.png", np.zeros((4, 4, 3), dtype=np.uint8))
    assert reader(root).ids("mine") == ("field 3 v1.2",)
    assert reader(root).image("field 3 v1.2").shape == (4, 4, 3)


def test_missing_empty_and_unreadable_lists(root: Path) -> None:
    with pytest.raises(UserError, match=r"ImageSets/Segmentation/dev\.txt: no such list; put"):
        reader(root).ids("dev")
    write_list(root, "dev", ["", " "])
    with pytest.raises(UserError, match=r"dev\.txt: the list is empty"):
        reader(root).ids("dev")
    (root / "ImageSets/Segmentation/dev.txt").write_bytes(b"\xff\xfeabc")
    with pytest.raises(UserError, match=r"dev\.txt: the list cannot be read"):
        reader(root).ids("dev")


def test_trainaug_follows_its_rule(root: Path) -> None:
    write_list(root, "train", ["a", "b"])
    write_list(root, "val", ["c", "d"])
    sbd = root / "SBD" / "dataset"
    (sbd / "cls").mkdir(parents=True)
    (sbd / "train.txt").write_text("b\nc\ne\n")
    (sbd / "val.txt").write_text("d\nf\n")
    source = reader(root, "SegmentationClass", "SBD/dataset/cls")
    assert source.ids("trainaug") == ("a", "b", "e", "f")
    write_list(root, "trainaug", ["x"])
    assert source.ids("trainaug") == ("x",), "a list file takes precedence"


def test_trainaug_without_its_lists(root: Path) -> None:
    with pytest.raises(UserError, match=r"trainaug\.txt: no such list; put .* there, or SBD's own lists") as e:
        reader(root, "SegmentationClass", "SBD/dataset/cls").ids("trainaug")
    assert str(root / "SBD/dataset") + "/train.txt and val.txt" in str(e.value)
    with pytest.raises(UserError, match=r"trainaug\.txt: no such list; put the list .* there$"):
        reader(root).ids("trainaug")


# images


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png", "JPG", "PNG"])
def test_image_suffixes(root: Path, suffix: str) -> None:
    (root / "JPEGImages" / f"{ONE}.jpg").unlink()
    save_image(root / "JPEGImages" / f"{ONE}.{suffix}", np.full((30, 40, 3), 9, dtype=np.uint8))
    assert reader(root).image_path(ONE).name == f"{ONE}.{suffix}"
    assert reader(root).image(ONE).shape == (30, 40, 3)


def test_missing_and_corrupt_images(root: Path) -> None:
    path = root / "JPEGImages" / f"{ONE}.jpg"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match=rf"{ONE}\.jpg: the image cannot be read"):
        reader(root).image(ONE)
    path.unlink()
    for read in (reader(root).image, reader(root).class_pixels, lambda i: reader(root).class_masks(i, [1])):
        with pytest.raises(UserError, match=rf"JPEGImages/{ONE}\.jpg: no such image"):
            read(ONE)


# masks


@pytest.mark.parametrize("palette", [True, False])
def test_class_masks_and_pixels(tmp_path: Path, palette: bool) -> None:
    source = reader(write_voc(tmp_path, train=1, val=2, palette=palette))
    for image_id, labels in LABELS.items():
        masks = source.class_masks(image_id, [4, 3, 8])
        assert masks.dtype == np.uint8
        assert np.array_equal(masks, naive_masks(labels, [4, 3, 8]))
        expected = {int(c): int((labels == c).sum()) for c in np.unique(labels) if 0 < c < 255}
        assert source.class_pixels(image_id) == expected


def test_no_classes_asked_for(root: Path) -> None:
    assert reader(root).class_masks(ONE, []).shape == (0, 30, 40)


def test_first_folder_with_a_mask_wins(root: Path) -> None:
    other = np.full((30, 40), 5, dtype=np.uint8)
    for name in LABELS:
        write_sbd(root / "SBD/cls" / f"{name}.mat", other)
    save_mask(root / "Aug" / f"{ONE}.png", np.full((30, 40), 6, dtype=np.uint8), palette=False)
    (root / "SegmentationClass" / f"{ONE}.png").unlink()
    masks = ("SegmentationClass", "Aug", "SBD/cls")
    assert reader(root, *masks).class_pixels(ONE) == {6: 1200}
    assert reader(root, *masks).class_pixels("val_c1_0") == {1: 224}
    (root / "Aug" / f"{ONE}.png").unlink()
    assert reader(root, *masks).class_pixels(ONE) == {5: 1200}
    assert reader(root, *masks).mask_path(ONE) == root / "SBD/cls" / f"{ONE}.mat"


def test_missing_mask_names_every_folder(root: Path) -> None:
    (root / "SegmentationClass" / f"{ONE}.png").unlink()
    with pytest.raises(UserError, match=rf"{ONE}: no mask {ONE}\.png or {ONE}\.mat in .*SegmentationClass, .*Aug;"):
        reader(root, "SegmentationClass", "Aug").class_masks(ONE, [1])


@pytest.mark.parametrize(("height", "width"), [(40, 30), (30, 39), (31, 40)])
def test_mask_of_another_size(root: Path, height: int, width: int) -> None:
    save_mask(root / "SegmentationClass" / f"{ONE}.png", np.zeros((height, width), dtype=np.uint8))
    pattern = (
        rf"SegmentationClass/{ONE}\.png is {width} x {height} pixels and its image .*JPEGImages/{ONE}\.jpg 40 x 30"
    )
    for read in (reader(root).class_pixels, lambda i: reader(root).class_masks(i, [1])):
        with pytest.raises(UserError, match=pattern):
            read(ONE)


def test_labels_outside_the_classes(root: Path) -> None:
    labels = LABELS[ONE].copy()
    labels[0, :3] = (9, 254, 200)
    save_mask(root / "SegmentationClass" / f"{ONE}.png", labels)
    pattern = rf"SegmentationClass/{ONE}\.png: label values 9, 200, 254 are outside the protocol's 8 classes"
    for read in (reader(root).class_pixels, lambda i: reader(root).class_masks(i, [1])):
        with pytest.raises(UserError, match=pattern):
            read(ONE)


# identity


def test_fingerprint_follows_the_files(root: Path, tmp_path: Path) -> None:
    source = reader(root)
    first = source.fingerprint(["train", "val"])
    assert reader(root).fingerprint(["train", "val"]) == first
    assert source.fingerprint(["val"]) != first
    seen = {first}
    mask, image = root / "SegmentationClass" / f"{ONE}.png", root / "JPEGImages" / f"{ONE}.jpg"
    for path in (mask, image):
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
        seen.add(source.fingerprint(["train", "val"]))
    image.write_bytes(image.read_bytes() + b"\0")
    seen.add(source.fingerprint(["train", "val"]))
    write_list(root, "val", sorted(LABELS)[1:])
    seen.add(source.fingerprint(["train", "val"]))
    assert len(seen) == 5
    mask.unlink()
    with pytest.raises(UserError, match=f"{ONE}: no mask"):
        source.fingerprint(["val"])


def test_pickles(root: Path) -> None:
    copy = pickle.loads(pickle.dumps(reader(root)))
    assert copy.class_pixels(ONE) == reader(root).class_pixels(ONE)
    assert copy.classes == CLASSES


# real images


@pytest.mark.real_data
def test_real_masks_against_another_png_reader(test_data: Path) -> None:
    source = VocSource(test_data / "data/voc12-mini", [f"class {i}" for i in range(1, 21)], ["SegmentationClass"])
    void = 0
    for image_id in source.ids("val")[:6]:
        values = read_indices(test_data / f"data/voc12-mini/SegmentationClass/{image_id}.png")
        masks = source.class_masks(image_id, range(1, 21))
        for i, mask in enumerate(masks, start=1):
            assert np.array_equal(mask, np.where(values == 255, 255, values == i))
        present = {i: int((values == i).sum()) for i in range(1, 21) if (values == i).any()}
        assert source.class_pixels(image_id) == present
        void += int((values == 255).sum())
    assert void > 0, "the sample has no void pixel: choose other images"
