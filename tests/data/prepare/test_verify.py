"""Planted damage: each kind is found, and the file is named."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fsseg_bench.data.prepare.prepare import Options, prepare_dataset, protocol_of
from fsseg_bench.data.prepare.sources import load_sources
from fsseg_bench.data.prepare.verify import Findings, verify
from fsseg_bench.errors import UserError
from fsseg_bench.progress import Progress
from tests.data.prepare.damage import ALL, COCO, JPEG, LISTS, MAT, PASCAL, PNG, SBD, VOC, edit, same_size_other_content
from tests.data.prepare.layouts import Small, labels, mask
from tests.data.prepare.recorder import Recorder
from tests.support.sbd import write_sbd


def prepared(small: Small, name: str, root: Path) -> Path:
    archives = root.with_name(root.name + "-archives")
    archives.mkdir()
    for archive, content in small.archives.items():
        (archives / archive).write_bytes(content)
    dataset = load_sources(small.sources).dataset(name)
    prepare_dataset(dataset, root, Options(given=(archives,)), lambda plan: None, Progress())
    return root


@pytest.fixture(scope="module")
def sound_pascal(pascal: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(pascal, "pascal5i", tmp_path_factory.mktemp("sound") / "pascal")


@pytest.fixture(scope="module")
def sound_coco(coco: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(coco, "coco20i", tmp_path_factory.mktemp("sound") / "coco")


def check(small: Small, root: Path, name: str = "pascal5i", fast: bool = False) -> Findings:
    dataset = load_sources(small.sources).dataset(name)
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
    dataset = load_sources(small.sources).dataset("pascal5i")
    root = tmp_path / "subset"
    prepare_dataset(dataset, root, Options(given=(theirs,), subset=True), lambda plan: None, Progress())
    found = check(small, root)
    assert found.problems == []
    assert not any("PFENet" in note for note in found.notes)
    edit(lambda t: t[:120])(root / f"{LISTS}/val.txt")
    assert any("has 10 images; it must have 20" in p for p in check(small, root).problems)


def test_published_counts_are_for_their_rule_alone(pascal: Small, sound_pascal: Path) -> None:
    dataset = load_sources(pascal.sources).dataset("pascal5i")
    protocol = protocol_of(dataset)
    data = dataclasses.replace(protocol.data, min_object_pixels=1)
    found = verify(dataset, dataclasses.replace(protocol, data=data), sound_pascal, Progress())
    assert not any("PFENet" in note for note in found.notes)


def test_every_file_is_read_and_shown(pascal: Small, sound_pascal: Path) -> None:
    dataset = load_sources(pascal.sources).dataset("pascal5i")
    progress = Recorder()
    verify(dataset, protocol_of(dataset), sound_pascal, progress)
    assert progress.done == {
        "looking for files": 120,
        "reading the files of voc2012": 203,
        "reading the files of sbd": 82,
        "reading images and masks": 120,
    }


def test_no_data(pascal: Small, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="were not found"):
        check(pascal, tmp_path)
