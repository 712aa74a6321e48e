"""What a plan says: sizes by hand, and room as a simulation of the disk counts it."""

from __future__ import annotations

import dataclasses
import random
import shutil
from pathlib import Path

import pytest

from fsseg_bench.data.prepare import plan as module
from fsseg_bench.data.prepare.manifest import Content, Manifest
from fsseg_bench.data.prepare.place import find_files
from fsseg_bench.data.prepare.plan import DOWNLOADS, How, Plan, Step, gigabytes, make_plan
from fsseg_bench.data.prepare.sources import Dataset, Part
from fsseg_bench.errors import UserError


def part(name: str, size: int, unpacked: int) -> Part:
    urls, target = ("http://127.0.0.1:9/x",), f"{name}/{name}_files"
    return Part(name.upper(), "free", f"{name}.zip", urls, size, unpacked, name, target, {"*.jpg": 2})


def dataset(*parts: Part) -> Dataset:
    return Dataset("set", ("set",), None, parts, {}, None)


@pytest.mark.parametrize("keep", [False, True])
def test_room_is_the_peak_of_a_simulated_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: bool) -> None:
    """Byte by byte: download, unpack, delete. Room for blocks and folders (2 %) is left out here."""
    monkeypatch.setattr(module, "_SPARE", 1.0)
    rng = random.Random(int(keep))
    for _ in range(300):
        steps = []
        used = peak = 0
        kinds: tuple[How, ...] = ("download", "archive", "folder", "finished", "there")
        for i in range(rng.randrange(1, 5)):
            how = rng.choice(kinds)
            size, unpacked = rng.randrange(1, 1000), rng.randrange(1, 1000)
            partial = rng.randrange(size) if how == "download" else 0
            copied = rng.randrange(1000) if how == "folder" else 0
            steps.append(Step(part(f"p{i}", size, unpacked), how, partial=partial, copied=copied))
            if how == "download":
                used += size - partial  # what is there already is not counted as used
            if how in {"download", "archive"}:
                used += unpacked
            used += copied
            peak = max(peak, used)
            if how == "download" and not keep:
                used -= size
        plan = Plan(dataset(), tmp_path, tuple(steps), keep_archives=keep)
        assert plan.room == peak
        assert plan.download == sum(s.part.size - s.partial for s in steps if s.how == "download")


def test_files_of_an_earlier_attempt_need_no_room_again(tmp_path: Path) -> None:
    one = part("one", 1000, 500)
    plan = Plan(dataset(one), tmp_path, (Step(one, "download"),))
    assert plan.room == 1000 + 510
    (tmp_path / "one/one_files").mkdir(parents=True)
    (tmp_path / "one/one_files/a.jpg").write_bytes(bytes(200))
    (tmp_path / "one/one_files/other.txt").write_bytes(bytes(200))
    assert plan.room == 1000 + 310


def test_what_is_there(tmp_path: Path) -> None:
    """A part of a download, a whole one, the files themselves, too few of them."""
    one = part("one", 1000, 500)
    downloads = tmp_path / DOWNLOADS
    downloads.mkdir(parents=True)

    def step() -> Step:
        return make_plan(dataset(one), tmp_path, [], False, False).steps[0]

    assert (step().how, step().partial) == ("download", 0)
    (downloads / "one.zip.part").write_bytes(bytes(300))
    assert (step().how, step().partial, step().download) == ("download", 300, 700)
    (downloads / "one.zip.part").write_bytes(bytes(3000))
    assert step().partial == 0  # it cannot be a part of the file
    folder = tmp_path / "one/one_files"
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(b"a")
    (folder / ".b.jpg").write_bytes(b"b")
    assert step().how == "download"
    (folder / "b.jpg").write_bytes(b"b")
    assert (step().how, sorted(step().files)) == ("there", ["a.jpg", "b.jpg"])
    (downloads / "one.zip").write_bytes(bytes(1000))
    assert (step().how, step().download) == ("download", 0)  # it may not be unpacked wholly
    assert make_plan(dataset(one), tmp_path, [folder], True, False).steps[0].how == "folder"
    other = dataset(one, part("two", 5, 5))
    assert [s.how for s in make_plan(other, tmp_path, [folder], True, False).steps] == ["folder", "left out"]


def test_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "free_bytes", lambda folder: 5_000_000_000)
    one, two, three = part("one", 2_000_000_000, 10), part("two", 3_000_000, 10), part("three", 5, 5)
    files = {"a.jpg": tmp_path / "a.jpg"}
    steps = (
        Step(one, "download", partial=500_000_000),
        Step(two, "archive", archive=Path("/there/two.zip")),
        Step(three, "folder", layout=three.layout, files=files),
        Step(three, "finished"),
    )
    assert list(Plan(dataset(), tmp_path, steps).lines()) == [
        f"set in {tmp_path}",
        "  ONE (free): download one.zip, 2.00 GB, 0.50 GB are here",
        "  TWO (free): unpack /there/two.zip",
        "  THREE (free): 1 files that were given (1 of 2 *.jpg)",
        "  THREE (free): prepared",
        "to download: 1.50 GB; room needed: 1.50 GB, free: 5.00 GB",
    ]


def test_free_bytes_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert module.free_bytes(tmp_path / "a/b/c") > 0
    assert module.free_bytes(Path("not/there/yet")) > 0


def test_an_archive_is_found_by_its_name_alone(tmp_path: Path) -> None:
    one = part("one", 5, 5)
    (tmp_path / "one.zip").write_bytes(b"12345")
    (tmp_path / "two.zip").write_bytes(b"12345")
    for given in (tmp_path, tmp_path / "one.zip"):
        assert make_plan(dataset(one), tmp_path / "r", [given], False, False).steps[0].archive == tmp_path / "one.zip"
    with pytest.raises(UserError, match=r"two\.zip: holds nothing of set"):
        make_plan(dataset(one), tmp_path / "r", [tmp_path / "two.zip"], False, False)


def by_hand() -> Part:
    """Without an address; a file of each kind in each folder of a class."""
    files = {"*/*.jpg": 2, "*/*.png": 2}
    return dataclasses.replace(part("one", 0, 0), urls=(), files=files, mark="ant/1.jpg", get="ask its authors")


def classes(folder: Path) -> Path:
    for name in ("ant", "bee"):
        (folder / name).mkdir(parents=True)
        for suffix in ("jpg", "png"):
            (folder / name / f"1.{suffix}").write_bytes(name.encode())
    return folder


def test_files_by_hand_are_found_at_any_depth_and_in_any_archive(tmp_path: Path) -> None:
    """The folders that somebody's archive has around them are no matter; other folders of pictures do not serve."""
    one, root = by_hand(), tmp_path / "root"
    with pytest.raises(
        UserError, match=r"(?s)no address that stays.*ONE: ask its authors\n +one\.zip, or a folder with"
    ):
        make_plan(dataset(one), root, [], False, False).check_given()
    assert make_plan(dataset(one), root, [], False, False, ["http://mirror"]).steps[0].how == "download"
    (tmp_path / "given/holiday/a").mkdir(parents=True)
    for name in ("a/x.jpg", "a/x.png"):
        (tmp_path / "given/holiday" / name).touch()
    with pytest.raises(UserError, match="holds nothing of set"):
        make_plan(dataset(one), root, [tmp_path / "given"], False, False)
    inner = classes(tmp_path / "given/FSS/data/in")
    for place in (tmp_path / "given", inner.parent, inner):
        step = make_plan(dataset(one), root, [place], False, False).steps[0]
        assert step.how == "folder"
        assert step.files["bee/1.png"] == inner / "bee/1.png"
    for name, inside in (("a.zip", "FSS/data/in"), ("b.tgz", ".")):
        form = "zip" if name == "a.zip" else "gztar"
        base = tmp_path / "given" if name == "a.zip" else inner
        made = Path(shutil.make_archive(str(tmp_path / "packed" / name), form, base))
        archive = made.rename(tmp_path / "packed" / name)
        step = make_plan(dataset(one), root, [archive], False, False).steps[0]
        assert (step.how, step.archive, step.part.inside, step.part.name) == ("archive", archive, inside, "")


def test_a_bare_pattern_needs_a_folder_of_the_right_name(tmp_path: Path) -> None:
    """*.jpg would match in any folder of pictures."""
    one = part("one", 5, 5)
    for name in ("holiday", "one_files"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").write_bytes(b"a")
    with pytest.raises(UserError, match="holds nothing"):
        make_plan(dataset(one), tmp_path / "r", [tmp_path / "holiday"], False, False)
    assert make_plan(dataset(one), tmp_path / "r", [tmp_path / "one_files"], False, False).steps[0].how == "folder"
    fixed = dataclasses.replace(one, files={"a.jpg": 1})
    assert make_plan(dataset(fixed), tmp_path / "r", [tmp_path / "holiday"], False, False).steps[0].how == "folder"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "nothing"), (1_500_000, "1.5 MB"), (99_000_000, "99.0 MB"), (10**8, "0.10 GB"), (13_510_573_713, "13.51 GB")],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert gigabytes(size) == text


def test_what_a_later_command_adds_to_a_subset_is_taken(tmp_path: Path) -> None:
    one, root, given = by_hand(), tmp_path / "root", classes(tmp_path / "given")

    def how() -> str:
        return make_plan(dataset(one), root, [given], True, False).steps[0].how

    assert how() == "folder"
    contents = {name: Content(path.stat().st_size, 0) for name, path in find_files(given, one.layout).items()}
    shutil.copytree(given, root / one.layout.target)
    Manifest(one.name, "given", {f"{one.layout.target}/{n}": c for n, c in contents.items()}).write(root)
    assert how() == "finished"
    (given / "ant/2.jpg").write_bytes(b"new")
    assert how() == "folder"
    (given / "ant/2.jpg").unlink()
    (given / "bee/1.jpg").write_bytes(b"another picture")
    assert how() == "folder"


def test_endings_in_another_case_are_said(tmp_path: Path) -> None:
    one, given = by_hand(), classes(tmp_path / "given")
    for name in ("ant/2.JPG", "bee/2.Png", "bee/notes.txt"):
        (given / name).touch()
    plan = make_plan(dataset(one), tmp_path / "root", [given], True, False)
    (line,) = (line for line in plan.lines() if "ONE" in line)
    assert "4 files that were given" in line
    assert "; left out: 2 whose endings are in another case (ant/2.JPG); rename them" in line


def test_archives_of_unknown_size_are_said(tmp_path: Path) -> None:
    unknown = part("one", 0, 0)
    *_, last = make_plan(dataset(unknown, part("two", 3_000_000, 10)), tmp_path, [], False, False).lines()
    assert last.startswith("to download: 3.0 MB and 1 archive of unknown size; room needed: ")
