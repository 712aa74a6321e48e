"""List files: every form of line, what is refused, and what a restriction of pairs does to the index."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsseg_bench.data.index import PairIndex, build_index
from fsseg_bench.data.lists import in_order, read_list, read_list_file
from fsseg_bench.data.open import open_source
from fsseg_bench.data.source import Source
from fsseg_bench.data.sources.coco import CocoSource
from fsseg_bench.data.sources.voc import VocSource
from fsseg_bench.errors import UserError
from tests.support.datasets import CLASSES, save_image, scenes, tiny_protocol, write_coco, write_voc


@pytest.fixture
def voc(tmp_path: Path) -> VocSource:
    return VocSource(write_voc(tmp_path / "tiny-voc", 2, 2), CLASSES, ["SegmentationClass"])


def write(folder: Path, *lines: str) -> Path:
    path = folder / "mine.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def refused(source: Source, path: Path) -> str:
    with pytest.raises(UserError) as error:
        read_list_file(source, path)
    return str(error.value)


IMAGE = "val_c2_1"
FORMS = [
    IMAGE,
    f"  {IMAGE}\t",
    f"{IMAGE}.jpg",
    f"JPEGImages/{IMAGE}.jpg",
    f"/JPEGImages/{IMAGE}.jpg /SegmentationClassAug/{IMAGE}.png",
    f"JPEGImages/{IMAGE}.jpg SegmentationClassAug/another-name.png",
    f"../VOC2012/JPEGImages/{IMAGE}.jpg ../VOC2012/SegmentationClassAug/{IMAGE}.png",
]


COMPOSED, DECOMPOSED = "my caf\N{LATIN SMALL LETTER E WITH ACUTE}", "my cafe\N{COMBINING ACUTE ACCENT}"


@pytest.mark.parametrize("line", [f"JPEGImages\\{COMPOSED}.JPG", DECOMPOSED, "my%20caf%C3%A9", f"x/{DECOMPOSED}.jpg"])
def test_other_spellings_of_a_name(voc: VocSource, tmp_path: Path, line: str) -> None:
    """The id is that of the file, in a list file as in a list of VOC's own."""
    images = voc.root / "JPEGImages"
    (images / "val_c1_0.jpg").rename(images / f"{COMPOSED}.jpg")
    for path in (tmp_path / "mine.txt", voc.root / "ImageSets/Segmentation/mine.txt"):
        path.write_bytes(f"{line}\r\n".encode("utf-8-sig"))
    assert list(read_list_file(voc, tmp_path / "mine.txt")) == [COMPOSED]
    if "x/" not in line:
        assert voc.ids("mine") == (COMPOSED,)


def test_lines_of_vocs_other_lists_are_no_names(voc: VocSource) -> None:
    """ImageSets/Main/dog_val.txt says of each image whether it shows a dog: 1 or -1."""
    path = voc.root / "ImageSets/Segmentation/mine.txt"
    path.write_text("val_c1_0 -1\n/nowhere/JPEGImages/val_c1_1.jpg x/y.png\n")
    assert voc.ids("mine") == ("val_c1_0 -1", "val_c1_1")
    with pytest.raises(UserError, match=r"val_c1_0 -1\.jpg: no such image"):
        voc.fingerprint(["mine"])


@pytest.mark.parametrize("line", FORMS)
def test_forms_of_a_line(voc: VocSource, tmp_path: Path, line: str) -> None:
    assert read_list_file(voc, write(tmp_path, line)) == {IMAGE: None}
    assert voc.ids(str(write(tmp_path, line))) == (IMAGE,)


def test_image_and_class(voc: VocSource, tmp_path: Path) -> None:
    lines = ["val_c2_1__02", "train_c1_0__01", "", "val_c2_1__3", "val_c2_1__02"]
    listed = read_list_file(voc, write(tmp_path, *lines))
    assert list(listed.items()) == [("train_c1_0", {1}), ("val_c2_1", {2, 3})]


def test_lines_in_order(voc: VocSource, tmp_path: Path) -> None:
    """Several lists one after the other; a name that is no file stands for its images by id."""
    pairs = write(tmp_path, "val_c2_1__3", "val_c1_0__01", "val_c2_1__2")
    assert in_order(voc, [str(pairs)]) == (("val_c2_1", 3), ("val_c1_0", 1), ("val_c2_1", 2))
    (voc.root / "ImageSets/Segmentation/few.txt").write_text("val_c3_0\nval_c2_0\n")
    images = tmp_path / "images.txt"
    images.write_text("val_c4_1\nval_c4_0.jpg\n")
    assert in_order(voc, [str(images), "few"]) == (("val_c4_1", 0), ("val_c4_0", 0), ("val_c2_0", 0), ("val_c3_0", 0))


def test_classes_of_four_digits(voc: VocSource, tmp_path: Path) -> None:
    many = VocSource(voc.root, [f"class {i}" for i in range(1, 1205)], ["SegmentationClass"])
    assert read_list_file(many, write(tmp_path, f"{IMAGE}__1203", f"{IMAGE}__0007")) == {IMAGE: {7, 1203}}
    assert "class 1205 is not a label value 1 to 1204" in refused(many, write(tmp_path, f"{IMAGE}__1205"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_lists_as_windows_writes_them(voc: VocSource, tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(f"{IMAGE}\r\ntrain_c1_0\r\n".encode(encoding))
    assert list(read_list_file(voc, path)) == ["train_c1_0", IMAGE]


def test_a_name_that_looks_like_a_pair_stays_a_name(voc: VocSource, tmp_path: Path) -> None:
    save_image(voc.root / "JPEGImages" / "holiday__02.jpg", next(scenes("val", 1)).image)
    assert read_list_file(voc, write(tmp_path, "holiday__02", "val_c2_1")) == {"holiday__02": None, "val_c2_1": None}


def test_names_with_blanks(voc: VocSource, tmp_path: Path) -> None:
    save_image(voc.root / "JPEGImages" / "at the sea.jpg", next(scenes("val", 1)).image)
    assert read_list_file(voc, write(tmp_path, "at the sea", "JPEGImages/at the sea.jpg")) == {"at the sea": None}


def test_a_name_is_read_from_the_source(voc: VocSource) -> None:
    assert read_list(voc, "val") == dict.fromkeys(voc.ids("val"))


def test_coco_ids_are_found_in_paths(tmp_path: Path) -> None:
    source = CocoSource(write_coco(tmp_path / "coco", 1, 2), CLASSES, 2017)
    assert read_list_file(source, write(tmp_path, "val2017/val_c1_0")) == {"val2017/val_c1_0": None}
    assert read_list_file(source, write(tmp_path, "val2017/val_c2_0__02")) == {"val2017/val_c2_0": {2}}
    path_line = "images/train2017/train_c3_0.jpg annotations/train2017/train_c3_0.png"
    assert read_list_file(source, write(tmp_path, path_line)) == {"train2017/train_c3_0": None}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("val_c2_9", " names no image of"),
        ("val_c2_1__09", ": class 9 is not a label value 1 to 8"),
        ("val_c2_1__00", ": class 0 is not a label value 1 to 8"),
        ("val_c2_9__01", " names no image of"),
        ("/JPEGImages/val_c2_9.jpg /SegmentationClass/val_c2_9.png", " names no image of"),
        ("../JPEGImages/val_c2_1", " names no image of"),
        ("val_c2_1.jpg val_c2_1.png val_c2_1.png", " names no image of"),
    ],
)
def test_wrong_lines_are_named(voc: VocSource, tmp_path: Path, line: str, message: str) -> None:
    assert f"mine.txt, line 2: {line!r}{message}" in refused(voc, write(tmp_path, "", line))


def test_absolute_paths_do_not_leave_the_data_set(voc: VocSource, tmp_path: Path) -> None:
    path = voc.root / "JPEGImages" / f"{IMAGE}.jpg"
    assert read_list_file(voc, write(tmp_path, str(path))) == {IMAGE: None}
    assert "names no image of" in refused(voc, write(tmp_path, str(path.with_suffix(""))))


def test_a_list_restricts_or_does_not(voc: VocSource, tmp_path: Path) -> None:
    message = refused(voc, write(tmp_path, "val_c2_1__02", "val_c1_0", "val_c1_1"))
    assert "mine.txt, line 2: names no class, but other lines do" in message


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_list_is_refused(voc: VocSource, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(content)
    assert "mine.txt: the list is empty" in refused(voc, path)


def test_bytes_that_are_no_text(voc: VocSource, tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(b"\xff\xfe\x00")
    assert "mine.txt: the list file cannot be read" in refused(voc, path)


# What the index makes of it. Odd images of class c show 64 pixels of class c + 1 as well.


def index_of(tmp_path: Path, *lines: str, **values: object) -> PairIndex:
    if not (tmp_path / "tiny-voc").exists():
        write_voc(tmp_path / "tiny-voc", train=2, val=2)
    write(tmp_path, *lines)
    protocol = tiny_protocol(tmp_path, **{"test_list": ["mine.txt"], **values})
    return build_index(open_source(protocol), protocol)


def test_a_list_of_images_lets_all_their_classes_in(tmp_path: Path) -> None:
    pairs = index_of(tmp_path, "val_c1_1", "val_c2_0").test_pairs(1)
    assert pairs == {1: ("val_c1_1",), 2: ("val_c1_1", "val_c2_0")}


def test_a_list_of_pairs_lets_only_these_in(tmp_path: Path) -> None:
    index = index_of(tmp_path, "val_c1_1__01", "val_c2_0__02")
    assert index.test_pairs(1) == {1: ("val_c1_1",), 2: ("val_c2_0",)}
    rows = index.frame[index.frame["image"] == "val_c1_1"]
    assert list(zip(rows["class"], rows["pixels"], rows["listed"], strict=True)) == [(1, 224, True), (2, 64, False)]


def test_too_small_pairs_stay_out_though_listed(tmp_path: Path) -> None:
    lines = ("val_c1_1__01", "val_c1_1__02")
    assert index_of(tmp_path, *lines).test_pairs(1) == {1: ("val_c1_1",), 2: ("val_c1_1",)}
    assert index_of(tmp_path, *lines, min_object_pixels=65).test_pairs(1) == {1: ("val_c1_1",), 2: ()}


def test_drop_image_sees_what_is_not_listed(tmp_path: Path) -> None:
    """train_c8_1 shows class 1, of fold 1, too: the list does not make it an image without."""
    lines = ("train_c8_0__08", "train_c8_1__08")
    values = {"train_list": ["mine.txt"], "test_list": ["val"]}
    assert index_of(tmp_path, *lines, **values).train_pairs(1)[8] == ("train_c8_0", "train_c8_1")
    assert index_of(tmp_path, *lines, novel_in_train="drop-image", **values).train_pairs(1)[8] == ("train_c8_0",)


def test_lists_add_up_and_an_open_one_opens_its_images(tmp_path: Path) -> None:
    index = index_of(tmp_path, "val_c1_1__01", "train_c3_1__03", test_list=["val", "mine.txt"])
    assert index.test_pairs(1)[2] == ("val_c1_1", "val_c2_0", "val_c2_1")
    assert index.test_pairs(2) == {
        3: ("train_c3_1", "val_c2_1", "val_c3_0", "val_c3_1"),
        4: ("val_c3_1", "val_c4_0", "val_c4_1"),
    }


def test_the_fingerprint_follows_the_pairs_not_the_order_of_lines(tmp_path: Path) -> None:
    first = index_of(tmp_path, "val_c1_1__01", "val_c2_0__02")
    assert index_of(tmp_path, "val_c2_0__02", "val_c1_1__01").fingerprint == first.fingerprint
    more = index_of(tmp_path, "val_c1_1__01", "val_c1_1__02", "val_c2_0__02")
    images = index_of(tmp_path, "val_c1_1", "val_c2_0")
    assert len({first.fingerprint, more.fingerprint, images.fingerprint}) == 3


def test_the_same_images_by_name_or_by_file_are_the_same_data(tmp_path: Path) -> None:
    by_name = index_of(tmp_path, "unused", test_list=["val"])
    names = (tmp_path / "tiny-voc/ImageSets/Segmentation/val.txt").read_text().split()
    assert index_of(tmp_path, *names).fingerprint == by_name.fingerprint


def test_a_listed_pair_must_show_its_class(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has val_c2_0__01, but the mask of val_c2_0 shows no 'anchor'"):
        index_of(tmp_path, "val_c2_0__01")


def test_a_data_set_without_named_lists_opens(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "tiny-voc", train=2, val=2)
    for path in (root / "ImageSets/Segmentation").iterdir():
        path.unlink()
    (root / "ImageSets/Segmentation").rmdir()
    index = index_of(tmp_path, "val_c1_1", "val_c2_0", train_list=["mine.txt"], train_excludes_test=False)
    assert set(index.frame["image"]) == {"val_c1_1", "val_c2_0"}
