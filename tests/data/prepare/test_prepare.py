"""Preparations from beginning to end: by download, after mistakes, and from what is there already."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest

from fsseg_bench.data.index import build_index
from fsseg_bench.data.open import open_source
from fsseg_bench.data.prepare.manifest import read_manifest, read_record
from fsseg_bench.data.prepare.plan import Plan
from fsseg_bench.data.prepare.prepare import Options, prepare_dataset
from fsseg_bench.data.prepare.sources import find_dataset
from fsseg_bench.errors import UserError
from fsseg_bench.progress import Progress
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.storage.lock import FolderLock
from tests.data.prepare import server as serve
from tests.data.prepare.layouts import SBD, TRAINAUG, VAL, VOC, Small, labels, lines, mask, tree, voc_name
from tests.data.prepare.running import Recorder, put, run, unpacked
from tests.data.prepare.server import Server


def test_pascal_by_download(pascal: Small, server: Server, tmp_path: Path, prepared: dict[str, bytes]) -> None:
    record = run(pascal, tmp_path, mirrors=(server.url,))
    assert record.images == {"trainaug": TRAINAUG, "val": VAL}
    assert not record.subset
    assert tree(tmp_path) == prepared
    kept = {name for name in prepared if not name.startswith(".prepared")}
    top = "VOCdevkit/VOC2012"
    assert len(kept) == 120 + 80 + 3 + 80 + 2
    assert f"{top}/ImageSets/Segmentation/val.txt" in kept
    assert f"{top}/SBD/dataset/cls/2008_000119.mat" in kept
    assert not [name for name in kept if "Annotations" in name or "SegmentationObject" in name or "/img/" in name]
    assert not (tmp_path / ".prepared/downloads").exists()


def test_the_result_is_what_the_protocol_reads(pascal: Small, server: Server, tmp_path: Path) -> None:
    """Pixels against how the archives were drawn."""

    record = run(pascal, tmp_path, mirrors=(server.url,))
    protocol = load_protocol("pascal5i")
    source = open_source(protocol, tmp_path)
    assert source.ids("trainaug") == tuple(voc_name(n) for n in [*range(40), *range(80, 120)])
    for number in (0, 35, 79, 80, 119):
        kind = number % 20 + 1
        found = source.class_masks(voc_name(number), [kind])[0]
        assert (found == 1).sum() == (labels(number) == kind).sum()
        assert ((found == 255) == (labels(number) == 255)).all()
    index = build_index(source, protocol)
    assert index.fingerprint == record.fingerprint
    assert index.test_pairs(1) == {c: (voc_name(39 + c), voc_name(59 + c)) for c in range(1, 6)}


@pytest.mark.parametrize("name", ["coco20i", "coco20i-a", "coco20i-b"])
def test_coco_by_download(coco: Small, server: Server, tmp_path: Path, name: str) -> None:
    record = run(coco, tmp_path, name=name, mirrors=(server.url,))
    assert record.images == {"train": 160, "val": 160}
    folders = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "coco").iterdir()}
    assert folders == {"coco/annotations", "coco/train2014", "coco/val2014"}
    assert sorted(path.name for path in (tmp_path / "coco/annotations").iterdir()) == [
        "instances_train2014.json",
        "instances_val2014.json",
    ]


def test_a_second_time_nothing_is_done(pascal: Small, server: Server, tmp_path: Path) -> None:
    first = run(pascal, tmp_path, mirrors=(server.url,))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jpg")}
    server.requests.clear()
    progress = Recorder()
    assert run(pascal, tmp_path, mirrors=(server.url,), progress=progress) == first
    assert server.requests == []
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jpg")}
    assert sum("prepared" in line for line in progress.said) == 2


def test_archives_may_be_kept(pascal: Small, server: Server, tmp_path: Path, prepared: dict[str, bytes]) -> None:
    run(pascal, tmp_path, mirrors=(server.url,), keep_archives=True)
    kept = {f".prepared/downloads/{name}": content for name, content in pascal.archives.items()}
    assert tree(tmp_path) == prepared | kept
    run(pascal, tmp_path, mirrors=(server.url,))
    assert tree(tmp_path) == prepared


def test_a_result_that_is_not_the_data_set(pascal: Small, tmp_path: Path, prepared: dict[str, bytes]) -> None:
    theirs = unpacked(tmp_path / "theirs", prepared)
    voc = theirs / "VOCdevkit/VOC2012"
    (voc / "ImageSets/Segmentation/val.txt").write_text("2008_000040\n2008_000041\n")
    (voc / "JPEGImages/2008_000001.jpg").unlink()
    with pytest.raises(UserError) as error:
        run(pascal, tmp_path / "ours", given=(theirs,))
    message = str(error.value)
    assert "this is not pascal5i" in message
    assert "val.txt: the list val has 2 images; it must have 40" in message
    assert "2008_000001.jpg: no such image" in message
    assert "--subset" in message
    assert read_record(tmp_path / "ours", "pascal5i") is None


def test_offline_lists_what_to_fetch(pascal: Small, tmp_path: Path) -> None:
    archives = put(tmp_path / "archives", pascal, VOC)
    dead = ("http://127.0.0.1:9/a",)
    with pytest.raises(UserError) as error:
        run(pascal, tmp_path / "none", mirrors=dead)
    message = str(error.value)
    assert "no connection" in message
    assert "--from FOLDER" in message
    for name in (VOC, SBD):
        assert f"  {name}, " in message
    assert "sha256:" in message
    assert "md5:" in message
    with pytest.raises(UserError) as error:
        run(pascal, tmp_path / "half", given=(archives,), mirrors=dead)
    assert f"  {VOC}, " not in str(error.value)  # it is there already
    run(pascal, tmp_path / "half", given=(put(tmp_path / "more", pascal, SBD),))


def test_a_refusal_leaves_nothing(pascal: Small, server: Server, tmp_path: Path) -> None:
    plans: list[Plan] = []

    def confirm(plan: Plan) -> None:
        plans.append(plan)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(pascal, tmp_path, mirrors=(server.url,), confirm=confirm)
    assert plans[0].download == sum(map(len, pascal.archives.values()))
    assert [path.name for path in tmp_path.rglob("*")] == [".prepared", ".lock"]
    assert server.requests == []


def test_only_one_process_prepares(pascal: Small, tmp_path: Path) -> None:
    with FolderLock(tmp_path / ".prepared"), pytest.raises(UserError, match="another process is preparing"):
        run(pascal, tmp_path)


def test_files_that_have_gone_are_brought_back(pascal: Small, server: Server, tmp_path: Path) -> None:
    run(pascal, tmp_path, mirrors=(server.url,))
    whole = tree(tmp_path)
    mask = tmp_path / "VOCdevkit/VOC2012/SBD/dataset/cls/2008_000090.mat"
    mask.unlink()
    server.requests.clear()
    run(pascal, tmp_path, mirrors=(server.url,))
    assert [name for name, _ in server.requests] == [SBD]
    assert tree(tmp_path) == whole


def test_a_wrong_archive_without_a_checksum_is_not_kept(pascal: Small, server: Server, tmp_path: Path) -> None:
    """Its size is right and its content is not: the next attempt downloads it again."""
    text = pascal.sources.read_text()
    sources = tmp_path / "sources.toml"
    sources.write_text("\n".join(line for line in text.splitlines() if not line.startswith(("sha256", "md5"))))
    small = Small(pascal.archives, sources)
    server.script = lambda name, number: serve.wrong_bytes(7) if name == SBD else serve.honest
    with pytest.raises(UserError, match=r"benchmark\.tgz: damaged.*the next attempt starts anew"):
        run(small, tmp_path / "root", mirrors=(server.url,))
    assert not (tmp_path / f"root/.prepared/downloads/{SBD}").exists()
    server.script = lambda name, number: serve.honest
    run(small, tmp_path / "root", mirrors=(server.url,))


def test_no_room(pascal: Small, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsseg_bench.data.prepare.plan.free_bytes", lambda folder: 1_000_000)
    with pytest.raises(UserError, match=r"2\.1 MB are needed and 1\.0 MB are free; make room, or name another"):
        run(pascal, tmp_path, mirrors=(server.url,))
    assert server.requests == []


@pytest.mark.slow
def test_data_made_by_code_need_no_folder() -> None:
    record = prepare_dataset(find_dataset("shapes5i"), None, Options(), lambda plan: None, Progress())
    assert record.images == {"train": 480, "val": 240}


# from archives and folders that are there already


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
