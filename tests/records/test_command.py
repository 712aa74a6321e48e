"""The command that a record keeps: read back it asks for the same, from any folder and without the environment."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fsseg_bench.cli.options import parse_settings
from fsseg_bench.cli.run import run as run_command
from fsseg_bench.records.command import repeating, run_words, self_contained
from fsseg_bench.records.read import read_run
from fsseg_bench.records.request import RunRequest
from tests.support.fresh import ROOT
from tests.support.runs import settings
from tests.support.tiny_run import finish, tiny_request

EVERYTHING: dict[str, Any] = {
    "method": "panet",
    "dataset": "my data/own.toml",
    "fold": 3,
    "way": 2,
    "shot": 5,
    "backbone": "resnet18-layer2",
    "weights": "w.pth",
    "data_root": "data",
    "seed": 7,
    "device": "cpu",
    "precision": "bf16",
    "track": ("tensorboard", "wandb"),
    "merge": "background-threshold=0.7",
    "nondeterministic": True,
    "iterations": 0,
    "episodes": "lists/{fold}.csv",
    "scales": (0.7, 1.0, 1.23456789),
    "settings": {"align_weight": "0.5", "recipe.lr": 0.1, "protocol.data.test_list": "a.txt,val", "map_res": "nearest"},
    "workers": 0,
    "threads": 3,
    "eval_only": "runs/x",
    "methods_path": "mine",
    "backbones_path": "mine",
    "sources_path": "mine",
    "no_check": True,
    "head_batch": 2,
    "cache_gib": 0.5,
    "cache_dtype": "bfloat16",
    "panels": 0,
    "checkpoint_every": 7.5,
    "keep_checkpoints": 4,
    "out": "somewhere",
    "fresh": True,
}


def read_back(words: list[str]) -> dict[str, Any]:
    """What the command line makes of the words."""
    assert words[:2] == ["fsseg-bench", "run"]
    found = run_command.make_context("run", words[2:]).params
    found |= {"method": found["methods"][0], "fold": found["folds"][0], "seed": found["seeds"][0]}
    found["settings"] = parse_settings(found["settings"])
    return found


def test_every_option_comes_back() -> None:
    request = RunRequest(**EVERYTHING)
    found = read_back(run_words(request, "3"))
    wanted = {**EVERYTHING, "settings": {**EVERYTHING["settings"], "recipe.lr": "0.1"}}
    assert EVERYTHING.keys() == RunRequest.__dataclass_fields__.keys()
    assert {key: found[key] for key in wanted} == wanted


def test_paths_are_absolute_and_the_environment_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FSSEG_DATA", "images")
    monkeypatch.setenv("FSSEG_METHODS_PATH", "/theirs")
    found = self_contained(replace(RunRequest(**EVERYTHING), data_root=None, methods_path=None), settings())
    assert found.dataset == str(tmp_path / "my data" / "own.toml")
    assert found.data_root == str(tmp_path / "images")
    assert (found.methods_path, found.backbones_path) == ("/theirs", str(tmp_path / "mine"))
    assert found.episodes == str(tmp_path / "lists" / "3.csv")
    assert found.weights == str(tmp_path / "w.pth")
    assert found.backbone == "resnet18", "as the run's settings have it, whoever chose it"
    assert found.settings["protocol.data.test_list"] == [str(tmp_path / "a.txt"), "val"]
    assert read_back(run_words(found, "3"))["settings"]["protocol.data.test_list"] == f"{tmp_path}/a.txt,val"


def test_names_stay_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FSSEG_METHODS_PATH", raising=False)
    request = RunRequest("panet", "pascal5i", weights="imagenet", episodes="100", fold=2, out="x", fresh=True)
    told = "fsseg-bench run --method panet --dataset pascal5i --shot 1 --backbone resnet18 --weights imagenet "
    assert repeating(request, settings()) == told + "--episodes 100 --fold 2"
    assert repeating(request, settings(), threads=4) == told + "--episodes 100 --threads 4 --fold 2"
    assert "--threads 3 " in repeating(replace(request, threads=3), settings(), threads=4)


@pytest.mark.slow
def test_a_stored_command_repeats_the_run_from_another_folder(tmp_path: Path) -> None:
    """The run was given relative paths and a folder by the environment; the command is given in another folder."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    tiny_request(first)
    words = "run --method baseline --method panet --dataset tiny-voc.toml --fold 2 --backbone resnet18-layer2 --weights"
    words += " none --iterations 0 --device cpu --workers 0 --panels 0 --set protocol.episodes.count=5"
    assert _call(first, shlex.split(words), FSSEG_DATA="tiny-voc") == 0
    made = sorted((first / "results" / "runs").rglob("run.json"))
    assert len(made) == 2
    for path in made:
        run = read_run(path.parent)
        assert run.info.provenance.typed == f"fsseg-bench {words}"
        command = run.info.provenance.command
        assert isinstance(command, str)
        name, *again = shlex.split(command)
        assert name == "fsseg-bench"
        assert _call(second, again) == 0
        repeated = second / path.relative_to(first)
        assert repeated.with_name("episodes.jsonl").read_bytes() == path.with_name("episodes.jsonl").read_bytes()
        assert read_run(repeated.parent).info.provenance.command == command


def test_runs_from_python_have_a_command_too(tmp_path: Path) -> None:
    command = read_run(finish(tiny_request(tmp_path))).info.provenance.command
    assert str(command).startswith(f"fsseg-bench run --method baseline --dataset {tmp_path / 'tiny-voc.toml'} --shot 1")


def _call(folder: Path, words: list[str], **environment: str) -> int:
    """The exit code of the command line in a process of its own."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "methods")])
    code = "import sys; sys.argv[0] = 'fsseg-bench'; from fsseg_bench.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=folder, env={**os.environ, "PYTHONPATH": paths, **environment},
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.returncode
