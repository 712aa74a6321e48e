"""``report`` of some runs and published rows alone."""

import csv
import io
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fsseg_bench.cli.report import report
from tests.support.paper import paper_runs
from tests.support.runs import SPREAD, write_run


def call(*arguments: object) -> Result:
    return CliRunner().invoke(report, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("several")
    for method in ("panet", "biopt"):
        for shot in (1, 5):
            write_run(folder, SPREAD, method=method, shot=shot, seed=shot)
    write_run(folder, method="canet", status="training")
    return folder


@pytest.mark.parametrize(
    ("options", "shown", "left_out"),
    [
        (["--method", "panet"], [("panet", "1"), ("panet", "5")], 3),
        (["--method", "panet", "--method", "biopt", "--shot", "5"], [("biopt", "5"), ("panet", "5")], 3),
        (["--seed", "1"], [("biopt", "1"), ("panet", "1")], 3),
        (["--where", "recipe.iterations=100", "--dataset", "toy", "--way", "1", "--backbone", "resnet18"], None, 0),
    ],
)
def test_what_is_left_out_is_counted(
    several: Path, options: list[str], shown: list[tuple[str, str]] | None, left_out: int
):
    result = call("--results", several, "--format", "csv", *options)
    rows = csv.DictReader(io.StringIO(result.stdout))
    found = sorted({(row["method"], row["shot"]) for row in rows if row["value"]})
    assert found == (shown or [(method, shot) for method in ("biopt", "panet") for shot in "15"])
    assert (f"note: {left_out} of 5 runs left out" in result.stderr) == (left_out > 0)
    assert ("not finished" in result.stderr) == (shown is None)


def test_published_rows_are_chosen_and_counted(several: Path):
    options = ("--table", "1", "--method", "panet", "--shot", "1", "--format", "csv")
    result = call("--results", several, *options)
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert {(row["method"], row["shot"]) for row in rows} == {("PANet", "1")}
    assert re.search(r"note: Table 1: \d+ of 16 published rows left out", result.stderr)
    backbone = call("--results", several, "--table", "1", "--backbone", "resnet101", "--format", "csv")
    assert {row["backbone"] for row in csv.DictReader(io.StringIO(backbone.stdout))} == {"ResNet-101"}
    assert "no run is asked for" in backbone.stderr
    split = call("--results", several, "--table", "2", "--dataset", "coco20i-b", "--format", "csv")
    assert {row["protocol"] for row in csv.DictReader(io.StringIO(split.stdout))} == {"coco20i-b"}


def test_measured_rows_of_a_method_that_is_not_published(tmp_path: Path):
    paper_runs(tmp_path, 40, method="mine", backbone="vgg16")
    result = call("--results", tmp_path, "--table", "all", "--method", "mine", "--format", "csv")
    tables = {row["table"] for row in csv.DictReader(io.StringIO(result.stdout)) if row["value"]}
    assert {name.partition("-pascal5i")[0] for name in tables} == {"runs", "table-1", "table-3"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "pannet"], "unknown method among the runs 'pannet'. Did you mean 'panet' or 'canet'?"),
        (["--table", "1", "--method", "nobody"], "unknown method among the runs 'nobody'"),
        (["--shot", "3"], "no run has shot=3; there is 1, 5"),
        (["--where", "lr"], "--where"),
    ],
)
def test_nothing_is_left(several: Path, options: list[str], message: str):
    assert message in str(call("--results", several, *options).exception)


def test_no_runs_and_no_published_row(tmp_path: Path):
    assert "no published row is asked for: Table 1: 16 of 16" in str(
        call("--results", tmp_path, "--table", "1", "--method", "nobody").exception
    )
