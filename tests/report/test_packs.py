"""Packs beside the runs of this machine."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.records.read import find_records
from fsseg_bench.report.document import Request, document
from fsseg_bench.report.make import make_report
from fsseg_bench.report.select import select
from tests.support.packs import packed, write_records
from tests.support.runs import edit_info


def made_again(root: Path, folds: int) -> Path:
    """The records of somebody who has made the same runs at another time."""
    for run in find_records(write_records(root, folds=folds))[0]:
        edit_info(run.folder, created="2026-01-02T03:04:05+00:00")
    return root


def test_a_record_that_is_here_and_in_a_pack_counts_once(tmp_path: Path) -> None:
    root = write_records(tmp_path / "runs", folds=2)
    own = packed(root, tmp_path / "own.fsseg.zip", by="me")
    theirs = packed(made_again(tmp_path / "ada", 2), tmp_path / "ada.fsseg.zip", by="Ada")
    made = make_report(root=root, packs=[own, theirs, own])
    assert [run.record.owner for run in made.collection.done] == ["", "", "Ada", "Ada"]
    (told,) = made.collection.warnings
    assert told.message == f"{own}: 2 of its records stand here already, and count once"
    assert len(make_report(packs=[own], root=tmp_path / "ada").collection.done) == 4


def test_rows_say_whose_they_are_and_none_is_merged(tmp_path: Path) -> None:
    root = write_records(tmp_path / "runs", folds=1)
    pack = packed(made_again(tmp_path / "ada", 1), tmp_path / "ada.fsseg.zip", by="Ada <b>")
    other = packed(write_records(tmp_path / "other", folds=1, seed=1), tmp_path / "bob.fsseg.zip")
    made = make_report(root=root, packs=[pack, other], where={})
    rows = [json.dumps(table["rows"]) for table in json.loads(made.text("json"))["tables"]]
    assert sum(row.count("by Ada <b>") for row in rows) == 1
    assert sum(row.count("by bob") for row in rows) == 1
    assert made.doubts == []  # one run here and there is no rival of itself
    assert [run.record.owner for run in made.collection.done][:2] == ["", "Ada <b>"]
    assert made.collection.done[2].record.owner.startswith("bob (")
    paths = [made.collection.path(run.record) for run in made.collection.done]
    assert paths[1] == f"{pack}:{paths[0]}"
    page = made.text("html")
    assert "by Ada &lt;b&gt;" in page
    assert "by Ada <b>" not in page


def test_packs_alone_and_what_is_wrong_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = packed(write_records(tmp_path / "runs", folds=1), tmp_path / "ada.fsseg.zip")
    monkeypatch.setenv("FSSEG_RESULTS", str(tmp_path / "nowhere"))
    assert len(make_report(packs=[pack]).collection.done) == 1
    with pytest.raises(UserError, match="no such results folder"):
        make_report(root=tmp_path / "nowhere", packs=[pack])
    bad = tmp_path / "bad.fsseg.zip"
    bad.write_bytes(b"PK")
    with pytest.raises(UserError, match=r"bad.fsseg.zip: not a pack, or damaged"):
        make_report(packs=[bad])


def test_the_board_has_a_line_a_row_and_shot_with_what_it_is_filtered_by(tmp_path: Path) -> None:
    root = write_records(tmp_path / "runs", folds=4)
    pack = packed(made_again(tmp_path / "ada", 4), tmp_path / "ada.fsseg.zip", by="Ada <b>")
    write_records(root, folds=1, backbone="resnet101")
    made = document(root, Request(board=True, packs=(pack,)))
    html = made.text("html")
    lines = re.findall(r"<tr>(<t[hd][^>]*data-of.*?)</tr>", html)
    cells = [dict(re.findall(r'data-of="(\w+)">([^<]*)', line)) for line in lines]
    assert [(c["dataset"], c["shot"], c["backbone"], c["whose"]) for c in cells] == [
        ("toy", "1", "resnet18", "here"),
        ("toy", "1", "resnet18", "Ada &lt;b&gt;"),
        ("toy", "1", "resnet101", "here"),
    ]
    values = [re.findall(r'data-value="([^"]*)"', line) for line in lines]
    assert [[round(float(value), 9) for value in own] for own in values] == [[65], [65], []]  # one fold is no mean
    assert 'data-filters="dataset way shot method backbone whose seen"' in html
    assert "Ada <b>" not in html


def test_a_pack_is_compared_with_the_runs_here(tmp_path: Path) -> None:
    root = write_records(tmp_path / "runs", folds=1)
    pack = packed(write_records(tmp_path / "ada", folds=1, seed=1), tmp_path / "ada.fsseg.zip")
    selection = select(["baseline", str(pack)], root, {})
    assert selection.warnings == ()
    assert [c.label for c in selection.contenders] == ["baseline (baseline)", f"baseline ({pack})"]
    assert [c.settings.seed for c in selection.contenders] == [0, 1]


def test_of_a_pack_with_several_methods_one_is_chosen_behind_its_name(tmp_path: Path) -> None:
    root = write_records(tmp_path / "runs", folds=1)
    write_records(tmp_path / "ada", folds=1, method="panet")
    pack = packed(write_records(tmp_path / "ada", folds=1, seed=1), tmp_path / "ada.fsseg.zip")
    with pytest.raises(UserError, match=rf"{pack},method=VALUE for this one"):
        select(["baseline", str(pack)], root, {})
    chosen = select(["baseline", f"{pack},method=panet"], root, {}).contenders
    assert [(c.label, c.settings.seed) for c in chosen] == [("baseline", 0), ("panet", 0)]
    with pytest.raises(UserError, match="no such folder or pack"):
        select(["baseline", "nowhere.zip,method=panet"], root, {})
