"""Methods from run folders and files: what is read from the record, what may be given, what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fsseg_bench.engine.checkpoint import load_state, save_state
from fsseg_bench.engine.open_run import open_model
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.errors import UserError
from tests.support.tiny_run import finish, tiny_request, tiny_training


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two iterations, with a switch and a protocol key changed."""
    folder = tmp_path_factory.mktemp("trained")
    settings = {**tiny_training(), "alpha": "15", "protocol.image.size": "48"}
    request = tiny_request(folder, iterations=2, settings=settings, episodes="12")
    return finish(request)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finish(tiny_request(tmp_path_factory.mktemp("untrained"), seed=3))


def test_a_run_says_everything(trained: Path) -> None:
    found = open_model(trained)
    assert (found.name, found.backbone, found.size) == ("baseline", "resnet18-layer2", 48)
    assert found.method.switches.alpha == 15
    assert found.origin == str(trained / "checkpoint.pt")
    stored = torch.load(trained / "checkpoint.pt", weights_only=True)["model"]
    state = found.method.state_dict()
    assert state.keys() == stored.keys()
    assert all(torch.equal(state[key], stored[key]) for key in stored)


def test_what_is_given_goes_first(trained: Path) -> None:
    found = open_model(trained, size=64, switches={"alpha": "9", "align_corners": True})
    assert (found.size, found.method.switches.alpha, found.method.switches.align_corners) == (64, 9.0, True)
    with pytest.raises(UserError, match="alpha=true is not a number"):
        open_model(trained, switches={"alpha": True})


def test_an_untrained_run_has_the_parameters_it_was_tested_with(untrained: Path) -> None:
    plan = make_plan(tiny_request(untrained.parents[4], seed=3))
    found = open_model(untrained)
    assert found.origin == "not trained, weights none"
    expected, state = plan.model.state_dict(), found.method.state_dict()
    assert all(torch.equal(state[key], expected[key]) for key in expected)


def test_a_file_elsewhere_needs_names(trained: Path, tmp_path: Path) -> None:
    file = Path(shutil.copy(trained / "checkpoint.pt", tmp_path))
    with pytest.raises(UserError, match="--method is needed"):
        open_model(file)
    with pytest.raises(UserError, match="does not fit this method and backbone"):
        open_model(file, method="baseline", backbone="resnet18-layer3")
    found = open_model(file, method="baseline", backbone="resnet18-layer2")
    assert found.size == 417
    stored = torch.load(file, weights_only=True)["model"]
    assert all(torch.equal(found.method.state_dict()[key], stored[key]) for key in stored)


def test_without_a_checkpoint(tmp_path: Path) -> None:
    found = open_model(method="baseline", backbone="resnet18-layer2", weights="none", size=64)
    assert found.origin == "not trained, weights none"
    with pytest.raises(UserError, match="--method is needed"):
        open_model()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "none"}, r"--weights none: the checkpoint .* holds all parameters"),
        ({"size": 31}, "--size 31: it must be at least 32"),
        ({"switches": {"alfa": "1"}}, "unknown switch of baseline 'alfa'.*alpha"),
        ({"method": "bipot"}, "unknown method 'bipot'"),
    ],
)
def test_contradictions(trained: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_model(trained, **options)  # type: ignore[arg-type]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--checkpoint .*gone: no such checkpoint"):
        open_model(tmp_path / "gone", method="baseline")
    with pytest.raises(UserError, match="no such checkpoint"):
        open_model(tmp_path, method="baseline")


def test_a_changed_protocol_asks_for_the_size(trained: Path, tmp_path: Path) -> None:
    info = json.loads((trained / "run.json").read_text())
    file = Path(info["passed"]["dataset"])
    text = file.read_text()
    try:
        file.write_text(text.replace("seed = 7", "seed = 8"))
        with pytest.raises(UserError, match=r"was changed since; give the input size with --size"):
            open_model(trained)
        file.unlink()
        with pytest.raises(UserError, match=r"its protocol cannot be read .* give the input size with --size"):
            open_model(trained)
        assert open_model(trained, size=48).size == 48
    finally:
        file.write_text(text)


def test_half_a_training_is_refused(trained: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(trained, tmp_path / trained.name)
    save_state(copy / "checkpoint.pt", replace(load_state(copy / "checkpoint.pt"), iteration=1))
    with pytest.raises(UserError, match="trained 1 of 2 iterations; finish the run, or copy"):
        open_model(copy)
    (copy / "checkpoint.pt").unlink()
    with pytest.raises(UserError, match="no such checkpoint"):
        open_model(copy)


def test_a_run_that_evaluated_a_checkpoint_points_to_it(trained: Path, tmp_path: Path) -> None:
    request = tiny_request(tmp_path, iterations=None, eval_only=str(trained))
    folder = finish(request)
    with pytest.raises(UserError, match=f"evaluated another checkpoint; give {trained}"):
        open_model(folder)
