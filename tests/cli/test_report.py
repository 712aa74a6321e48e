import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from fsseg_bench.cli.main import main
from fsseg_bench.cli.report import FORMATS, report
from fsseg_bench.errors import UserError
from fsseg_bench.report.find_papers import papers
from tests.support.pairs import pair, write_fold
from tests.support.paper import paper_runs
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
    assert "| baseline | resnet18   | 65.00 ± 12.50 (a) |" in result.stdout
    assert "### Unfinished runs" in result.stdout
    assert "failed: stopped" in result.stdout
    assert result.stderr == ""


def test_a_terminal_gets_drawn_tables(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    report.main(["--results", str(root)], standalone_mode=False)
    lines = click.unstyle(capsys.readouterr().out).splitlines()
    assert lines[0] == "toy: mean-IoU, 1-way"
    (row,) = (" ".join(line.split()) for line in lines if line.startswith("baseline  resnet18 "))
    assert row == "baseline resnet18 65.00 ± 12.50 (a) - (b) - (b)"
    assert "Not shown for want of space: 3 columns of single folds." in " ".join(lines)
    assert any("Unfinished runs" in line for line in lines)
    assert max(map(len, lines)) <= 60


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_shows_the_number_and_the_unfinished_run_apart(root: Path, form: str):
    result = call("--results", root, "--format", form)
    assert result.exit_code == 0
    apart = form in {"latex", "csv"}
    assert ("failed: stopped" in result.stderr, "failed: stopped" in result.stdout) == (apart, not apart)
    number = {"latex": r"65.00\,{\scriptsize$\pm$12.50}", "html": "65.00 <small>± 12.50</small>"}.get(
        form, "65.00 ± 12.50"
    )
    assert number in result.stdout
    if form == "csv":
        assert next(csv.DictReader(io.StringIO(result.stdout)))["low"].startswith("52.5")
    if form == "json":
        assert json.loads(result.stdout)["tables"][0]["rows"][0][2]["value"] == pytest.approx(65)


def test_metric_and_resolution(root: Path):
    assert "75.00 (a)" in call("--results", root, "--resolution", "native").stdout
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
    assert "'pdf' is not one of 'table', 'markdown'" in result.stderr


class TestPaperTables:
    @pytest.mark.parametrize("form", FORMATS)
    @pytest.mark.parametrize(
        ("number", "value"), [("1", "56.85"), ("2", "38.94"), ("3", "70.74"), ("4", "54.76"), ("5", "63.17")]
    )
    def test_published_numbers_in_every_format_without_any_run(
        self, tmp_path: Path, form: str, number: str, value: str
    ):
        result = call("--results", tmp_path, "--table", number, "--format", form)
        assert result.exit_code == 0
        assert value in result.stdout
        assert form == "html" or ("missing" in result.stdout) == (form in {"csv", "json"})
        assert "holds no usable runs; measured numbers are missing" in result.stderr

    def test_without_a_results_folder(self, tmp_path: Path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert call("--table", "4").exit_code == 0
        assert "no such results folder" in str(call("--table", "4", "--results", "none").exception)
        assert "holds no usable runs" in str(call("--table", "runs").exception)

    def test_measured_rows_and_own_protocols(self, tmp_path: Path):
        paper_runs(tmp_path, 40, method="panet", backbone="vgg16")
        write_run(tmp_path, SPREAD)
        result = call("--results", tmp_path, "--table", "all", "--columns", "measured,difference")
        assert result.exit_code == 0
        titles = [line for line in result.stdout.splitlines() if line.startswith("### ")]
        others = [table.title for paper in papers() for table in paper.tables if paper.name != "biopt"]
        assert [title.split(":")[0] for title in titles[:7]] == [
            "### pascal5i",
            "### toy",
            *(f"### BiOpt paper, Table {n}" for n in (1, 2, 3, 4, 5)),
        ]
        assert [re.sub(", (published|measured)$", "", title) for title in titles[7:]] == [
            f"### {title}" for title in others
        ]
        assert "-6.60" in result.stdout
        assert "65.00 ± 12.50" in result.stdout
        assert "| published" not in result.stdout

    def test_layout(self, tmp_path: Path):
        lines, columns = (
            call("--table", "5", "--results", tmp_path, "--layout", x).stdout for x in ("lines", "columns")
        )
        assert "| published" in lines
        assert "1-shot mean published" in columns
        assert "1-shot mean published" not in lines

    def test_several_tables_once_each(self, tmp_path: Path):
        result = call("--results", tmp_path, "--table", "5", "--table", "4", "--table", "5")
        assert [line[17:24] for line in result.stdout.splitlines() if line.startswith("###")] == ["Table 4", "Table 5"]

    def test_an_unknown_layout(self, tmp_path: Path):
        result = call("--results", tmp_path, "--layout", "round")
        assert (result.exit_code, "'round' is not one of 'auto'" in result.stderr) == (2, True)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                ["--columns", "published,odd"],
                "--columns published,odd: 'odd' is none of published, measured, difference",
            ),
            (["--table", "6"], "unknown table '6'. Known: 1, 2, 3, 4, 5, all, benchmarks, "),
            (["--table", "1", "--papers-path", "none"], "--papers-path none: no such folder"),
            (["--commands", "--macros"], "exclude each other"),
            (["--table", "1", "--metric", "binary"], "the paper's tables have their own metric"),
            (["--table", "1", "--episodes", "0"], "--episodes 0: it must be at least 1"),
        ],
    )
    def test_contradictions(self, tmp_path: Path, arguments: list[str], message: str):
        assert message in str(call("--results", tmp_path, *arguments).exception)


def test_intervals_over_images_or_episodes(tmp_path: Path):
    write_fold(tmp_path, pair(1, (12, 9))[0], 1, images=6)
    default, images, episodes = (
        call("--results", tmp_path, *options).stdout
        for options in ((), ("--interval", "images"), ("--interval", "episodes"))
    )
    assert default == images != episodes
    assert "± half the 95 % interval over images and episodes; 21 episodes a fold." in images
    assert "± half the 95 % interval over episodes alone" in episodes
    for text in (images, episodes):
        assert re.search(
            r"The episodes of a fold: \d+ different episodes of \d+ query and \d+ support images \(12 different", text
        )
    assert "with under 30 test images of a class, as in 2 classes of fold 1 (6)." in images
    assert "under 30" not in episodes


def test_records_that_do_not_know_their_images_are_marked_and_named(tmp_path: Path):
    write_fold(tmp_path, pair(1, (12, 9))[0], 1, images=6)
    older = write_fold(tmp_path, pair(2, (12, 9))[0], 2)
    text = call("--results", tmp_path).stdout
    (row,) = (line for line in text.splitlines() if line.startswith("| baseline"))
    assert re.search(r"\| +\d+\.\d\d ± \d+\.\d\d \(a\) \| +\d+\.\d\d ± \d+\.\d\d \(b\) \|", row)
    assert "- (a) a wide interval: few query images carry it" in text
    assert "- (b) interval over the draw of episodes alone, which is too narrow: the images are not known" in text
    named = f"whose intervals are over episodes alone and too narrow: {older.relative_to(tmp_path).as_posix()}."
    assert f"Records without episodes.csv, {named}" in text
    page = call("--results", tmp_path, "--table", "1").stdout
    assert "Records without" not in page, "none of its records is in that table"


class TestRescoring:
    def test_first_episodes(self, root: Path, tmp_path: Path):
        write_run(tmp_path, [SPREAD[0], SPREAD[2], SPREAD[1]])
        result = call("--results", tmp_path, "--episodes", "2")
        assert f"{100 * (10 / 40 + 20 / 25) / 2:.2f} (a)" in result.stdout
        assert "the first 2 episodes of each fold" in result.stdout

    def test_per_class(self, root: Path):
        result = call("--results", root, "--per-class")
        assert re.search(r"\| fold 1 \| cat +\| +50\.00 ± 25\.00 \(a\) \|", result.stdout)
        native = call("--results", root, "--per-class", "--resolution", "native").stdout
        assert re.search(r"\| fold 1 \| dog +\| +100\.00 \(a\) \|", native)

    def test_per_class_of_the_table_s_protocols_alone(self, tmp_path: Path):
        paper_runs(tmp_path, 40, method="panet", backbone="vgg16")
        write_run(tmp_path)
        result = call("--results", tmp_path, "--table", "1", "--per-class")
        assert "aeroplane" in result.stdout
        assert "| cat" not in result.stdout.partition("IoU of each class")[2].partition("bus")[0]
        assert "toy" not in result.stdout


class TestCommandsAndMacros:
    def test_commands_write_where_the_records_are(self, tmp_path: Path):
        write_run(tmp_path, fold=2, passed={"dataset": "own.toml"})
        result = call("--results", tmp_path, "--table", "4", "--table", "runs", "--commands")
        first, *_, last = result.stdout.splitlines()
        assert first.startswith("fsseg-bench run --method baseline --dataset pascal5i --shot 1 --backbone resnet50")
        assert last.startswith("fsseg-bench run --method baseline --dataset own.toml")
        assert first.endswith(f"--out {tmp_path}")

    def test_nothing_missing(self, tmp_path: Path):
        paper_runs(tmp_path)
        assert call("--results", tmp_path, "--commands").stdout == "# nothing is missing\n"

    def test_macros_to_a_file(self, tmp_path: Path):
        out = tmp_path / "numbers.tex"
        result = call("--results", tmp_path, "--table", "4", "--macros", "--out", out)
        assert (result.exit_code, result.stdout) == (0, "")
        assert r"\@namedef{fsseg@table-4/ResNet-50/InOpt+/1-shot/mean/published}{54.76}" in out.read_text()


class TestStrict:
    def test_clean_records_are_fine(self, root: Path):
        assert call("--results", root, "--strict").exit_code == 0

    def test_a_skipped_record_ends_with_1_and_the_table_is_still_written(self, root: Path, tmp_path: Path):
        copy, out = tmp_path / "runs", tmp_path / "report.md"
        shutil.copytree(root, copy)
        (write_run(copy, fold=3) / "run.json").write_text("{")
        result = call("--results", copy, "--strict", "--out", out)
        assert result.exit_code == 1
        assert "65.00" in out.read_text()

    def test_two_records_for_one_cell_are_both_listed_and_end_with_1(self, root: Path, tmp_path: Path):
        copy = tmp_path / "runs"
        shutil.copytree(root, copy)
        (original,) = [path.parent for path in copy.rglob("run.json") if '"done"' in path.read_text()]
        shutil.copytree(original, original.with_name("copy"))
        result = call("--results", copy, "--strict")
        assert result.exit_code == 1
        assert "2 records claim this cell, each is listed" in result.stderr
        assert result.stdout.count("**65.00** ± 12.50") == 2
        assert call("--results", copy).exit_code == 0

    def test_the_console_script_ends_with_1_too(self, tmp_path: Path):
        (write_run(tmp_path) / "run.json").write_text("{")
        write_run(tmp_path, fold=2)
        with pytest.raises(SystemExit) as stopped:
            main(["report", "--results", str(tmp_path), "--strict"])
        assert stopped.value.code == 1


def test_numpy_comes_after_its_threads_are_limited():
    code = (
        "import os, sys; from fsseg_bench.cli.main import cli; assert 'numpy' not in sys.modules; "
        "cli(['report', '--table', '4', '--results', '.'], standalone_mode=False, obj={'debug': False})\n"
        "assert 'numpy' in sys.modules; assert os.environ['OPENBLAS_NUM_THREADS'] == '1'"
    )
    environment = {key: value for key, value in os.environ.items() if key != "OPENBLAS_NUM_THREADS"}
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment)


def test_neither_torch_nor_pandas_is_imported(root: Path):
    code = (
        "import sys; from fsseg_bench.cli.report import report; "
        "report(['--results', sys.argv[1], '--format', 'html', '--table', 'all'], standalone_mode=False); "
        "assert not {'torch', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(root)], check=True, capture_output=True)
