"""``fsseg-bench pack``, ``unpack``, and ``verify`` of packs: what a tampered pack gives away, and what it does not."""

from __future__ import annotations

import hashlib
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fsseg_bench.cli.main import main
from tests.support.fresh import ROOT
from tests.support.packs import (
    OTHER_TABLE,
    contents,
    forged,
    packed,
    relinked,
    remade,
    resealed,
    rows_of,
    write_records,
)
from tests.support.runs import write_run, write_training

Files = dict[str, bytes]
check = runpy.run_path(str(ROOT / "tools" / "check_packs.py"))["check"]


def fsseg(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([*map(str, arguments)])
    return int(stop.value.code or 0), *capsys.readouterr()


def test_pack_verify_unpack(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root, pack = write_records(tmp_path / "runs"), tmp_path / "ada.fsseg.zip"
    write_run(root, fold=3, status="training")
    (root / "generalised" / "x").mkdir(parents=True)
    (root / "generalised" / "x" / "generalised.json").write_text("{}")
    code, out, err = fsseg(capsys, "pack", root, "--out", pack, "--by", "Ada")
    assert "1 generalised records are left out" in err
    assert code == 0
    assert f"{pack}: 2 records in 10 files" in out
    assert "1 of 3 records are not finished and are left out" in err
    assert "provenance.host in 2 of 2: " in err
    digest = out.split()[-1]
    code, out, _ = fsseg(capsys, "verify", pack)
    assert code == 0
    assert f"ok    {pack}: 10 files of 2 records, each with its SHA-256; by Ada; digest {digest}" in out
    assert f"ok    {pack}:toy/baseline-resnet18/1way-1shot/fold1-seed0-" in out
    assert "mean-IoU 65.00 %" in out
    assert out.endswith("0 of 3 packs and records differ from what was recorded\n")
    code, out, _ = fsseg(capsys, "verify", pack, "--episodes", 1)
    assert code == 0
    assert "not compared: episodes again: its checkpoint.pt is not here; name records that have it" in out
    assert fsseg(capsys, "unpack", pack, "--out", tmp_path / "out")[0] == 0
    assert fsseg(capsys, "verify", tmp_path / "out")[0] == 0


def test_a_method_by_its_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root, pack = tmp_path / "runs", tmp_path / "a.fsseg.zip"
    write_records(root, folds=1, method="biopt")
    write_records(root, folds=1, method="biopt", seed=1)
    write_records(root, folds=1, method="panet")

    def packed_as(text: str) -> tuple[int, str]:
        code, out, err = fsseg(capsys, "pack", text, "--results", root, "--out", pack)
        return code, f"{out}{err}"

    assert "2 records" in packed_as("biopt")[1]
    code, told = packed_as("biopt,seed=1")
    assert "1 records" in told
    damaged = write_run(root, method="biopt", seed=2) / "run.json"
    damaged.write_text("")
    assert "1 records, perhaps of biopt, cannot be used and are left out" in packed_as("biopt")[1]
    code, told = packed_as("bioptt")
    assert code == 2
    assert "Did you mean 'biopt'" in told


def test_a_damaged_record_is_not_packed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = next(write_records(tmp_path / "runs", folds=1).rglob("run.json")).parent
    log = folder / "episodes.jsonl"
    log.write_bytes(log.read_bytes().replace(b"60", b"61", 1))
    code, _, err = fsseg(capsys, "pack", folder, "--out", tmp_path / "a.zip")
    assert code == 2
    assert "not what was recorded, so it is not packed" in err


def _edit(files: Files, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    files[name] = resealed(files[name], change)


def _counts(files: Files, log: str, info: str) -> None:
    """A count is changed, and the check of its line fits again."""
    rows = rows_of(files[log])
    rows[0]["input"] = [60, 15, 5, 20]
    lines = files[log].splitlines(keepends=True)
    files[log] = relinked(rows, json.loads(files[info])["identity"]).splitlines(keepends=True)[0] + b"".join(lines[1:])


def _score(files: Files, log: str, info: str) -> None:
    _edit(files, info, lambda found: found["scores"]["input"].update(mean_iou=0.9))


def _left_out(files: Files, log: str, info: str) -> None:
    """An episode is left out; all lines, the seal and the check fit again."""
    files[log] = relinked(rows_of(files[log])[:-1], json.loads(files[info])["identity"])
    _edit(files, info, lambda found: found.update(episodes=_seal(files[log])))


def _table(files: Files, log: str, info: str) -> None:
    files[info.replace("run.json", "episodes.csv")] = OTHER_TABLE.text().encode()


def _settings(files: Files, log: str, info: str) -> None:
    """The seed is another one, and the identity is its hash again."""
    _edit(files, info, lambda found: found["settings"].update(seed=7))


def _seal(data: bytes) -> dict[str, Any]:
    return {"count": len(rows_of(data)), "sha256": hashlib.sha256(data).hexdigest()}


@pytest.mark.parametrize(
    ("tamper", "told"),
    [
        (_counts, "episodes.jsonl: line 2: its check does not fit"),
        (_score, "scores: mean_iou at input size is 65.0000 % by the counts; run.json says 90.0000 %"),
        (_left_out, "episodes.jsonl: 2 episodes; episodes.csv has 3"),
        (_table, "episodes.csv: these are not the episodes of the run"),
        (_settings, "episodes.jsonl: line 1: its check does not fit"),
    ],
)
def test_tampering_is_found(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tamper: Callable[[Files, str, str], None], told: str
) -> None:
    """By the check of pull requests, beside a sound pack, with every digest of the pack itself made to fit again."""
    pack = packed(write_records(tmp_path / "runs"), tmp_path / "packs" / "a.fsseg.zip", by="Ada")
    files = contents(pack)
    log, info = (min(name for name in files if name.endswith(end)) for end in ("episodes.jsonl", "run.json"))
    tamper(files, log, info)
    bad = forged(pack, pack.with_name("b.fsseg.zip"), files)
    assert check([bad.parent]) == 1
    out = capsys.readouterr().out
    assert told in out, out
    assert out.count("WRONG /") == 1
    assert f"WRONG {bad}:" in out
    assert "REFUSED" not in out


def test_what_a_pull_request_is_refused_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root = write_records(tmp_path / "runs", folds=1)
    assert check([packed(root, tmp_path / "a.fsseg.zip", by="Ada")]) == 0
    assert "REFUSED" not in capsys.readouterr().out
    assert check([packed(root, tmp_path / "b.zip")]) == 1
    out = capsys.readouterr().out
    assert "its name does not end in .fsseg.zip" in out
    assert "it does not say whose it is: pack with --by NAME" in out
    write_training(write_run(tmp_path / "early"))
    assert check([packed(tmp_path / "early", tmp_path / "c.fsseg.zip", by="Ada")]) == 1
    assert "has no episodes.csv, so that nobody can tell which images were tested" in capsys.readouterr().out


def test_the_packs_of_this_repository() -> None:
    folder = ROOT / "results" / "packs"
    assert check([folder] if folder.is_dir() else []) == 0


def _whole(files: Files, log: str, info: str, cells: list[int]) -> None:
    """Counts, lines, seal, scores and check are all made anew, as one who knows the format can."""
    rows = rows_of(files[log])
    rows[0]["input"] = cells
    files[log] = relinked(rows, json.loads(files[info])["identity"])
    _edit(files, info, lambda found: found.update(episodes=_seal(files[log]), scores={}))


def test_a_record_that_is_forged_as_a_whole(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Nothing in it tells, while labels keep their pixels; other labels show beside other records of the episodes."""
    root = tmp_path / "runs"
    for seed in range(3):
        write_records(root, folds=1, seed=seed)
    pack = packed(root, tmp_path / "a.zip")
    for cells, found in (([60, 15, 5, 20], False), ([65, 15, 5, 15], True)):
        files = contents(pack)
        log, info = (min(name for name in files if name.endswith(end)) for end in ("episodes.jsonl", "run.json"))
        _whole(files, log, info, cells)
        code, out, _ = fsseg(capsys, "verify", forged(pack, tmp_path / "bad.zip", files))
        assert ("labels: the pixels of the labels are others than in other records" in out) is found
        assert code == found


Change = Callable[[dict[str, Any], Files], object]


def _file(name: str, data: bytes | None) -> Change:
    return lambda info, own: own.pop(name) if data is None else own.update({name: data})


def _setting(**values: Any) -> Change:
    return lambda info, own: info["settings"].update(values)


def _table_left_out(info: dict[str, Any], own: Files) -> None:
    """The lines may then say what they want."""
    del own["episodes.csv"]
    info["files"] = {"episodes.csv": "0" * 64}


def _sealed_table(info: dict[str, Any], own: Files) -> None:
    """A seal of the table, too, which it would be compared with alone."""
    info["files"] = {"episodes.csv": ""}
    info["settings"]["shot"] = 5


def _void(*totals: int, native: tuple[int, ...] = ()) -> Change:
    """Counts of void pixels that make so many pixels of each episode."""

    def change(info: dict[str, Any], own: Files) -> None:
        rows = rows_of(own["episodes.jsonl"])
        for i, row in enumerate(rows):
            row["input_void"] = [totals[i] - sum(row["input"]), 0]
            row["native_void"] = [(native or totals)[i] - sum(row["native"]), 0]
        own["episodes.jsonl"] = relinked(rows, "")

    return change


def _same_query(info: dict[str, Any], own: Files) -> None:
    _void(100, 100, 100, native=(100, 110, 100))(info, own)
    own["episodes.csv"] = own["episodes.csv"].replace(b"1,b,a", b"1,a,b")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_table_left_out, "leaves out episodes.csv, which every pack holds"),
        (_setting(shot=5), "its episodes have 1 ways and 1 shots; the run's settings say 1 and 5"),
        (_sealed_table, "its episodes have 1 ways and 1 shots; the run's settings say 1 and 5"),
        (_file("train.jsonl", None), "train.jsonl: is missing; the run's settings say that it trained for 100 iter"),
        (_void(100, 121, 100), "episode 1 counts 121 pixels at input size; its square has 10 x 10"),
        (_void(101, 101, 101), "episode 0 counts 101 pixels at input size, which are no square"),
        (_same_query, "episode 1 counts 110 pixels at native size, and episode 0, of the same image, 100"),
        (_setting(way=10**5), "settings.way is 100000; it must be at least 1 and at most 254"),
        (_setting(shot=2**62), "it must be at least 1 and at most 1000000"),
        (_setting(runs=10**12), "it must be at least 1 and at most 1000"),
        (lambda info, own: info.update(folds=10**12), "folds is 1000000000000; it must be"),
        (_file("evaluated.csv", b"a,b,c\n\n"), "evaluated.csv: cannot be read as what it should be: IndexError"),
        (_file("evaluated.csv", b"a\n\xff\n"), "evaluated.csv: cannot be read as what it should be: UnicodeDecodeErr"),
        (_file("evaluated.csv", b"a" * 200_000), "evaluated.csv: cannot be read as what it should be: Error: field"),
        (_file("episodes.csv", b"\xff"), "episodes.csv: cannot be read as what it should be: UnicodeDecodeError"),
    ],
)
def test_what_is_made_anew_as_a_whole_and_cannot_be(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, change: Change, told: str
) -> None:
    """One such pack is no reason not to look at others."""
    good = packed(write_records(tmp_path / "runs", folds=1), tmp_path / "good.zip", by="Ada")
    bad = remade(good, tmp_path / "bad.zip", change)
    code, out, _ = fsseg(capsys, "verify", bad, good)
    assert code == 1
    assert told in out, out
    assert f"ok    {good}:toy" in out


def test_a_record_made_anew_without_a_change_is_as_good(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    good = packed(write_records(tmp_path / "runs", folds=1), tmp_path / "good.zip", by="Ada")
    for change in (lambda info, own: None, _void(100, 100, 100), _void(121, 121, 121, native=(200, 110, 100))):
        code, out, _ = fsseg(capsys, "verify", remade(good, tmp_path / "same.zip", change))
        assert code == 0, out


def test_records_that_contradict_each_other(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Neither pack has more on its side, so that none is called wrong."""
    good = packed(write_records(tmp_path / "runs", folds=1), tmp_path / "good.zip", by="Ada")

    def change(info: dict[str, Any], own: Files) -> None:
        own["episodes.jsonl"] = own["episodes.jsonl"].replace(b"60,15,15,10", b"65,15,10,10")

    bad = remade(good, tmp_path / "bad.zip", change)
    code, out, _ = fsseg(capsys, "verify", bad, good)
    assert code == 1
    assert "WRONG" not in out
    assert out.count("DIFFER /") == 2
    assert out.count("one of them is wrong, and nobody can tell which") == 2
    assert "0 of 4 packs and records differ from what was recorded\n2 of 4 contradict others" in out
