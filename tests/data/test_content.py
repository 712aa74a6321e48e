"""What test images hold: digests against hashlib, every source, damage found before and after planning."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsseg_bench.data.open import examine, open_source
from fsseg_bench.data.source import Source
from fsseg_bench.data.sources.folder import FolderSource
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.load import load_protocol
from tests.support.datasets import HEIGHT, WIDTH, tiny_protocol, write_class_folders, write_coco, write_voc
from tests.support.sbd import write_sbd

NAMES = [f"val_c{c}_{j}" for c in (1, 2) for j in range(3)]


def flip(path: Path, place: int = -30) -> None:
    """One bit of a file changed, size kept."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def voc(folder: Path) -> Source:
    write_voc(folder / "tiny-voc", train=1, val=3)
    return voc_again(folder)


def voc_again(folder: Path) -> Source:
    return open_source(tiny_protocol(folder))


def shape_images() -> Source:
    changes = {"data.train_images": "20", "data.test_images": "20"}
    return open_source(load_protocol("shapes5i", changes), None)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_the_digest_is_that_of_the_files(tmp_path: Path) -> None:
    own = voc(tmp_path)
    root = tmp_path / "tiny-voc"
    lines = ["image,image_sha256,label_sha256"]
    for name in sorted(NAMES):
        image, mask = root / "JPEGImages" / f"{name}.jpg", root / "SegmentationClass" / f"{name}.png"
        lines.append(f"{name},{sha(image.read_bytes())},{sha(mask.read_bytes())}")
    found = examine(own, reversed(NAMES), labels=True, decode=True)
    assert found.text() == "\n".join(lines) + "\n"
    assert found.digest == sha(found.text().encode())


def test_it_is_the_same_elsewhere_and_another_for_each_changed_file(tmp_path: Path) -> None:
    before = examine(voc(tmp_path / "a"), NAMES, labels=True, decode=True).digest
    assert examine(voc(tmp_path / "b"), NAMES, labels=True, decode=True).digest == before
    for folder, suffix in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
        path = tmp_path / "b" / "tiny-voc" / folder / f"{NAMES[3]}.{suffix}"
        whole = path.read_bytes()
        flip(path)
        assert examine(voc_again(tmp_path / "b"), NAMES, labels=True, decode=False).digest != before
        path.write_bytes(whole)
    other = tmp_path / "b" / "tiny-voc" / "JPEGImages" / "train_c1_0.jpg"
    flip(other)
    assert examine(voc_again(tmp_path / "b"), NAMES, labels=True, decode=True).digest == before


def test_each_file_is_read_once_for_all_runs_of_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = voc(tmp_path)
    read: list[Path] = []
    whole = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: read.append(self) or whole(self))
    examine(own, NAMES[:4], labels=True, decode=False)
    assert len(read) == len(set(read)) == 8
    examine(own, NAMES, labels=True, decode=False)
    assert len(read) == len(set(read)) == 12


@pytest.mark.parametrize(("folder", "suffix"), [("JPEGImages", "jpg"), ("SegmentationClass", "png")])
def test_a_file_that_changes_after_planning_is_not_decoded(tmp_path: Path, folder: str, suffix: str) -> None:
    own = voc(tmp_path)
    examine(own, NAMES, labels=True, decode=True)
    path = tmp_path / "tiny-voc" / folder / f"{NAMES[0]}.{suffix}"
    Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    with pytest.raises(
        UserError, match=rf"{NAMES[0]}\.{suffix}: the (image|mask) has changed since this run was planned"
    ):
        own.image(NAMES[0]) if suffix == "jpg" else own.class_masks(NAMES[0], (1,))
    own.image(NAMES[1])
    own.class_masks(NAMES[1], (1,))


def test_another_file_in_its_place_is_not_decoded(tmp_path: Path) -> None:
    own = voc(tmp_path)
    images = tmp_path / "tiny-voc" / "JPEGImages"
    (images / f"{NAMES[0]}.jpg").rename(images / f"{NAMES[0]}.png")
    examine(own, NAMES, labels=True, decode=True)
    (images / f"{NAMES[0]}.png").unlink()
    Image.new("RGB", (40, 30)).save(images / f"{NAMES[0]}.jpg")
    with pytest.raises(UserError, match=rf"{NAMES[0]}\.jpg: the image of {NAMES[0]} was another file"):
        own.image(NAMES[0])


def test_all_broken_files_are_counted_and_the_first_named(tmp_path: Path) -> None:
    own = voc(tmp_path)
    root = tmp_path / "tiny-voc"
    for name in NAMES[:3]:
        path = root / "JPEGImages" / f"{name}.jpg"
        path.write_bytes(path.read_bytes()[:-60])
    (root / "SegmentationClass" / f"{NAMES[3]}.png").write_bytes(b"no png")
    (root / "JPEGImages" / f"{NAMES[4]}.jpg").unlink()
    with pytest.raises(UserError) as caught:
        examine(own, NAMES, labels=True, decode=True)
    told = str(caught.value)
    assert told.startswith("5 of 6 test images")
    assert "and 2 more" in told
    assert sum(name in told for name in NAMES) == 3
    (root / "JPEGImages" / f"{NAMES[4]}.jpg").write_bytes(b"anything")
    assert len(examine(voc_again(tmp_path), NAMES, labels=True, decode=False).content) == 6  # bytes are bytes


def test_masks_of_images_without_labels_are_not_needed(tmp_path: Path) -> None:
    own = voc(tmp_path)
    (tmp_path / "tiny-voc" / "SegmentationClass" / f"{NAMES[0]}.png").unlink()
    found = examine(own, NAMES[:1], labels=False, decode=True)
    assert found.content[0][1].label == ""
    with pytest.raises(UserError, match="no mask"):
        examine(own, NAMES[:1], labels=True, decode=True)


def test_one_folder_a_class(tmp_path: Path) -> None:
    root, ids = write_class_folders(tmp_path, 1, ("cup", "shoe")), ["cup/000", "shoe/000"]

    def digest() -> str:
        return examine(FolderSource(root, ("cup", "shoe")), ids, labels=True, decode=True).digest

    own, before = FolderSource(root, ("cup", "shoe")), digest()
    assert examine(own, ids, labels=True, decode=True).digest == before
    Image.new("L", (WIDTH, HEIGHT), 1).save(root / "cup" / "masks" / "000.png")
    with pytest.raises(UserError, match=r"cup/masks/000\.png: the mask has changed"):
        own.class_masks("cup/000", (1,))
    assert digest() != before


def test_coco_images_by_their_files_and_labels_by_the_annotations(tmp_path: Path) -> None:
    write_coco(tmp_path / "tiny-coco", train=1, val=3)
    own = open_source(tiny_protocol(tmp_path, "coco"))
    ids = [f"val2017/{name}" for name in NAMES]
    before = examine(own, ids, labels=True, decode=True)
    path = tmp_path / "tiny-coco" / "val2017" / f"{NAMES[0]}.jpg"
    assert before.content[0][1].image == sha(path.read_bytes())
    annotations = tmp_path / "tiny-coco" / "annotations" / "instances_val2017.json"
    table = json.loads(annotations.read_text())
    first = next(a for a in table["annotations"] if not a["iscrowd"])
    first["segmentation"][0][0] += 1
    annotations.write_text(json.dumps(table))
    after = examine(open_source(tiny_protocol(tmp_path, "coco")), ids, labels=True, decode=True)
    changed = [a[0] for a, b in zip(before.content, after.content, strict=True) if a[1][:2] != b[1][:2]]
    assert changed == [ids[0]]
    flip(path)
    with pytest.raises(UserError, match=rf"{NAMES[0]}\.jpg: the image has changed"):
        own.image(ids[0])


def test_masks_of_sbd(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "tiny-voc", train=1, val=1)
    name = "val_c1_0"
    (root / "SegmentationClass" / f"{name}.png").unlink()
    (root / "cls").mkdir()
    write_sbd(root / "cls" / f"{name}.mat", np.ones((30, 40), np.uint8))
    own = open_source(tiny_protocol(tmp_path, masks=["SegmentationClass", "cls"]), None)
    found = examine(own, [name], labels=True, decode=True)
    assert found.content[0][1].label == sha((root / "cls" / f"{name}.mat").read_bytes())
    write_sbd(root / "cls" / f"{name}.mat", np.zeros((30, 40), np.uint8))
    with pytest.raises(UserError, match=r"\.mat: the mask has changed"):
        own.class_masks(name, (1,))


class TestShapes:
    """The embedded images: digests of pixels, since PNG files depend on the compressor's version."""

    @pytest.fixture(autouse=True)
    def _cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FSSEG_CACHE", str(tmp_path))

    def test_another_compression_of_the_same_pixels_is_the_same(self) -> None:
        own = shape_images()
        before = examine(own, own.ids("val"), labels=True, decode=True).digest
        path = own.image_path("val_00003")
        old = path.read_bytes()
        Image.open(path).save(path, compress_level=9)
        assert path.read_bytes() != old
        again = shape_images()
        assert examine(again, again.ids("val"), labels=True, decode=True).digest == before
        assert again.fingerprint(["val"]) == own.fingerprint(["val"])

    @pytest.mark.parametrize("kind", ["JPEGImages", "SegmentationClass"])
    @pytest.mark.parametrize("part", ["train", "val"])
    def test_an_edited_picture_is_refused(self, kind: str, part: str) -> None:
        own = shape_images()
        path = own.root / kind / f"{part}_00003.png"
        picture = Image.open(path)
        pixels = np.array(picture)
        pixels[0, 0] ^= 1
        edited = Image.fromarray(pixels)
        if picture.mode == "P":
            edited.putpalette(picture.getpalette() or [])
        edited.save(path)
        again = shape_images()
        with pytest.raises(UserError, match=rf"{part}_00003\.png: does not show what was drawn .* Remove the folder"):
            (again.image if kind == "JPEGImages" else again.class_pixels)(f"{part}_00003")

    def test_a_list_of_pixels_that_was_edited_is_another_data_set(self) -> None:
        own = shape_images()
        file = own.root / "pixels.json"
        table = json.loads(file.read_text())
        table["train_00003"][0] = "0" * 64
        file.write_text(json.dumps(table))
        again = shape_images()
        assert again.fingerprint(["train"]) != own.fingerprint(["train"])
        assert again.image_digest("train_00003") != own.image_digest("train_00003")

    @pytest.mark.parametrize("content", [None, b"", b"[]", b'{"val_00003": 3}', b"\xff"])
    def test_without_the_list_all_is_made_again(self, content: bytes | None) -> None:
        own = shape_images()
        before = (own.root / "pixels.json").read_bytes()
        if content is None:
            (own.root / "pixels.json").unlink()
        else:
            (own.root / "pixels.json").write_bytes(content)
        assert (shape_images().root / "pixels.json").read_bytes() == before

    def test_the_digests_are_those_of_the_pixels(self) -> None:
        own = shape_images()
        table = json.loads((own.root / "pixels.json").read_text())
        assert len(table) == 40
        pixels = np.array(Image.open(own.image_path("val_00003")))
        labels = np.array(Image.open(own.root / "SegmentationClass" / "val_00003.png"))
        expected = [sha(f"{array.shape}\n".encode() + array.tobytes()) for array in (pixels, labels)]
        assert table["val_00003"] == expected
        assert list(examine(own, ["val_00003"], labels=True, decode=True).content[0][1][:2]) == expected
