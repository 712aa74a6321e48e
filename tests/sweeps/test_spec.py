"""A sweep's TOML file: what it may hold, and what is said of everything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.sweeps.plan import Needs
from fsseg_bench.sweeps.spec import Spec, parse_spec, read_spec

WHOLE = """
name = "table1"          # a comment
out = "results/mine"
[common]
dataset = "shapes5i"
data-root = "data"
scales = [0.7, 1.0]
episodes = 40
set = { recipe.lr = 0.01, "protocol.image.size" = 64 }
[grid]
method = ["baseline", "panet"]
shot = [1, 5]
[grid.set]
"recipe.batch" = [2, 4]
[[also]]
method = ["biopt"]
fold = 1
set = { steps = 5 }
[[except]]
method = "panet"
shot = 5
[training]
shot = 1
[cell]
gpus = 1
threads = 4
minutes = 240
[slurm]
partition = "gpu"
exclude = "bad-node"
[ray]
address = "auto"
"""


def parsed(**tables: Any) -> Spec:
    """The smallest sweep, with other tables."""
    return parse_spec({"name": "tiny", "common": {"method": "baseline", "dataset": "shapes5i"}, **tables}, "sweep.toml")


def refusal(**tables: Any) -> str:
    with pytest.raises(UserError) as error:
        parsed(**tables)
    return str(error.value)


def test_a_file_with_everything(tmp_path: Path) -> None:
    path = tmp_path / "any.toml"
    path.write_text(WHOLE)
    spec = read_spec(path)
    assert (spec.name, spec.out) == ("table1", "results/mine")
    assert spec.common == {
        "dataset": "shapes5i",
        "data_root": "data",
        "scales": (0.7, 1.0),
        "episodes": "40",
        "set.recipe.lr": 0.01,
        "set.protocol.image.size": 64,
    }
    assert spec.grid == {"method": ("baseline", "panet"), "shot": (1, 5), "set.recipe.batch": (2, 4)}
    assert spec.also == ({"method": ("biopt",), "fold": (1,), "set.steps": (5,)},)
    assert spec.excepted == ({"method": ("panet",), "shot": (5,)},)
    assert spec.training == {"shot": 1}
    assert spec.cell == Needs(gpus=1, threads=4, minutes=240.0)
    assert spec.slurm == {"partition": "gpu", "exclude": "bad-node"}
    assert spec.ray == {"address": "auto"}


def test_the_name_is_that_of_the_file_where_it_has_none(tmp_path: Path) -> None:
    path = tmp_path / "shots.toml"
    path.write_text('[common]\nmethod = "panet"\ndataset = "shapes5i"\n')
    assert read_spec(path).name == "shots"
    named = path.rename(tmp_path / "my täble.toml")
    with pytest.raises(
        UserError, match=r"my täble.toml: a sweep is called like its file.*rename the file, or put name"
    ):
        read_spec(named)


def test_python_values_are_those_of_the_file(tmp_path: Path) -> None:
    grid = {"method": ("baseline", "panet"), "set": {"recipe.lr": (0.1,)}}
    common = {"dataset": tmp_path / "mine.toml"}
    spec = parse_spec({"name": "mine", "common": common, "grid": grid})
    assert spec.grid == {"method": ("baseline", "panet"), "set.recipe.lr": (0.1,)}
    assert spec.common == {"dataset": str(tmp_path / "mine.toml")}


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"grids": {}}, "sweep.toml: unknown key 'grids'. Did you mean 'grid'"),
        ({"grid": {"shots": [1]}}, "sweep.toml: grid: unknown option 'shots'. Did you mean 'shot'"),
        ({"cell": {"gpu": 1}}, "sweep.toml: unknown key 'cell.gpu'. Did you mean 'cell.gpus'"),
        ({"grid": {"shot": ["five"]}}, 'sweep.toml: grid.shot is "five"; it must be a whole number'),
        ({"grid": {"shot": [0]}}, "sweep.toml: grid.shot is 0; it must be at least 1"),
        ({"grid": {"shot": []}}, "sweep.toml: grid.shot is empty"),
        ({"grid": {"seed": [0, 1, 0]}}, "sweep.toml: grid.seed names 0 more than once"),
        ({"grid": {"scales": [0.7, 1.0]}}, "write scales = [[1.0], [0.7, 1.0, 1.3]]"),
        ({"common": {"shot": [1, 5]}}, "sweep.toml: common.shot is [1, 5]; it must be a whole number; several values"),
        ({"common": {"data_root": "a", "data-root": "b"}}, "sweep.toml: common: data_root is given twice"),
        ({"common": {"out": "x"}}, "sweep.toml: common: out has no place here; write out = ... at the top"),
        ({"common": {"threads": 4}}, "sweep.toml: common: threads has no place here; write it under [cell]"),
        ({"grid": {"workers": [1]}}, "grid: workers has no place here; write it under [cell]"),
        ({"common": {"fresh": True}}, "fresh has no place here; leave it out"),
        ({"common": {"device": "cuda:1"}}, 'common.device is cuda:1; write "cuda": which one is the engine\'s choice'),
        ({"common": {}}, "sweep.toml: grid has no method; name it there or in [common]"),
        ({"common": {"method": "panet"}, "also": [{}]}, "sweep.toml: also[0] has no dataset"),
        ({"also": {"method": "panet"}}, "sweep.toml: also is one table; write [[also]]"),
        ({"except": {"method": "panet"}}, "sweep.toml: except is one table; write [[except]]"),
        ({"except": [{}]}, "sweep.toml: except[0] is empty, and would leave out every cell"),
        ({"except": [{"metod": "x"}]}, "sweep.toml: except[0]: unknown option 'metod'. Did you mean 'method'"),
        ({"training": {}}, "sweep.toml: [training] is empty"),
        ({"training": {"shot": 1}, "grid": {"eval_only": ["x.pt"]}}, "eval_only and [training] exclude each other"),
        ({"name": "a/b"}, 'sweep.toml: name is "a/b"; it must be made of letters'),
        ({"name": ".."}, 'sweep.toml: name is ".."; it must be made of letters'),
        ({"slurm": 3}, "sweep.toml: slurm is 3; it must be a table"),
        ({"grid": [1]}, "sweep.toml: grid is no table"),
        ({"common": {"set": 3}}, "sweep.toml: common.set is no table"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_key(tables: dict[str, Any], told: str) -> None:
    assert told in refusal(**tables)


@pytest.mark.parametrize(
    ("content", "told"), [("[grid", "not valid TOML"), (b"\xff", "not valid TOML in UTF-8"), (None, "cannot be read")]
)
def test_a_file_that_is_none(tmp_path: Path, content: str | bytes | None, told: str) -> None:
    path = tmp_path / "sweep.toml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=told):
        read_spec(path)


GRID: dict[str, Any] = {"shot": [1, 5], "seed": [0, 1], "set": {"recipe.lr": [0.1]}}


@pytest.mark.parametrize(
    "same",
    [
        {"grid": {"set": {"recipe": {"lr": 0.1}}, "seed": [0, 1], "shot": [1, 5]}},
        {"grid": GRID, "cell": {"retries": 7, "minutes": 9}},
        {"grid": GRID, "slurm": {"partition": "gpu"}},
        {"grid": GRID, "name": "another"},
    ],
)
def test_the_digest_is_blind_to_what_changes_no_cell(same: dict[str, Any]) -> None:
    assert parsed(**same).digest == parsed(grid=GRID).digest


@pytest.mark.parametrize(
    "other",
    [
        {"grid": {**GRID, "seed": [1, 0]}},
        {"grid": {**GRID, "shot": [1]}},
        {"grid": GRID, "also": [{"shot": 2}]},
        {"grid": GRID, "except": [{"shot": 5}]},
        {"grid": GRID, "training": {"shot": 1}},
        {"grid": GRID, "cell": {"threads": 2}},
        {"grid": GRID, "cell": {"gpus": 0}},
        {"grid": GRID, "common": {"method": "panet", "dataset": "shapes5i"}},
    ],
)
def test_the_digest_tells_what_changes_cells(other: dict[str, Any]) -> None:
    assert parsed(**other).digest != parsed(grid=GRID).digest


def test_relative_paths_mean_another_thing_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def digests() -> tuple[str, str]:
        named = {"method": "panet", "dataset": "shapes5i", "weights": "none", "episodes": 40}
        return parsed(common=named).digest, parsed(common={**named, "dataset": "mine.toml"}).digest

    here = digests()
    monkeypatch.chdir(tmp_path)
    there = digests()
    assert here[0] == there[0]
    assert here[1] != there[1]
