"""Finished runs opened again: the same plan and parameters, or a refusal that says what is different."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fsseg_bench.engine.build import build_method
from fsseg_bench.engine.checkpoint import load_state, save_state
from fsseg_bench.engine.device import BACKENDS
from fsseg_bench.engine.open_run import RunPlaces, open_model, open_run
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.rerun import sweep
from fsseg_bench.errors import UserError
from fsseg_bench.records.read import read_run
from tests.support.beside import Beside
from tests.support.runs import edit_info
from tests.support.tiny_run import finish, tiny_request, tiny_training


def test_what_has_moved_can_be_named(made: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(made, tmp_path / "moved"))
    folder = finish(tiny_request(root, iterations=2, settings=tiny_training()))
    (root / "tiny-voc.toml").rename(root / "renamed.toml")
    with pytest.raises(UserError, match=r"cannot be opened again: .*--dataset-file"):
        open_run(folder)
    again = open_run(folder, RunPlaces(dataset=str(root / "renamed.toml"), device="cpu"))
    assert again.plan.settings == read_run(folder).info.settings
    assert not again.changed_code


def test_trained_untrained_and_borrowed_parameters_come_back(made: Path, trained: Path, tmp_path: Path) -> None:
    state = torch.load(trained / "checkpoint.pt", weights_only=True)["model"]
    again = open_run(trained).plan.model.state_dict()
    assert all(torch.equal(again[k], v) for k, v in state.items())
    request = tiny_request(made, method="biopt", iterations=None, eval_only=str(trained), out=str(tmp_path / "out"))
    borrowed = open_run(finish(request)).plan.model.state_dict()
    assert all(torch.equal(borrowed[k], v) for k, v in state.items())
    untrained = open_run(finish(replace(request, eval_only=None, iterations=0))).plan.model.state_dict()
    assert not all(torch.equal(untrained[k], v) for k, v in state.items())


def test_other_settings_now_are_refused(trained: Path) -> None:
    passed = json.loads((trained / "run.json").read_text())["passed"]
    edit_info(trained, passed={**passed, "seed": 5})
    with pytest.raises(UserError, match=r"is different now \(then / now\): seed: 0 / 5"):
        open_run(trained)
    del passed["dataset"]
    edit_info(trained, passed=passed)
    with pytest.raises(UserError, match="does not say what was asked for"):
        open_run(trained)


@pytest.mark.parametrize(
    ("recorded_on", "beside", "pixels", "accepted"),
    [
        ("cpu, 1 threads", False, 0, True),
        ("cpu, 1 threads", False, 1, False),
        (None, False, 1, False),  # an early record
        ("cpu, 1 threads", True, 3, True),
        ("cpu, 1 threads", True, 4, False),
        ("cuda:0: NVIDIA H200", False, 3, True),
        ("cuda:0: NVIDIA H200", True, 4, False),
        ("cuda:0: NVIDIA H200", True, 0, True),
    ],
)
def test_counts_come_out_exactly_on_a_cpu_and_to_a_pixel_in_a_thousand_on_a_gpu(
    recorded_on: str | None,
    beside: bool,
    pixels: int,
    accepted: bool,
    trained: Path,
    changed_code: pytest.MonkeyPatch,
) -> None:
    """Of 64 x 64 pixels less the void ones: three are within a thousandth, four are not."""
    edit_info(trained, device=recorded_on)
    opened = open_run(trained)
    counts = torch.from_numpy(read_run(trained).counts().input[3].copy())
    assert 3000 < counts.sum() < 4000
    if beside:
        changed_code.setitem(BACKENDS, "cpu", Beside())
    row = counts[0] if counts[0, 0] > 4 else counts[0].flip(0)
    row += torch.tensor([-pixels, pixels])
    device = torch.device("cpu")
    if accepted:
        assert opened.check_counts(device, 3, input=counts) == pixels
    else:
        with pytest.raises(UserError, match=rf"episode 3 comes out differently now \({pixels} of 3,\d\d\d pixels at"):
            opened.check_counts(device, 3, input=counts)


def test_unfinished_runs_are_refused(trained: Path) -> None:
    edit_info(trained, status="evaluating")
    with pytest.raises(UserError, match=r"not done \(status evaluating\)"):
        open_run(trained)


def test_a_checkpoint_that_is_gone(trained: Path) -> None:
    (trained / "checkpoint.pt").unlink()
    with pytest.raises(UserError, match=r"cannot be opened again: .*no such checkpoint"):
        open_run(trained)


def test_a_replayed_list_comes_from_the_record(made: Path, tmp_path: Path) -> None:
    """The file that was given may be gone; the episodes are those of the run all the same."""
    request = tiny_request(made, out=str(tmp_path / "out"))
    make_plan(request).table.head(6).to_csv(tmp_path / "theirs-1.csv")
    folder = finish(replace(request, episodes=str(tmp_path / "theirs-1.csv")))
    (tmp_path / "theirs-1.csv").unlink()
    again = open_run(folder)
    assert again.plan.settings == read_run(folder).info.settings
    assert len(again.plan.table) == 6
    sweep(folder, "alpha", ["5"])
    assert open_model(folder).size == 64


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two iterations, with a switch and a protocol key changed."""
    folder = tmp_path_factory.mktemp("trained")
    settings = {**tiny_training(), "alpha": "15", "protocol.image.size": "48"}
    request = tiny_request(folder, iterations=2, settings=settings, episodes="12")
    return finish(request)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finish(tiny_request(tmp_path_factory.mktemp("untrained"), seed=3))


def test_a_run_says_everything(known: Path) -> None:
    found = open_model(known)
    assert (found.name, found.backbone, found.size) == ("baseline", "resnet18-layer2", 48)
    assert found.method.switches.alpha == 15
    assert found.origin == str(known / "checkpoint.pt")
    stored = torch.load(known / "checkpoint.pt", weights_only=True)["model"]
    state = found.method.state_dict()
    assert state.keys() == stored.keys()
    assert all(torch.equal(state[key], stored[key]) for key in stored)


def test_what_is_given_goes_first(known: Path) -> None:
    found = open_model(known, size=64, switches={"alpha": "9", "align_corners": True})
    assert (found.size, found.method.switches.alpha, found.method.switches.align_corners) == (64, 9.0, True)
    with pytest.raises(UserError, match="alpha=true is not a number"):
        open_model(known, switches={"alpha": True})


def test_an_untrained_run_has_the_parameters_it_was_tested_with(untrained: Path) -> None:
    plan = make_plan(tiny_request(untrained.parents[4], seed=3))
    found = open_model(untrained)
    assert found.origin == "not trained, weights none"
    expected, state = plan.model.state_dict(), found.method.state_dict()
    assert all(torch.equal(state[key], expected[key]) for key in expected)


def test_a_file_elsewhere_needs_names(known: Path, tmp_path: Path) -> None:
    file = Path(shutil.copy(known / "checkpoint.pt", tmp_path))
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
def test_contradictions(known: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_model(known, **options)  # type: ignore[arg-type]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--checkpoint .*gone: no such checkpoint"):
        open_model(tmp_path / "gone", method="baseline")
    with pytest.raises(UserError, match="no such checkpoint"):
        open_model(tmp_path, method="baseline")


def test_a_changed_protocol_asks_for_the_size(known: Path, tmp_path: Path) -> None:
    info = json.loads((known / "run.json").read_text())
    file = Path(info["passed"]["dataset"])
    text = file.read_text()
    try:
        file.write_text(text.replace("seed = 7", "seed = 8"))
        with pytest.raises(UserError, match=r"was changed since; give the input size with --size"):
            open_model(known)
        file.unlink()
        with pytest.raises(UserError, match=r"its protocol cannot be read .* give the input size with --size"):
            open_model(known)
        assert open_model(known, size=48).size == 48
    finally:
        file.write_text(text)


def test_half_a_training_is_refused(known: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(known, tmp_path / known.name)
    save_state(copy / "checkpoint.pt", replace(load_state(copy / "checkpoint.pt"), iteration=1))
    with pytest.raises(UserError, match="trained 1 of 2 iterations; finish the run, or copy"):
        open_model(copy)
    (copy / "checkpoint.pt").unlink()
    with pytest.raises(UserError, match="no such checkpoint"):
        open_model(copy)


def test_a_run_that_evaluated_a_checkpoint_points_to_it(known: Path, tmp_path: Path) -> None:
    request = tiny_request(tmp_path, iterations=None, eval_only=str(known))
    folder = finish(request)
    with pytest.raises(UserError, match=f"evaluated another checkpoint; give {known}"):
        open_model(folder)


def test_a_runs_own_weight_file_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was named relative to a folder that the record does not hold; its SHA-256 says which file it was."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    trunk = build_method("baseline", "resnet18-layer2", "none", seed=9).backbone
    torch.save(trunk.state_dict(), "trunk.pth")
    folder = finish(tiny_request(tmp_path, weights="trunk.pth", out="runs")).absolute()
    monkeypatch.chdir(tmp_path)
    found = open_model(folder)
    assert found.origin == f"not trained, weights {tmp_path / 'work' / 'trunk.pth'}"
    state = found.method.backbone.state_dict()
    assert all(torch.equal(state[key], value) for key, value in trunk.state_dict().items())
    assert open_run(folder).plan.settings.weights == "trunk.pth"
    weights = tmp_path / "elsewhere"
    weights.mkdir()
    (tmp_path / "work" / "trunk.pth").rename(weights / "trunk.pth")
    monkeypatch.setenv("FSSEG_WEIGHTS", str(weights))
    assert open_model(folder).origin.endswith(f"weights {weights / 'trunk.pth'}")
    torch.save({}, weights / "trunk.pth")
    with pytest.raises(UserError, match=r"weights trunk.pth \(SHA-256 .* of another content: .*--weights"):
        open_model(folder)
