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
from tests.support.packs import OTHER_TABLE, contents, forged, packed, relinked, resealed, rows_of, write_records
from tests.support.runs import write_run

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
    assert f"{pack}: 2 records in 8 files" in out
    assert "1 of 3 records are not finished and are left out" in err
    assert "provenance.host in 2 of 2: " in err
    digest = out.split()[-1]
    code, out, _ = fsseg(capsys, "verify", pack)
    assert code == 0
    assert f"ok    {pack}: 8 files of 2 records, each with its SHA-256; by Ada; digest {digest}" in out
    assert f"ok    {pack}:toy/baseline-resnet18/1way-1shot/fold1-seed0-" in out
    assert "mean-IoU 65.00 %" in out
    assert out.endswith("0 of 3 packs and records differ from what was recorded\n")
    code, out, _ = fsseg(capsys, "verify", pack, "--episodes", 1)
    assert code == 0
    assert "not compared: episodes again: its checkpoint.pt is not here; name records that have it" in out
    assert fsseg(capsys, "unpack", pack, "--out", tmp_path / "out")[0] == 0
    assert fsseg(capsys, "verify", tmp_path / "out")[0] == 0


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
