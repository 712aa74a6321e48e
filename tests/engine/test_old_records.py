"""Records of schema 1, as version 0.1.0 wrote them: an untrained run, a trained one, an evaluation of its checkpoint.

The trained run's checkpoint.pt is not kept.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fsseg_bench.engine import plan as planning
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.run import execute
from fsseg_bench.records.info import sealed
from fsseg_bench.records.read import read_run
from fsseg_bench.records.settings import identity_hash
from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.compare import compare
from fsseg_bench.report.select import select
from fsseg_bench.report.table import runs_tables
from fsseg_bench.storage.json_text import write_json
from tests.support.fresh import ROOT

STORED = ROOT / "tests" / "fixtures" / "schema1"
UNTRAINED = "panet-resnet18-layer2/1way-1shot/fold1-seed3-9a8e4e72"
TRAINED = "biopt-resnet18-layer2/1way-2shot/fold1-seed3-d5e5525f"
EVALUATED = "biopt-resnet18-layer2/1way-2shot/fold1-checkpoint-37dffe75"


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STORED, tmp_path / "runs")) / "shapes5i"


@pytest.mark.parametrize("name", [UNTRAINED, TRAINED, EVALUATED])
def test_settings_and_identity_are_those_of_then(records: Path, name: str) -> None:
    document = json.loads((records / name / "run.json").read_text())
    run = read_run(records / name)
    assert run.info.settings.to_json() == document["settings"]
    assert run.info.settings.identity == document["identity"] == run.info.identity
    assert run.info.passed.given() == document["passed"]
    assert run.folder.name.endswith(run.info.identity[:8])


def test_reports_give_the_scores_of_then(records: Path) -> None:
    found = find_runs(records)
    assert not found.warnings
    assert len(found.done) == 3
    for run in found.done:
        for resolution, scores in run.record.info.scores.items():
            assert run.score("mean", resolution) == scores["mean_iou"]
            assert run.score("binary", resolution) == scores["binary_iou"]
    rows = [[cell.text for cell in row] for table in runs_tables(found) for row in table.rows]
    assert {row[0] for row in rows} == {"panet", "biopt"}
    assert "checkpoint run d5e5525f" in {row[2] for row in rows}


def test_trained_and_evaluated_are_compared(records: Path) -> None:
    found = compare(select([str(records / TRAINED), str(records / EVALUATED)], records, {}).contenders, resamples=100)
    assert found.versus[0].overall["mean"].difference.value == 0
    assert found.versus[0].differs == ()


def test_former_names_of_settings_are_read_and_the_identity_stays(records: Path) -> None:
    path = records / TRAINED / "run.json"
    document = json.loads(path.read_text())
    document["settings"]["recipe"]["augment"] = "canet-both"
    identity = identity_hash(document["settings"])
    write_json(path, sealed(document | {"identity": identity}))
    run = read_run(path.parent)
    assert run.settings.recipe["augment"] == "enlarged-crop"
    assert run.info.identity == identity


def test_as_the_earliest_versions_wrote_them(records: Path) -> None:
    path = records / UNTRAINED / "run.json"
    document = json.loads(path.read_text())
    for key in ("check", "files", "lines", "passed", "provenance", "timings", "diagnostics", "created", "training"):
        document.pop(key, None)
    for key in ("base_classes", "evaluated_digest"):
        del document["settings"][key]
    write_json(path, document | {"identity": identity_hash(document["settings"])})
    run = read_run(path.parent)
    assert run.info.settings.to_json() == document["settings"]
    assert find_runs(path.parent).done[0].score("mean", "input") == document["scores"]["input"]["mean_iou"]


@pytest.mark.slow
def test_the_same_command_takes_it_for_finished(records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = records / UNTRAINED
    then, before = read_run(folder).info, (folder / "run.json").read_bytes()
    monkeypatch.setattr(planning, "method_digest", lambda *_: then.settings.method_digest)
    record = execute(make_plan(replace(then.passed, out=str(records.parent))))
    assert record.folder == folder
    assert record.status == "done"
    assert (folder / "run.json").read_bytes() == before
