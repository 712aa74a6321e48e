"""A stage whose network is a released one: taken as it is, part of what the run is, and said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fsseg_bench.engine.batch import plan_all
from fsseg_bench.engine.build import build_method
from fsseg_bench.engine.checkpoint import load_state
from fsseg_bench.engine.open_run import open_model
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.released import Places, import_official, save_imported
from fsseg_bench.errors import UserError
from fsseg_bench.records.read import read_run
from fsseg_bench.records.request import RunRequest
from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.table import runs_tables
from tests.engine.test_stages import FIXTURE
from tests.support.tiny_run import finish, tiny_request

TABLE = '''"""Files of the base network, and of the whole method."""

from fsseg_bench.nn.released import Released

from ..staged import _BaseNet

_TRUNK = {"net": "backbone"}
RELEASED = (
    Released(
        what="base network of the toy",
        backbones=("resnet18-layer2",),
        marks=("net.conv1", "cls"),
        names=_TRUNK | {"cls": "classifier"},
        twice={"head": "cls"},
        stage="base",
        network=_BaseNet,
        classes="cls.bias",
    ),
    Released(
        what="the toy",
        backbones=("resnet18-layer2",),
        marks=("net.conv1", "learned"),
        names=_TRUNK | {"classifier": "classifier", "learned": "bias"},
        classes="classifier.bias",
    ),
)
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(FIXTURE, tmp_path / "own", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "own" / "_released").mkdir()
    (tmp_path / "own" / "_released" / "__init__.py").touch()
    (tmp_path / "own" / "_released" / "staged.py").write_text(TABLE)
    return tmp_path


def network(folder: Path, base_classes: int = 6) -> dict[str, Tensor]:
    """The authors' base network: the backbone and the classifier, which their module holds twice."""
    own = str(folder / "own")
    model = build_method("staged", "resnet18-layer2", "none", seed=5, base_classes=base_classes, methods_path=own)
    state = {name.replace("backbone.", "net."): tensor for name, tensor in model.state_dict().items()}
    del state["bias"]
    parts = {name.partition(".")[2]: state.pop(name) for name in list(state) if name.startswith("classifier.")}
    return state | {f"{place}.{name}": tensor for place in ("cls", "head") for name, tensor in parts.items()}


def saved(folder: Path, state: dict[str, Tensor], name: str = "base.pth") -> str:
    torch.save({"epoch": 1, "state_dict": state}, folder / name)
    return f"official:{folder / name}"


def request(folder: Path, file: str, **settings: Any) -> RunRequest:
    own = {"stage.base.file": file, **settings}
    return tiny_request(folder, method="staged", methods_path=str(folder / "own"), iterations=None, settings=own)


def test_the_network_is_taken_and_the_method_is_trained_on_top_of_it(folder: Path) -> None:
    state = network(folder)
    file = saved(folder, state)
    batch = plan_all([request(folder, file)], {})
    assert "stage base: base network of the toy of base.pth, which is not trained here" in batch.notes
    assert batch.runs[0].left.steps == {"train": 2, "evaluate": 12}
    run = finish(request(folder, file))
    trained = load_state(run / "checkpoint.pt").model
    assert torch.equal(trained["classifier.weight"], state["cls.weight"])
    assert torch.equal(trained["backbone.layer2.1.conv2.weight"], state["net.layer2.1.conv2.weight"])
    assert float(trained["bias"]) != 0
    assert not (folder / "runs" / "stages").exists()
    found = json.loads((run / "run.json").read_text())
    assert found["stages"]["base"]["trained"] == "released"
    assert found["stages"]["base"]["released"]["file"] == "base.pth"
    assert found["passed"]["settings"]["stage.base.file"] == f"official:{folder / 'base.pth'}"
    (table,) = runs_tables(find_runs(folder / "runs"))
    assert table.rows[0][2].text == "stage base: released network, not trained here"


def test_its_parameters_are_part_of_what_the_run_is_whatever_file_they_lie_in(folder: Path) -> None:
    state, places = network(folder), Places(str(folder / "own"))
    file = saved(folder, state)
    imported, kind = import_official(folder / "base.pth", places=places)
    assert kind.what == "base network of the toy"
    assert imported.origin.unused == ("head.bias", "head.weight")
    save_imported(imported, folder / "base.safetensors")
    identity = make_plan(request(folder, file)).settings.identity
    assert make_plan(request(folder, str(folder / "base.safetensors"))).settings.identity == identity
    state["cls.bias"][0] += 1  # the same tensor as that of head
    assert make_plan(request(folder, saved(folder, state, "other.pth"))).settings.identity != identity
    ordinary = make_plan(tiny_request(folder, method="staged", methods_path=str(folder / "own"), iterations=None))
    assert ordinary.settings.identity != identity


def test_what_does_not_fit_is_refused_with_advice(folder: Path) -> None:
    own, state = str(folder / "own"), network(folder)
    file = saved(folder, state)
    with pytest.raises(UserError, match=r"stage base of staged alone; use it with .*--set stage\.base\.file=official:"):
        make_plan(tiny_request(folder, method="staged", methods_path=own, iterations=None, eval_only=file))
    with pytest.raises(UserError, match=r"--set stage\.base\.file=official"):
        open_model(Path(file), method="staged", methods_path=own)
    with pytest.raises(UserError, match=r"stage\.base\.lr and stage\.base\.file exclude each other"):
        make_plan(request(folder, file, **{"stage.base.lr": "0.1"}))
    few = saved(folder, network(folder, 3), "few.pth")
    with pytest.raises(UserError, match=r"a network of 3 base classes, and tiny-voc has 6 in fold 1"):
        make_plan(request(folder, few))
    with pytest.raises(UserError, match=r"no released network; give official:FILE"):
        make_plan(request(folder, str(folder / "base.pth")))
    torn = {**state, "head.bias": state["head.bias"] + 1}
    with pytest.raises(UserError, match=r"head\.bias is not cls\.bias, which it should repeat"):
        make_plan(request(folder, saved(folder, torn, "torn.pth")))
    whole = {name.replace("cls.", "classifier."): value for name, value in state.items() if "head" not in name}
    with pytest.raises(UserError, match=r"the toy is the whole method; use it with .*--eval-only official:"):
        make_plan(request(folder, saved(folder, whole | {"learned": torch.zeros(())}, "whole.pth")))


def test_a_record_with_a_given_network_is_evaluated_again(folder: Path) -> None:
    run = finish(request(folder, saved(folder, network(folder))))
    again = finish(
        tiny_request(folder, method="staged", methods_path=str(folder / "own"), iterations=None, eval_only=str(run))
    )
    assert read_run(again).counts().input.tolist() == read_run(run).counts().input.tolist()
