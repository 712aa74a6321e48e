"""``run`` with several methods: what is said before anything runs, and that programs can still read the rest."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
import torch

from fsseg_bench.cli.options import parse_folds, parse_numbers, parse_seeds, parse_settings
from fsseg_bench.cli.output import show
from fsseg_bench.errors import UserError
from fsseg_bench.report.recipes import differences_table
from tests.cli.test_main import TINY, call, data
from tests.support.options import changed
from tests.support.runs import settings

__all__ = ["data"]  # a fixture

SEVERAL = ("run", "--method", "panet", "--method", "biopt", "--fold", "1")


def test_one_backbone_and_what_differs_are_said_briefly_and_with_v_whole(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--dataset", data / "tiny.toml", "--weights", "none", "--device", "cpu", "--dry-run", "--no-estimate")
    assert call(*SEVERAL, *arguments, "--json") == 0
    out, err = capsys.readouterr()
    assert err == ""
    found = json.loads(out)
    assert [run["settings"]["backbone"] for run in found["runs"]] == ["resnet50", "resnet50"]
    assert "backbone: resnet50 for all methods, weights none" in found["notes"]
    assert found["differences"]["training episodes"] == {
        "panet": "30,000 (30,000 steps of 1)",
        "biopt": "80,000 (10,000 steps of 8)",
    }
    assert "backbone" not in found["differences"]  # it is the same
    assert call(*SEVERAL, *arguments, "--json", "--backbone", "published") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["differences"]["backbone"] == {"panet": "vgg16", "biopt": "resnet50"}
    assert not (data / "here" / "results").exists()


def test_what_is_said_at_the_start_with_v_and_q(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--method", "baseline", "--dataset", data / "tiny.toml", "--fold", "1,1", *TINY)
    assert call("run", *arguments) == 0
    out, err = capsys.readouterr()
    assert err.splitlines()[:3] == [
        "--fold 1,1: a fold that is given twice is run once",
        "baseline on tiny-voc, 1-way 1-shot, fold 1: 1 run",
        "1 warning about few test images or episodes; -v shows them",
    ]
    assert "record: results/runs/tiny-voc/" in out
    assert call("run", *arguments, "-v") == 0
    out, err = capsys.readouterr()
    assert "1 run, all done" in err
    assert "warning: tiny-voc fold 1: under 30 test images of a class" in err
    assert call("run", *changed(arguments, "--fold", "1"), "-q") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("### tiny-voc: mean-IoU")
    assert "record:" not in out
    assert call("run", *arguments, "-q", "-v") == 2
    assert "-v and -q exclude each other" in capsys.readouterr().err


def test_the_differences_with_v(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    methods = ("--method", "panet", "--method", "baseline")
    arguments = (
        "--dataset",
        data / "tiny.toml",
        "--fold",
        "1",
        *changed(TINY, "--iterations", "1", "--set", "recipe.batch=1"),
    )
    assert call("run", *methods, *arguments) == 0
    assert "the methods' trainings differ in rate, schedule, " in capsys.readouterr().err
    assert call("run", *methods, *arguments, "-v") == 0
    out, err = capsys.readouterr()
    assert "What differs between the methods" in err
    assert out.count("training loss of fold1-seed0-") == 2


def test_seeds_are_runs_of_their_own(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--method", "baseline", "--dataset", data / "tiny.toml", "--fold", "1", *TINY)
    assert call("run", *arguments, "--seeds", "0,2", "--json") == 0
    (table,) = json.loads(capsys.readouterr().out)["tables"]
    assert "of 4 folds" in json.dumps(table)
    folders = sorted(path.name for path in (data / "here").glob("results/runs/*/*/*/*"))
    assert [name.rpartition("-")[0] for name in folders] == ["fold1-seed0", "fold1-seed2"]


def test_threads_are_used_and_noted(data: Path) -> None:
    before = torch.get_num_threads()
    try:
        assert (
            call("run", "--method", "baseline", "--dataset", data / "tiny.toml", "--fold", "1", *TINY, "--threads", 2)
            == 0
        )
        (path,) = (data / "here").glob("results/runs/*/*/*/*/run.json")
        found = json.loads(path.read_text())
        assert found["provenance"]["threads"] == 2
        assert found["passed"]["threads"] == 2
        assert "2 threads" in found["device"]
    finally:
        torch.set_num_threads(before)


def test_a_late_error_comes_before_the_first_run(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--backbone", "resnet18-layer2", "--weights", "none", "--iterations", "0", "--device", "cpu")
    methods = ("--method", "baseline", "--method", "canet", "--way", "2")
    assert call("run", *methods, "--dataset", data / "tiny.toml", "--fold", "1", *arguments) == 2
    assert "--way 2: canet does at most 1-way episodes" in capsys.readouterr().err
    assert not (data / "here" / "results").exists()


def test_the_table_of_differences_is_drawn_on_a_terminal(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    runs = [(name, settings(backbone=name, recipe={})) for name in ("vgg16", "resnet50")]
    table = differences_table(runs)
    assert table is not None
    show([table], stderr=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "What differs between the methods" in " ".join(err.split())
    assert "──" in err


def test_check_method_says_what_is_wrong_with_a_class_and_its_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example = Path(__file__).parents[2] / "methods" / "example" / "nearest_mean.py"
    text = example.read_text().replace("Fidelity: own design", "Fidelity: exact")
    text = text.replace("temperature: float = 10.0", "temperature=10.0")
    text = text.replace("    def loss(", "    need_grad_at_test = True\n\n    def losses(")
    (tmp_path / "half_done.py").write_text(text)
    assert call("check-method", "half-done", "--methods-path", tmp_path) == 1
    out, err = capsys.readouterr()
    assert err == ""
    assert "FAIL it defines what every method does: NearestMean does not define loss" in out
    assert "FAIL names of the contract: NearestMean.need_grad_at_test is no part of the contract" in out
    assert "Did you mean 'needs_grad_at_test'" in out
    assert "FAIL switches have a type and a default: switch temperature has no type" in out
    assert "FAIL card: Fidelity: exact is unknown" in out
    assert "half-done on resnet18-layer3: 0 of 4 contract tests passed" in out


OPTION = click.Option(["--value"])
CONTEXT = click.Context(click.Command("test"))


def test_folds() -> None:
    assert parse_folds(CONTEXT, OPTION, "all") is None
    assert parse_folds(CONTEXT, OPTION, "10") == (10,)
    assert parse_folds(CONTEXT, OPTION, "4,1,1") == (1, 4)


@pytest.mark.parametrize("text", ["0", "-1", "x", "", "1,,2"])
def test_what_is_no_fold(text: str) -> None:
    with pytest.raises(UserError, match="use all, or numbers of folds from 1"):
        parse_folds(CONTEXT, OPTION, text)


def test_numbers() -> None:
    assert parse_numbers(CONTEXT, OPTION, "0.7,1,1.3") == (0.7, 1.0, 1.3)
    with pytest.raises(UserError, match="numbers separated by commas"):
        parse_numbers(CONTEXT, OPTION, "a")


def test_seeds() -> None:
    assert parse_seeds(CONTEXT, OPTION, "0") == (0,)
    assert parse_seeds(CONTEXT, OPTION, "2,0,2") == (2, 0)
    for wrong in ("-1", "a", "", "0,,1"):
        with pytest.raises(UserError, match="use whole numbers from 0"):
            parse_seeds(CONTEXT, OPTION, wrong)


def test_settings() -> None:
    assert parse_settings(("recipe.lr=1e-3", "steps=5", "x=a=b")) == {"recipe.lr": "1e-3", "steps": "5", "x": "a=b"}
    for wrong in ("steps", "=5"):
        with pytest.raises(UserError, match="use KEY=VALUE"):
            parse_settings((wrong,))
    with pytest.raises(UserError, match="given twice"):
        parse_settings(("a=1", "a=2"))
