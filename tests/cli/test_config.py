"""``--config``: options from a file, given ones on top, and the record of a run as such a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_main import TINY, call, data
from tests.support.runs import edit_info

__all__ = ["data"]  # a fixture

TOML = """
method = ["baseline", "biopt"]
dataset = "{data}/tiny.toml"
fold = [1, 2]
seeds = [0, 3]
shot = 2
backbone = "resnet18-layer2"
weights = "none"
device = "cpu"
scales = [0.5, 1]
iterations = 3
no-check = true

[set]
recipe.lr = 0.5
recipe.lr_factors = {{"backbone." = 0.5}}
recipe.milestones = [1, 2]
protocol.image.size = 65
map_res = "nearest"
"""


def planned(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, object]]:
    assert call("run", *arguments, "--dry-run", "--json") == 0
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)["runs"]
    return found


@pytest.fixture
def config(data: Path) -> Path:
    path = data / "mine.toml"
    path.write_text(TOML.format(data=data))
    return path


def test_every_kind_of_option_and_setting(data: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(config.read_text().replace('["baseline", "biopt"]', '"baseline"'))
    runs = planned(capsys, "--config", config)
    assert [(run["fold"], run["seed"]) for run in runs] == [(1, 0), (2, 0), (1, 3), (2, 3)]
    settings = runs[0]["settings"]
    assert isinstance(settings, dict)
    assert (settings["shot"], settings["scales"], settings["backbone"]) == (2, [0.5, 1.0], "resnet18-layer2")
    assert settings["switches"]["map_res"] == "nearest"
    recipe = settings["recipe"]
    assert (recipe["lr"], recipe["iterations"], recipe["milestones"]) == (0.5, 3, [1, 2])
    assert recipe["lr_factors"] == {"backbone.": 0.5}
    assert settings["protocol_label"] == "tiny-voc[image.size=65]"
    same = planned(
        capsys,
        *("--method", "baseline", "--dataset", data / "tiny.toml", "--fold", "1,2", "--seeds", "0,3", "--shot", "2"),
        *("--backbone", "resnet18-layer2", "--weights", "none", "--device", "cpu", "--scales", "0.5,1"),
        *("--iterations", "3", "--no-check", "--set", "recipe.lr=0.5", "--set", "recipe.lr_factors=backbone.=0.5"),
        *("--set", "recipe.milestones=1,2", "--set", "protocol.image.size=65", "--set", "map_res=nearest"),
    )
    assert [run["identity"] for run in same] == [run["identity"] for run in runs]


def test_options_that_are_given_count_more_and_it_is_said(
    data: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--method", "baseline", "--seed", "5", "--fold", "2", "--set", "recipe.lr=0.25")
    assert call("run", "--config", config, *more, "--dry-run", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    (run,) = found["runs"]
    assert (run["method"], run["seed"], run["fold"], run["settings"]["recipe"]["lr"]) == ("baseline", 5, 2, 0.25)
    assert run["settings"]["switches"]["map_res"] == "nearest"  # the other settings of the file stay
    said = [note.removeprefix(f"{config}: ") for note in found["notes"] if note.startswith(str(config))]
    assert said == [
        "method has no part, since --method is given",
        "fold has no part, since --fold is given",
        "seeds has no part, since --seed is given",
        "recipe.lr has no part, since --set recipe.lr is given",
    ]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("shots = 1", "unknown option 'shots'. Did you mean 'shot'"),
        ("config = 'x'", "unknown option 'config'"),
        ("shot = 'many'", "shot: 'many' is not a valid integer"),
        ("shot = true", "shot is true; use a number or text"),
        ("shot = [1, 2]", "shot: '1,2' is not a valid integer"),
        ("fresh = 1", "fresh is 1; use true or false"),
        ("precision = 'fp8'", "precision: 'fp8' is not one of"),
        ("fold = 'x'", "--fold x: use all, or numbers of folds"),
        ("seed = 1\nseeds = [2]", "seeds and seed are the same option; give one"),
        ("set = 1", "set is no table"),
        ("shot = ", "not valid TOML"),
        ("set = {recipe.learning = 1}", "unknown recipe key 'learning'"),
    ],
)
def test_mistakes_name_the_file_and_the_key(
    data: Path, capsys: pytest.CaptureFixture[str], line: str, told: str
) -> None:
    path = data / "wrong.toml"
    path.write_text(f"method = 'baseline'\ndataset = '{data}/tiny.toml'\n{line}\n")
    assert call("run", "--config", path, *TINY) == 2
    err = capsys.readouterr().err
    assert told in err
    assert "Traceback" not in err


def test_a_file_that_is_not_there_or_no_table(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("run", "--config", data / "nowhere.toml") == 2
    assert "nowhere.toml: cannot be read" in capsys.readouterr().err
    (data / "list.json").write_text("[1]")
    assert call("run", "--config", data / "list.json") == 2
    assert "holds no table of options" in capsys.readouterr().err


def test_the_record_of_a_run_repeats_it(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("--set", "map_res=nearest", "--episodes", "7", "--fresh", "--threads", "1")
    assert call("run", "--method", "baseline", "--dataset", data / "tiny.toml", "--fold", "2", *TINY, *more) == 0
    (record,) = (data / "here").glob("results/runs/*/*/*/*")
    capsys.readouterr()
    for path in (record, record / "run.json"):
        (run,) = planned(capsys, "--config", path)
        assert run["record"] == str(record.relative_to(data / "here"))
        assert run["status"] == "done"  # --fresh is not repeated
    (other,) = planned(capsys, "--config", record, "--shot", "2")
    assert isinstance(other["settings"], dict)
    assert other["settings"]["shot"] == 2
    assert other["settings"]["switches"]["map_res"] == "nearest"
    edit_info(record, passed={"method": "panet", "dataset": str(data / "tiny.toml"), "fold": 1})
    (run,) = planned(capsys, "--config", record, *TINY)
    assert (run["method"], run["fold"]) == ("panet", 1)
    text = (record / "run.json").read_text().replace("panet", "biopt")
    (record / "run.json").write_text(text)
    assert call("run", "--config", record) == 2
    assert "edited" in capsys.readouterr().err
