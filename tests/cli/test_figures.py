from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fsseg_bench.cli.figures import figures
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.run import execute
from fsseg_bench.errors import UserError
from tests.support.runs import forget_predictions
from tests.support.tiny_run import tiny_request, tiny_training


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained runs of three methods on one fold."""
    folder = tmp_path_factory.mktemp("made")
    for method in ("baseline", "inopt-dagger", "biopt"):
        execute(make_plan(tiny_request(folder, method=method, iterations=2, settings=tiny_training())))
    return folder / "runs"


def call(root: Path, *arguments: object) -> Result:
    return CliRunner().invoke(figures, [str(a) for a in (*arguments, "--results", root)])


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
def test_figure_5_asks_for_its_sweep_and_makes_it(root: Path, tmp_path: Path) -> None:
    assert "no whole sweep of steps" in str(call(root, 5, "--out", tmp_path).exception)
    made = call(root, 5, "--out", tmp_path, "--sweep", "--steps", "0,1,2", "--beside", "baseline")
    assert made.exit_code == 0, made.exception
    assert files(tmp_path) == ["figure5-steps.png", "figure5-steps.svg"]
    assert "steps 0 to 2: evaluate 12/12" in made.stderr
    again = call(root, 5, "--out", tmp_path, "--sweep", "--steps", "0,1,2", "--format", "pdf", "--metric", "binary")
    assert again.stderr == f"wrote {tmp_path / 'figure5-steps.pdf'}\n"  # nothing was evaluated again


def test_figure_6(root: Path, tmp_path: Path) -> None:
    made = call(root, 6, "--out", tmp_path, "--format", "png", "--method", "inopt-dagger", "--method", "biopt")
    assert made.exit_code == 0, made.exception
    assert files(tmp_path) == ["figure6-episodes.png"]


def test_figure_6_is_the_same_from_recorded_predictions_and_new_ones(root: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(root, tmp_path / "runs"))
    methods = ("--format", "png", "--method", "inopt-dagger", "--method", "biopt")
    first = call(copied, 6, "--out", tmp_path / "a", *methods)
    assert first.exit_code == 0, first.exception
    assert "predict again" not in first.stderr
    forget_predictions(copied)
    second = call(copied, 6, "--out", tmp_path / "b", *methods)
    assert second.exit_code == 0, second.exception
    assert "note: 2 of 2 runs keep no predictions; they predict again" in second.stderr
    name = "figure6-episodes.png"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_figure_7(root: Path, tmp_path: Path) -> None:
    assert call(root, 7, "--out", tmp_path / "new").exit_code == 0
    assert files(tmp_path / "new") == ["figure7-loss.png", "figure7-loss.svg"]
    assert "--window 0" in str(call(root, 7, "--out", tmp_path, "--window", "0").exception)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([7, "--method", "bioptt"], "Did you mean 'biopt'"),
        ([7, "--where", "lr=5"], "no run has lr=5"),
        ([6, "--method", "biopt"], "at least two methods"),
        ([5, "--sweep", "--steps", "few"], "steps=few is not a whole number"),
        ([5, "--sweep", "--method", "baseline", "--steps", "0"], "unknown switch of baseline 'steps'"),
        ([6, "--dataset-file", "nowhere.toml"], "the images of its episodes cannot be had: "),
    ],
)
def test_mistakes(root: Path, arguments: list[object], told: str) -> None:
    error = call(root, *arguments).exception
    assert isinstance(error, UserError)
    assert told in str(error)


def test_one_setting_a_figure(root: Path, tmp_path: Path) -> None:
    data = root.parent
    execute(make_plan(tiny_request(data, shot=2, iterations=1, settings=tiny_training(), out=str(tmp_path / "runs"))))
    other = next((tmp_path / "runs").glob("*/*/*/*"))
    error = call(root, 7, "--method", other, "--method", "biopt").exception
    assert "one figure shows one setting, these differ (shot: 2 / 1)" in str(error)


def test_figure_7_needs_no_torch(root: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from fsseg_bench.cli.figures import figures\n"
        "figures.main(sys.argv[1:], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", code, "7", "--results", str(root), "--out", str(tmp_path)],
        check=True,
        capture_output=True,
    )
