"""Preparations from archives and folders that are there already."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest

from fsseg_bench.data.prepare.manifest import read_manifest, read_record
from fsseg_bench.errors import UserError
from tests.data.prepare.layouts import SBD, TRAINAUG, VAL, VOC, Small, tree
from tests.data.prepare.running import put, run, unpacked
from tests.data.prepare.server import Server


def test_archives_that_are_given_are_not_downloaded(
    pascal: Small, server: Server, tmp_path: Path, prepared: dict[str, bytes]
) -> None:
    archives = put(tmp_path / "archives", pascal)
    run(pascal, tmp_path / "a", given=(archives,))
    run(pascal, tmp_path / "b", given=(archives / VOC, archives / SBD))
    run(pascal, tmp_path / "c", given=(archives / SBD,), mirrors=(server.url,))
    assert [name for name, _ in server.requests] == [VOC]
    for root in ("a", "b", "c"):
        assert tree(tmp_path / root) == prepared
    assert tree(archives) == pascal.archives  # used where they are, and left there


def test_a_wrong_archive_that_is_given(pascal: Small, tmp_path: Path) -> None:
    archives = put(tmp_path / "archives", pascal)
    content = bytearray(pascal.archives[VOC])
    content[1000] ^= 1
    (archives / VOC).write_bytes(bytes(content))
    with pytest.raises(UserError, match=rf"{VOC}: is not the published {VOC}: it has the SHA256 [0-9a-f]+, not"):
        run(pascal, tmp_path / "root", given=(archives,))
    assert (archives / VOC).read_bytes() == bytes(content)
    (archives / VOC).write_bytes(b"short")
    with pytest.raises(UserError, match="5 bytes, not"):
        run(pascal, tmp_path / "root", given=(archives,))


@pytest.mark.parametrize("below", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_a_folder_with_the_files_is_linked(
    pascal: Small, tmp_path: Path, prepared: dict[str, bytes], below: str
) -> None:
    theirs = unpacked(tmp_path / "theirs", prepared)
    before = tree(theirs)
    record = run(pascal, tmp_path / "ours", given=(theirs / below,))
    assert tree(theirs) == before
    files = {name: content for name, content in tree(tmp_path / "ours").items() if not name.startswith(".prepared")}
    assert files == before
    image = "VOCdevkit/VOC2012/JPEGImages/2008_000000.jpg"
    assert (theirs / image).samefile(tmp_path / "ours" / image)
    assert json.loads(prepared[".prepared/pascal5i.json"])["fingerprint"] == record.fingerprint


def test_where_links_are_not_possible_files_are_copied(
    pascal: Small, tmp_path: Path, prepared: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = unpacked(tmp_path / "theirs", prepared)

    def refuse(self: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    run(pascal, tmp_path / "ours", given=(theirs,))
    image = "VOCdevkit/VOC2012/JPEGImages/2008_000000.jpg"
    assert (tmp_path / "ours" / image).read_bytes() == prepared[image]
    assert not (theirs / image).samefile(tmp_path / "ours" / image)


def test_files_that_are_in_place_are_used(pascal: Small, tmp_path: Path, prepared: dict[str, bytes]) -> None:
    root = unpacked(tmp_path, prepared)
    before = {path: path.stat().st_ino for path in root.rglob("*.jpg")}
    record = run(pascal, root)
    assert before == {path: path.stat().st_ino for path in root.rglob("*.jpg")}
    assert json.loads(prepared[".prepared/pascal5i.json"])["fingerprint"] == record.fingerprint
    manifest = read_manifest(root, "voc2012")
    assert manifest is not None
    assert manifest.origin == "files that were there"


def test_masks_as_pngs_serve_instead_of_sbds(pascal: Small, tmp_path: Path, prepared: dict[str, bytes]) -> None:
    """The folder SegmentationClassAug with its list, as many repositories pass it on."""
    from tests.data.prepare.layouts import lines, mask, voc_name

    theirs = unpacked(tmp_path / "theirs", prepared)
    voc = theirs / "VOCdevkit/VOC2012"
    shutil.rmtree(voc / "SBD")
    (voc / "SegmentationClassAug").mkdir()
    numbers = [*range(40), *range(80, 120)]
    for number in numbers:
        (voc / f"SegmentationClassAug/{voc_name(number)}.png").write_bytes(mask(number))
    (voc / "ImageSets/Segmentation/trainaug.txt").write_bytes(lines(numbers))
    record = run(pascal, tmp_path / "ours", given=(theirs,))
    assert record.images == {"trainaug": TRAINAUG, "val": VAL}
    assert not (tmp_path / "ours/VOCdevkit/VOC2012/SBD").exists()


def test_coco_from_a_folder(coco: Small, server: Server, tmp_path: Path) -> None:
    run(coco, tmp_path / "a", name="coco20i", mirrors=(server.url,))
    server.requests.clear()
    run(coco, tmp_path / "b", name="coco20i", given=(tmp_path / "a/coco",))
    folders = tuple(tmp_path / "a/coco" / name for name in ("annotations", "train2014", "val2014"))
    run(coco, tmp_path / "c", name="coco20i", given=folders)
    assert server.requests == []
    assert read_record(tmp_path / "b", "coco20i-2014") == read_record(tmp_path / "c", "coco20i-2014")
    assert read_record(tmp_path / "b", "coco20i-2014") == read_record(tmp_path / "a", "coco20i-2014")


def test_what_is_given_must_serve_for_something(pascal: Small, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--from .*none: no such file"):
        run(pascal, tmp_path / "root", given=(tmp_path / "none",))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=rf"holds nothing of pascal5i.*\n  {VOC}, or a folder with JPEGImages"):
        run(pascal, tmp_path / "root", given=(tmp_path / "empty",))


def test_a_part_of_the_data_set(pascal: Small, tmp_path: Path, prepared: dict[str, bytes]) -> None:
    theirs = unpacked(tmp_path / "theirs", prepared)
    voc = theirs / "VOCdevkit/VOC2012"
    shutil.rmtree(voc / "SBD")
    for name in ("train", "val"):
        path = voc / f"ImageSets/Segmentation/{name}.txt"
        path.write_text("\n".join(path.read_text().split()[:25]) + "\n")
    record = run(pascal, tmp_path / "ours", given=(voc,), subset=True)
    assert record.subset
    assert record.images == {"trainaug": 25, "val": 25}
    trainaug = tmp_path / "ours/VOCdevkit/VOC2012/ImageSets/Segmentation/trainaug.txt"
    assert trainaug.read_text() == (voc / "ImageSets/Segmentation/train.txt").read_text()
    # The same again without --subset is not taken for the whole.
    with pytest.raises(UserError, match=r"benchmark\.tgz could not be downloaded.*it has no address"):
        run(pascal, tmp_path / "ours", given=(voc,))
