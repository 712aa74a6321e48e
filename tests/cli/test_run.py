"""``run`` with several methods: what is said before anything runs, and that programs can still read the rest."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from fsseg_bench.cli.options import parse_folds, parse_numbers, parse_settings
from fsseg_bench.cli.output import show
from fsseg_bench.errors import UserError
from fsseg_bench.report.recipes import differences_table
from tests.cli.test_main import call, data
from tests.support.runs import settings

__all__ = ["data"]  # a fixture

SEVERAL = ("run", "--method", "panet", "--method", "biopt", "--fold", "1")


def documents(text: str) -> list[dict[str, object]]:
    """The JSON documents that follow one another in ``text``."""
    decoder, found = json.JSONDecoder(), []
    while text := text.strip():
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:]
    return found


def test_one_backbone_and_what_differs_are_said_and_dry_run_stays_json(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--dataset", data / "tiny.toml", "--weights", "none", "--device", "cpu", "--dry-run")
    assert call(*SEVERAL, *arguments) == 0
    out, err = capsys.readouterr()
    assert [d["backbone"] for d in documents(out)] == ["resnet50", "resnet50"]
    assert "backbone: resnet50 for all methods, weights none" in err
    assert "30,000 (30,000 steps of 1)" in err
    (head,) = [line for line in err.splitlines() if line.startswith("method")]
    assert "training episodes" in head
    assert "backbone" not in head  # it is the same
    assert call(*SEVERAL, *arguments, "--backbone", "published") == 0
    out, err = capsys.readouterr()
    assert [d["backbone"] for d in documents(out)] == ["vgg16", "resnet50"]
    assert [line.split()[:2] for line in err.splitlines()[-2:]] == [["panet", "vgg16"], ["biopt", "resnet50"]]
    assert not (data / "here" / "results").exists()


def test_methods_that_train_alike_have_nothing_to_say(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--backbone", "resnet18-layer2", "--weights", "none", "--device", "cpu", "--dry-run")
    methods = ("--method", "baseline", "--method", "biopt")
    assert call("run", *methods, "--dataset", data / "tiny.toml", "--fold", "1,1", *arguments) == 0
    out, err = capsys.readouterr()
    assert len(documents(out)) == 2
    first, warning = err.splitlines()
    assert first == "--fold 1,1: a fold that is given twice is run once"
    assert warning.startswith("warning: tiny-voc fold 1: under 30 test images of a class")


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
    assert "┃" in err


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


def test_settings() -> None:
    assert parse_settings(("recipe.lr=1e-3", "steps=5", "x=a=b")) == {"recipe.lr": "1e-3", "steps": "5", "x": "a=b"}
    for wrong in ("steps", "=5"):
        with pytest.raises(UserError, match="use KEY=VALUE"):
            parse_settings((wrong,))
    with pytest.raises(UserError, match="given twice"):
        parse_settings(("a=1", "a=2"))
