"""The plan of a sweep on the disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.sweeps import plan as plans
from fsseg_bench.sweeps.plan import PLAN_FILE, Cell, Needs, Plan, read_plan, write_plan

CELLS = (
    Cell("one-ä", ("run", "--set", "x=1"), "a/b/c/fold1", "0" * 64, 2, 3, 4, None, {"lr": 0.1, "scales": [0.7, 1.0]}),
    Cell("two", ("run",), "a/b/c/fold1-checkpoint-*", "1" * 64, 0, 3, waits_for="one-ä"),
)
PLAN = Plan(1, "tiny", "s", "c", "2026-01-01T00:00:00+00:00", Needs(gpus=0, minutes=2.5), {"a": 1}, {"b": [2]}, CELLS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a plan that was written."""
    write_plan(tmp_path / "sweep", PLAN)
    return tmp_path / "sweep" / PLAN_FILE


def test_a_plan_is_read_as_it_was_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "parse", None)  # without a look at each value
    assert read_plan(path.parent) == PLAN
    assert read_plan(path.parent).by_label["two"] is not None


def test_an_edited_plan_is_looked_at(path: Path) -> None:
    text = path.read_text()
    path.write_text(text.replace('"retries": 2', '"retries": 9'))
    assert read_plan(path.parent).needs == Needs(gpus=0, minutes=2.5, retries=9)
    path.write_text("".join(line for line in text.splitlines(True) if '"check"' not in line))
    assert read_plan(path.parent) == PLAN


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"retries": 2', '"retries": -1', "needs.retries is -1; it must be at least 0"),
        ('"train": 2', '"train": "2"', r'cells\[0\].train is "2"; it must be a whole number'),
        ('"format": 1', '"format": 7', "format is 7; allowed: 1"),
        ('"name"', '"nam"', "unknown key 'nam'"),
        ('"cells": [', '"cells": [[', "not valid JSON"),
        ("{", "[", "not valid JSON"),
    ],
)
def test_a_damaged_plan_says_where(path: Path, old: str, new: str, told: str) -> None:
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=f"{PLAN_FILE}: {told}"):
        read_plan(path.parent)


def test_a_key_of_another_version_is_named(path: Path) -> None:
    content = json.loads(path.read_text())
    content.pop(plans.CHECK)
    content["cells"][0]["more"] = 1
    path.write_text(json.dumps({plans.CHECK: plans._check(content), **content}))
    with pytest.raises(UserError, match=r"unknown key 'cells\[0\].more'"):
        read_plan(path.parent)


@pytest.mark.parametrize("text", ["[]", "3", "null", "{}"])
def test_what_is_no_plan(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(UserError, match=PLAN_FILE):
        read_plan(path.parent)


def test_a_plan_that_was_cut_off_says_what_makes_another(tmp_path: Path) -> None:
    (tmp_path / PLAN_FILE).write_text('{"format": 1, "na')
    with pytest.raises(UserError, match=r"plan\.json: not valid JSON.*'fsseg-bench sweep FILE' plans anew"):
        read_plan(tmp_path)


def test_no_plan(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no sweep was planned here"):
        read_plan(tmp_path)
