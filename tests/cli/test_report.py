import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fsseg_bench.cli.report import FORMATS, report
from fsseg_bench.errors import UserError
from tests.support.runs import NATIVE, SPREAD, write_run


def call(*arguments: object) -> Result:
    return CliRunner().invoke(report, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder, SPREAD, native=NATIVE)
    write_run(folder, fold=2, status="failed", extra={"reason": "stopped"})
    return folder


def test_markdown_is_the_default(root: Path):
    result = call("--results", root)
    assert result.exit_code == 0
    assert "| baseline | resnet18   |   65.00 ± 12.50 |" in result.stdout
    assert "### Unfinished runs" in result.stdout
    assert "failed: stopped" in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_shows_the_number_and_the_unfinished_run(root: Path, form: str):
    result = call("--results", root, "--format", form)
    assert result.exit_code == 0
    number = {"latex": r"65.00 $\pm$ 12.50", "html": "65.00 <small>± 12.50</small>"}.get(form, "65.00 ± 12.50")
    assert number in result.stdout
    assert "failed: stopped" in result.stdout
    if form == "csv":
        assert next(csv.DictReader(io.StringIO(result.stdout)))["low"].startswith("52.5")
    if form == "json":
        assert json.loads(result.stdout)["tables"][0]["rows"][0][2]["value"] == pytest.approx(65)


def test_metric_and_resolution(root: Path):
    assert "75.00 ± 0.00" in call("--results", root, "--resolution", "native").stdout
    binary = 100 * (60 / 105 + 195 / 240) / 2
    assert f"{binary:.2f}" in call("--results", root, "--metric", "binary").stdout


def test_out_writes_the_same_text(root: Path, tmp_path: Path):
    out = tmp_path / "report.md"
    result = call("--results", root, "--out", out)
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"wrote {out}" in result.stderr
    assert out.read_text() == call("--results", root).stdout


def test_an_unwritable_output_is_named(root: Path, tmp_path: Path):
    result = call("--results", root, "--out", tmp_path / "none" / "report.md")
    assert isinstance(result.exception, UserError)
    assert "report.md: cannot be written: No such file" in str(result.exception)


def test_the_folder_of_the_environment_is_the_default(root: Path, monkeypatch):
    monkeypatch.setenv("FSSEG_RESULTS", str(root))
    assert "65.00" in call().stdout


def test_skipped_records_are_named_on_standard_error(root: Path, tmp_path: Path):
    copy = tmp_path / "runs"
    shutil.copytree(root, copy)
    extra = write_run(copy, fold=3)
    (extra / "run.json").write_text("{")
    result = call("--results", copy)
    assert result.exit_code == 0
    assert result.stderr.startswith(f"skipped: {extra / 'run.json'}: not valid JSON")
    assert "65.00" in result.stdout


def test_only_unfinished_runs_are_still_listed(tmp_path: Path):
    write_run(tmp_path, status="training")
    result = call("--results", tmp_path)
    assert result.exit_code == 0
    assert result.stdout.startswith("### Unfinished runs")


def test_no_runs_no_folder_unknown_format(tmp_path: Path):
    assert "holds no usable runs" in str(call("--results", tmp_path).exception)
    assert "no such results folder" in str(call("--results", tmp_path / "none").exception)
    result = call("--results", tmp_path, "--format", "pdf")
    assert result.exit_code == 2
    assert "'pdf' is not one of 'markdown'" in result.stderr


def test_neither_torch_nor_pandas_is_imported(root: Path):
    code = (
        "import sys; from fsseg_bench.cli.report import report; "
        "report(['--results', sys.argv[1], '--format', 'html'], standalone_mode=False); "
        "assert not {'torch', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(root)], check=True, capture_output=True)
