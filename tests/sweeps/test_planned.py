"""A sweep is planned once, until its plan would be another one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fsseg_bench.storage.lock import FolderLock
from fsseg_bench.sweeps.attempts import LOG_FILE, begin_attempt, end_attempt
from fsseg_bench.sweeps.code_state import code_state
from fsseg_bench.sweeps.plan import PLAN_FILE, Cell, Plan, cell_folder, read_plan, sweep_folder, write_plan
from fsseg_bench.sweeps.planned import planned
from fsseg_bench.sweeps.spec import Spec, parse_spec
from tests.support.fresh import python

METHOD = '"""A method.\n"""\n'


def spec_of(**tables: Any) -> Spec:
    common = {"method": "panet", "dataset": "shapes5i", **tables.pop("common", {})}
    return parse_spec({"name": "tiny", "common": common, **tables})


class Planner:
    """Makes plans of one cell and counts them."""

    def __init__(self, root: Path) -> None:
        self.root, self.made = root, 0
        self.said: list[str] = []

    def __call__(self, spec: Spec, **how: Any) -> Plan:
        def make() -> Plan:
            self.made += 1
            cell = Cell("one", ("run",), "a/b", "0" * 64, 1, 1)
            created = f"2026-01-01T00:00:0{self.made}+00:00"
            code = code_state(spec, self.root)
            return Plan(1, spec.name, spec.digest, code, created, spec.cell, spec.slurm, spec.ray, (cell,))

        folder, plan = planned(spec, self.root, make, self.said.append, **how)
        assert folder == sweep_folder(self.root, "tiny")
        assert read_plan(folder) == plan
        return plan


@pytest.fixture
def plan(tmp_path: Path) -> Planner:
    """A sweep that was planned once."""
    found = Planner(tmp_path / "runs")
    found(spec_of())
    assert (found.made, found.said) == (1, [])
    return found


def test_the_same_sweep_keeps_its_plan(plan: Planner) -> None:
    first = plan(spec_of())
    assert plan(spec_of(cell={"retries": 5}, slurm={"partition": "gpu"})) == replace(
        first, needs=replace(first.needs, retries=5), slurm={"partition": "gpu"}
    )
    assert plan(spec_of()) == first
    assert (plan.made, plan.said) == (1, [])


def _edited(root: Path) -> None:
    (sweep_folder(root, "tiny") / PLAN_FILE).write_text("{")


def _refused(root: Path) -> None:
    folder = sweep_folder(root, "tiny")
    own = cell_folder(folder, read_plan(folder).cells[0])
    begin_attempt(own, "local", 0)
    (own / LOG_FILE).write_text("# now on here\nerror: --identity 0000: the run's identity is 1234\n# end\n")
    end_attempt(own, 2, 0)


@pytest.mark.parametrize(
    ("tables", "before", "why"),
    [
        ({"grid": {"seed": [1]}}, None, "since the sweep's file asks for other cells"),
        ({"cell": {"threads": 2}}, None, "since the sweep's file asks for other cells"),
        ({}, _edited, "since the earlier plan cannot be read: "),
        ({}, _refused, "since code or data have changed: one would be another run now"),
    ],
)
def test_a_plan_that_is_not_good_is_made_anew_and_said(
    plan: Planner, tables: dict[str, Any], before: Callable[[Path], None] | None, why: str
) -> None:
    if before:
        before(plan.root)
    plan(spec_of(**tables))
    assert plan.made == 2
    assert len(plan.said) == 1
    assert f"{PLAN_FILE}: planned anew, {why}" in plan.said[0]


def test_what_failed_before_the_plan_was_made_says_nothing_of_it(plan: Planner) -> None:
    _refused(plan.root)
    folder = sweep_folder(plan.root, "tiny")
    write_plan(folder, replace(read_plan(folder), created="2999-01-01T00:00:00+00:00"))
    plan(spec_of())
    assert plan.made == 1


def test_a_plan_is_made_anew_when_one_asks_for_it(plan: Planner) -> None:
    plan(spec_of(), replan=True)
    assert plan.made == 2
    assert plan.said[0].endswith("planned anew, as you asked")


@pytest.mark.parametrize("variable", ["FSSEG_DATA", "FSSEG_METHODS_PATH", "FSSEG_BACKBONES_PATH", "FSSEG_SOURCES_PATH"])
def test_places_in_the_environment_count(
    plan: Planner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    monkeypatch.setenv(variable, str(tmp_path))
    plan(spec_of())
    assert "code, protocols, or places of data have changed" in plan.said[0]


def test_code_and_files_that_the_sweep_names_count(tmp_path: Path) -> None:
    mine, protocol, episodes = tmp_path / "mine", tmp_path / "p.toml", tmp_path / "e-1.csv"
    mine.mkdir()
    files = [mine / "own.py", protocol, episodes]
    for file in files:
        file.write_text(METHOD)
    (tmp_path / "other.py").write_text(METHOD)
    common = {"methods_path": mine, "dataset": protocol, "episodes": tmp_path / "e-{fold}.csv"}
    spec = spec_of(common=common)
    seen = {code_state(spec, tmp_path)}
    for count, file in enumerate(files, start=2):
        file.write_text(f"{METHOD}# {file}\n")
        seen.add(code_state(spec, tmp_path))
        assert len(seen) == count, file
    (tmp_path / "other.py").write_text(f"{METHOD}#\n")
    assert code_state(spec, tmp_path) in seen
    assert code_state(spec, tmp_path / "elsewhere") not in seen


def test_files_that_a_protocol_names_count(tmp_path: Path) -> None:
    """Lists of classes and images, the protocol that is trained on, and its lists; not a protocol that leads back."""
    own, theirs = tmp_path / "own.toml", tmp_path / "theirs.toml"
    lists = [tmp_path / name for name in ("classes.txt", "images.txt", "base.txt")]
    for file in lists:
        file.write_text("a\n")
    own.write_text(
        'classes = ["classes.txt"]\n[data]\ntest_list = ["val", "images.txt"]\n[train]\nprotocol = "theirs.toml"\n'
    )
    theirs.write_text('base = ["base.txt", "nowhere.txt"]\n[train]\nprotocol = "own.toml"\n')
    spec = spec_of(common={"dataset": own})
    seen = {code_state(spec, tmp_path)}
    for count, file in enumerate([*lists, theirs, own], start=2):
        file.write_text(f"{file.read_text()}# {count}\n")
        seen.add(code_state(spec, tmp_path))
        assert len(seen) == count, file
    own.write_text("no = TOML = at all")
    assert code_state(spec, tmp_path) not in seen


def test_another_process_that_plans_is_waited_for(plan: Planner) -> None:
    lock = FolderLock(sweep_folder(plan.root, "tiny"))
    threading.Timer(1.0, lock.release).start()
    plan(spec_of())
    assert plan.made == 1
    assert "another process plans this sweep; waiting for it" in plan.said[0]


def test_nothing_is_locked_once_it_is_planned(plan: Planner) -> None:
    FolderLock(sweep_folder(plan.root, "tiny")).release()


def test_a_kept_plan_needs_no_torch(plan: Planner, tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text('name = "tiny"\n[common]\nmethod = "panet"\ndataset = "shapes5i"\n')
    code = (
        "import sys; from pathlib import Path\n"
        "from fsseg_bench.sweeps.planned import planned\n"
        "from fsseg_bench.sweeps.spec import read_spec\n"
        f"folder, plan = planned(read_spec({str(path)!r}), Path({str(plan.root)!r}), lambda: 1 / 0)\n"
        "print(len(plan.cells), 'torch' in sys.modules)"
    )
    assert python(code).split() == ["1", "False"]
