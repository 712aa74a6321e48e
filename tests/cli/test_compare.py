from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fsseg_bench.cli.compare import compare
from fsseg_bench.errors import UserError
from tests.support.pairs import write_pair
from tests.support.runs import write_run


def call(*arguments: object) -> Result:
    return CliRunner().invoke(compare, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    write_pair(folder, images=30)
    return folder


def test_markdown_without_a_terminal(root: Path):
    result = call("baseline", "biopt", "--results", root, "--power", "0.5")
    assert result.exit_code == 0
    assert "### toy: differences from baseline" in result.stdout
    assert "### toy: IoU by class" in result.stdout
    assert "### What resolves a difference of 0.5 percentage points" in result.stdout
    assert (
        result.stdout == call("baseline", "biopt", "--results", root, "--power", "0.5", "--format", "markdown").stdout
    )


def test_intervals_over_images_or_episodes(root: Path):
    default, episodes = (
        call("baseline", "biopt", "--results", root, *o).stdout for o in ((), ("--interval", "episodes"))
    )
    assert "paired interval over images and episodes" in default
    assert "paired interval over episodes alone" in episodes


def test_few_images_are_warned_of(tmp_path: Path):
    write_pair(tmp_path, (1,), images=5)
    assert (
        "with under 30 test images of a class, as in 2 classes of fold 1 (5)."
        in call("baseline", "biopt", "--results", tmp_path).stderr
    )


def test_a_terminal_gets_drawn_tables(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    compare.main(["baseline", "biopt", "--results", str(root)], standalone_mode=False)
    out = capsys.readouterr().out
    assert "toy: differences from baseline" in out
    assert "───" in out
    assert "###" not in out


def test_latex_csv_and_macros(root: Path, tmp_path: Path):
    both = ("baseline", "biopt", "--results", root)
    document = json.loads(call(*both, "--format", "json").stdout)
    found = document["methods"][0]["overall"]["mean"]
    rows = list(csv.DictReader(io.StringIO(call(*both, "--format", "csv").stdout)))
    whole = {row["quantity"]: row for row in rows if (row["metric"], row["folds"]) == ("mean-IoU", "mean")}
    assert list(whole) == ["baseline", "biopt", "difference", "interval", "p", "p (Holm)"]
    assert float(whole["difference"]["value"]) == pytest.approx(found["difference"])
    assert float(whole["difference"]["low"]) == pytest.approx(found["low"])
    assert float(whole["p (Holm)"]["value"]) == pytest.approx(found["p_holm"])
    latex = call(*both, "--format", "latex").stdout
    assert latex.count(r"\begin{table") == 2
    assert f"{found['difference']:+.2f}".replace("-", "$-$") in latex
    out = tmp_path / "numbers.tex"
    assert call(*both, "--macros", "--out", out).stdout == ""
    name = "compare-differences/biopt/mean-IoU/mean/difference"
    assert rf"\@namedef{{fsseg@{name}}}{{{found['difference']:+.2f}}}" in out.read_text()


def test_notes_are_said_once_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    write_pair(tmp_path, (1,), images=5)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "300")
    compare.main(["baseline", "biopt", "--results", str(tmp_path)], standalone_mode=False)
    shown = capsys.readouterr()
    assert (shown.out + shown.err).count("Intervals are somewhat narrow") == 1


def test_run_folders_and_json(root: Path):
    folders = [next(root.glob(f"toy/{method}-*/*/fold2-*")) for method in ("biopt", "baseline")]
    result = call(*folders, "--format", "json", "--interval", "episodes", "--resamples", "150", "--resample-seed", "4")
    document = json.loads(result.stdout)
    assert document["baseline"]["runs"] == [str(folders[0])]
    assert (document["folds"], document["resamples"]) == ([2], 150)
    assert document["methods"][0]["overall"]["mean"]["difference"] < 0  # the baseline is worse here
    other = call(*folders, "--format", "json", "--interval", "episodes", "--resamples", "150", "--resample-seed", "5")
    assert json.loads(other.stdout) != document


def test_out_writes_the_same_text(root: Path, tmp_path: Path):
    result = call("baseline", "biopt", "--results", root, "--out", tmp_path / "c.md")
    assert (result.exit_code, result.stdout) == (0, "")
    assert (tmp_path / "c.md").read_text() == call("baseline", "biopt", "--results", root).stdout
    assert isinstance(
        call("baseline", "biopt", "--results", root, "--out", tmp_path / "no" / "c.md").exception, UserError
    )


def test_plot(root: Path, tmp_path: Path):
    result = call("baseline", "biopt", "--results", root, "--plot", tmp_path / "d.png")
    assert result.exit_code == 0
    assert (tmp_path / "d.png").read_bytes().startswith(b"\x89PNG")
    wrong = call("baseline", "biopt", "--results", root, "--plot", tmp_path / "d.gif").exception
    assert "unknown figure format 'gif'" in str(wrong)


def test_without_matplotlib_the_message_says_what_to_install(root: Path, tmp_path: Path):
    code = (
        "import sys; sys.modules['matplotlib.figure'] = None; sys.modules['matplotlib'] = None\n"
        "from fsseg_bench.cli.compare import compare\n"
        "from fsseg_bench.errors import UserError\n"
        "try: compare.main(sys.argv[1:], standalone_mode=False)\n"
        "except UserError as error: print('told:', error)\n"
    )
    arguments = ["baseline", "biopt", "--results", str(root), "--plot", str(tmp_path / "d.png")]
    out = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True).stdout
    assert "told: figures need matplotlib" in out
    assert "pip install 'fsseg-bench[plots]'" in out


def test_filters_reach_the_selection(root: Path):
    assert "no run has shot=5" in str(call("baseline", "biopt", "--results", root, "--shot", "5").exception)
    assert "no run has lr=1" in str(call("baseline", "biopt", "--results", root, "--where", "lr=1").exception)
    everything = ["--dataset", "toy", "--backbone", "resnet18", "--shot", "1", "--way", "1", "--seed", "0"]
    assert call("baseline", "biopt", "--results", root, *everything).exit_code == 0


def test_skipped_and_left_out_go_to_standard_error(root: Path, tmp_path: Path):
    write_pair(tmp_path, (1, 2))
    extra = write_run(tmp_path, fold=3)
    (extra / "run.json").write_text("{")
    (gone,) = tmp_path.glob("toy/biopt-*/*/fold2-*")
    (gone / "run.json").rename(tmp_path / "away.json")
    (gone / "episodes.jsonl").unlink()
    result = call("baseline", "biopt", "--results", tmp_path)
    assert result.exit_code == 0
    assert f"skipped: {extra / 'run.json'}: not valid JSON" in result.stderr
    assert "note: baseline: fold 2 left out, since others lack it" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["baseline"], "name a baseline and at least one other"),
        (["baseline", "biopt", "--power", "0"], "--power 0: give the difference"),
        (["baseline", "bioptt"], "Did you mean 'biopt'"),
    ],
)
def test_mistakes(root: Path, arguments: list[str], told: str):
    assert told in str(call(*arguments, "--results", root).exception)


def test_neither_torch_nor_pandas_nor_matplotlib_is_imported(root: Path):
    code = (
        "import sys; from fsseg_bench.cli.compare import compare\n"
        "compare(['baseline', 'biopt', '--results', sys.argv[1]], standalone_mode=False)\n"
        "assert not {'torch', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(root)], check=True, capture_output=True)


@pytest.mark.slow
def test_two_methods_of_a_thousand_episodes_take_seconds(tmp_path: Path):
    from tests.support.pairs import pair, write_fold

    for fold in (1, 2, 3, 4):
        for method, side in zip(("baseline", "biopt"), pair(fold, sizes=(200,) * 5), strict=True):
            write_fold(tmp_path, side, fold, method=method)
    start = time.process_time()
    assert call("baseline", "biopt", "--results", tmp_path).exit_code == 0
    assert time.process_time() - start < 10
