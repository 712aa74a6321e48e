"""Packs: equal bytes for equal records, what is in them, and what is refused."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fsseg_bench.engine.verify import verify
from fsseg_bench.errors import UserError
from fsseg_bench.records.controls import CONTROLS_FILE
from fsseg_bench.records.owner import owner_of
from fsseg_bench.records.privacy import of_machine, without_machine
from fsseg_bench.records.read import read_run
from fsseg_bench.records.unpack import is_pack, unpack
from tests.support.controlled import write_controlled
from tests.support.packs import contents, forged, manifest_of, packed, write_records, zipped
from tests.support.runs import edit_info, write_panel, write_run


def test_equal_records_give_equal_bytes_and_come_out_as_they_were(tmp_path: Path) -> None:
    root = write_records(tmp_path / "runs")
    first = packed(root, tmp_path / "a.zip", by="Ada")
    (folder,) = root.glob("toy/*/*/fold2*")
    (folder / "checkpoint.pt").write_bytes(b"parameters")  # a pack holds none
    write_panel(folder, "0.png", (2, 2), (0, 0, 0), None)
    assert packed(root, tmp_path / "b.zip", by="Ada").read_bytes() == first.read_bytes()
    assert {Path(name).name for name in contents(first)} == {
        *("run.json", "episodes.jsonl", "episodes.csv", "evaluated.csv", "train.jsonl"),
    }
    found = unpack(first, tmp_path / "out")
    assert len(found.folders) == 2
    for own in found.folders:
        there = root / own.relative_to(tmp_path / "out")
        assert all((own / path.name).read_bytes() == path.read_bytes() for path in there.glob("episodes.*"))
        owner = owner_of(own)
        assert owner is not None
        assert (owner.by, owner.file, owner.digest) == ("Ada", "a", found.digest)
    # whoever packs what came in a pack does not become its owner
    again = packed(tmp_path / "out", tmp_path / "c.zip", by="Eve")
    assert {record["by"] for record in manifest_of(again)["records"]} == {"Ada"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["toy"]


def test_what_is_refused_to_be_packed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none of the runs is done"):
        packed(tmp_path, tmp_path / "a.zip")
    write_run(tmp_path / "one", status="evaluating")
    with pytest.raises(UserError, match=r"the run is not done \(status evaluating\)"):
        packed(tmp_path / "one", tmp_path / "a.zip")
    with pytest.raises(UserError, match="give a name in one line"):
        packed(tmp_path / "one", tmp_path / "a.zip", by="Ada\nEve")
    write_run(tmp_path / "two" / "x")
    write_run(tmp_path / "two" / "y")
    with pytest.raises(UserError, match="another of the records is the same run"):
        packed(tmp_path / "two", tmp_path / "a.zip")
    write_run(tmp_path / "long", method="m" * 200)  # with its backbone beyond what unpack takes
    with pytest.raises(UserError, match="names there have at most 201 characters"):
        packed(tmp_path / "long", tmp_path / "a.zip")
    folder = write_run(tmp_path / "lost")
    edit_info(folder, files={"train.jsonl": "0" * 64})
    with pytest.raises(UserError, match=r"train.jsonl: is missing since the run was done; not packed"):
        packed(tmp_path / "lost", tmp_path / "a.zip")


def _rename(old: str, new: str) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda files: {name.replace(old, new): data for name, data in files.items()}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_rename("run.json", "../../run.json"), "is no file of its records"),
        (_rename("episodes.csv", "checkpoint.pt"), "is no file of its records"),
        (_rename("toy/", "/toy/"), "is no file of its records"),
        (_rename("run.json", "train.jsonl"), r"has no run.json"),
    ],
)
def test_files_that_no_record_has_are_refused(
    tmp_path: Path, change: Callable[[dict[str, bytes]], dict[str, bytes]], told: str
) -> None:
    pack = packed(write_records(tmp_path / "runs", folds=1), tmp_path / "a.zip")
    bad = forged(pack, tmp_path / "bad.zip", change(contents(pack)))
    with pytest.raises(UserError, match=told):
        unpack(bad, tmp_path / "deep" / "out")
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize("folder", ["../out", "/tmp/x", "a/../../b", "a//b", "", ".hidden/x", "a\\b"])
def test_folders_elsewhere_are_refused(tmp_path: Path, folder: str) -> None:
    pack = packed(write_records(tmp_path / "runs", folds=1), tmp_path / "a.zip")
    own = manifest_of(pack)["records"][0]
    files = {f"{folder}/{Path(name).name}": data for name, data in contents(pack).items()}
    with pytest.raises(UserError, match="is no folder of a record"):
        unpack(forged(pack, tmp_path / "bad.zip", files, records=[own | {"folder": folder}]), tmp_path / "out")


def test_damage_is_refused(tmp_path: Path) -> None:
    pack = packed(write_records(tmp_path / "runs", folds=1), tmp_path / "a.zip")
    files, manifest = contents(pack), manifest_of(pack)
    name = next(name for name in files if name.endswith("episodes.jsonl"))
    same_size = files | {name: files[name].replace(b"60", b"61")}
    cases: dict[str, tuple[Any, dict[str, bytes]]] = {
        "is not what manifest.json states": (manifest, same_size),
        "has another size": (manifest, files | {name: b""}),
        "exactly the files": (manifest, {n: d for n, d in files.items() if n != name}),
        "of version 2": (manifest | {"version": 2}, files),
        r"files\[0\].size is": ({**manifest, "files": [{**manifest["files"][0], "size": "1"}]}, files),
        "refused: a file has over": ({**manifest, "files": [{**f, "size": 2**40} for f in manifest["files"]]}, files),
        "leaves out episodes.csv, which every": (
            {**manifest, "records": [{**manifest["records"][0], "left_out": ["episodes.csv"]}]},
            files,
        ),
        "it holds no record": ({**manifest, "records": [], "files": []}, {}),
        "no name in one line": ({**manifest, "records": [{**manifest["records"][0], "by": "a\u202eb"}]}, files),
    }
    for told, (stated, held) in cases.items():
        with pytest.raises(UserError, match=told):
            unpack(zipped(tmp_path / "bad.zip", stated, dict(sorted(held.items()))), tmp_path / "out")
    cut = tmp_path / "cut.zip"
    cut.write_bytes(pack.read_bytes()[:-40])
    with pytest.raises(UserError, match="damaged"):
        unpack(cut, tmp_path / "out")
    assert not list(tmp_path.glob("out/*"))
    assert [is_pack(path) for path in (pack, tmp_path / "nowhere", tmp_path)] == [True, False, False]


def test_links_are_refused_and_nothing_is_overwritten(tmp_path: Path) -> None:
    pack = packed(write_records(tmp_path / "runs", folds=1), tmp_path / "a.zip")
    bad = zipped(tmp_path / "bad.zip", manifest_of(pack), {})
    with zipfile.ZipFile(bad, "a") as archive:
        for name, data in sorted(contents(pack).items()):
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o120777 if name.endswith(".csv") else 0o100644) << 16
            archive.writestr(entry, data)
    with pytest.raises(UserError, match="is no plain file of a pack"):
        unpack(bad, tmp_path / "out")
    unpack(pack, tmp_path / "out")
    with pytest.raises(UserError, match="is there already; nothing was unpacked"):
        unpack(pack, tmp_path / "out")


def test_what_a_record_says_of_its_maker() -> None:
    document = {
        "settings": {"weights": "/home/ada/w.pth", "method": "baseline"},
        "passed": {"dataset": "/home/ada/my voc.toml", "data_root": "/data", "method": "baseline"},
        "provenance": {
            "host": "node7",
            "process": 12,
            "job": "slurm 3",
            "device": 'cpu: model A" / "card B',
            "command": "fsseg-bench run --dataset '/home/ada/my voc.toml' --set weights=/w/x.pth --data-root ~/data",
            "platform": "Linux-6/x",
        },
        "resumed": [{"host": "node8", "time": "now", "mended": ["/r/run.json: cut (row 3)"]}],
        "remarks": ["read from /mnt/voc/a.png; 3/4 of them"],
        "address": "https://example.org/a",
    }
    told = of_machine(document)
    assert set(told) == {
        *("settings.weights", "passed.dataset", "passed.data_root", "provenance.host", "provenance.process"),
        *("provenance.job", "provenance.command", "resumed.0.host", "resumed.0.mended.0", "remarks.0"),
    }
    made = without_machine(document)
    assert made["settings"] == document["settings"]  # the identity is the hash of it
    assert made["passed"] == {"dataset": ".../my voc.toml", "method": "baseline"}
    assert made["provenance"] == {
        "device": 'cpu: model A" / "card B',
        "command": "fsseg-bench run --dataset '.../my voc.toml' --set weights=.../x.pth --data-root .../data",
        "platform": "Linux-6/x",
    }
    assert made["resumed"] == [{"time": "now", "mended": [".../run.json: cut (row 3)"]}]
    assert made["remarks"] == ["read from .../a.png; 3/4 of them"]
    assert made["address"] == document["address"]


def test_controls_are_taken_along_once_they_are_complete(tmp_path: Path) -> None:
    folder = write_controlled(tmp_path / "runs")
    whole = (folder / CONTROLS_FILE).read_bytes()
    pack = packed(tmp_path / "runs", tmp_path / "a.zip")
    (out,) = unpack(pack, tmp_path / "out").folders
    assert (out / CONTROLS_FILE).read_bytes() == whole
    assert [verdict.good for verdict in verify(out) if verdict.part == CONTROLS_FILE] == [True]
    (name,) = (name for name in contents(pack) if name.endswith(CONTROLS_FILE))
    edited = forged(pack, tmp_path / "b.zip", contents(pack) | {name: whole.replace(b"[90,10,0,0]", b"[99,1,0,0]")})
    (out,) = unpack(edited, tmp_path / "edited").folders
    assert [verdict.good for verdict in verify(out) if verdict.part == CONTROLS_FILE] == [False]
    (folder / CONTROLS_FILE).write_bytes(whole[:-20])
    assert CONTROLS_FILE not in {Path(own).name for own in contents(packed(tmp_path / "runs", tmp_path / "c.zip"))}


def test_a_private_pack_says_nothing_of_the_machine(tmp_path: Path) -> None:
    root = write_records(tmp_path / "runs", folds=1, passed={"data_root": str(tmp_path), "out": "/secret/runs"})
    pack = packed(root, tmp_path / "a.zip", private=True)
    (text,) = (data.decode() for name, data in contents(pack).items() if name.endswith("run.json"))
    host = json.loads(next(root.rglob("run.json")).read_text())["provenance"]["host"]
    assert str(tmp_path) not in text
    assert "/secret" not in text
    assert f'"{host}"' not in text
    (folder,) = unpack(pack, tmp_path / "out").folders
    assert of_machine(read_run(folder).info.document) == {}
    assert manifest_of(pack)["private"]
