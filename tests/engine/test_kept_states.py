"""States kept on the way of a training: those that it went through, whatever stops it; and what they count."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fsseg_bench.cli.main import main
from fsseg_bench.engine import kept_counts as counting
from fsseg_bench.engine import train as training
from fsseg_bench.engine.checkpoint import TrainingState, load_state
from fsseg_bench.engine.inference import InferenceModel
from fsseg_bench.engine.kept_counts import count_kept
from fsseg_bench.engine.kept_states import load_kept
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.run import execute
from fsseg_bench.errors import UserError
from fsseg_bench.records.info import run_folder
from fsseg_bench.records.kept import equal_steps, find_kept, kept_steps
from fsseg_bench.records.read import read_run
from fsseg_bench.records.request import RunRequest
from tests.support.tiny_run import Watched, finish, tiny_request, tiny_training


def short(folder: Path, out: Path, **changes: Any) -> RunRequest:
    """Three steps, each of which is kept."""
    asked = {"iterations": 3, "settings": tiny_training(), "keep_checkpoints": 3, "out": str(out)}
    return tiny_request(folder, **(asked | changes))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data and protocol, and under ``kept`` a run whose backbone is trained."""
    folder = tmp_path_factory.mktemp("kept")
    finish(short(folder, folder / "kept"))
    return folder


@pytest.fixture
def kept(data: Path, tmp_path: Path) -> Path:
    """A copy of the run's folder."""
    (folder,) = (data / "kept").glob("*/*/*/*")
    return Path(shutil.copytree(folder, tmp_path / "run"))


def states(folder: Path) -> dict[int, dict[str, Tensor]]:
    identity = read_run(folder).info.identity
    return {step: load_kept(folder, step, identity) for step in kept_steps(folder)}


def assert_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in found)


def stop(request: RunRequest, step: int) -> Path:
    """Kills a training after it has written its checkpoint of the step before; its folder."""
    plan = make_plan(request)
    with pytest.raises(KeyboardInterrupt):
        execute(plan, Watched("train", step))
    return run_folder(Path(str(request.out)), plan.settings)


@pytest.mark.parametrize(
    ("count", "iterations", "steps"),
    [(3, 3, (1, 2, 3)), (3, 10, (3, 6, 10)), (1, 7, (7,)), (5, 2, (1, 2)), (0, 9, ()), (4, 0, ())],
)
def test_steps_are_equally_far_apart_and_the_last_is_one(count: int, iterations: int, steps: tuple[int, ...]) -> None:
    assert equal_steps(count, iterations) == steps


def test_kept_states_are_those_of_trainings_that_stopped_there(kept: Path, data: Path, tmp_path: Path) -> None:
    found = states(kept)
    assert list(found) == [1, 2, 3]
    assert_same(found[3], load_state(kept / "checkpoint.pt").model)
    for step in (1, 2):
        plain = short(data, tmp_path / str(step), keep_checkpoints=0, checkpoint_every=0.0)
        stopped = load_state(stop(plain, step + 1) / "checkpoint.pt")
        assert stopped.iteration == step
        assert_same(found[step], stopped.model)
        assert not torch.equal(*(state["backbone.conv1.weight"] for state in (found[step], found[3])))


def test_a_stopped_training_loses_none(kept: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between a kept state and the checkpoint, from which the step is then made again."""
    request = short(data, tmp_path / "out")
    whole = training.save_state
    with monkeypatch.context() as patched:
        patched.setattr(training, "save_state", lambda path, state: whole(path, _only_before(2, state)))
        with pytest.raises(KeyboardInterrupt):
            execute(make_plan(request))
    folder = run_folder(tmp_path / "out", make_plan(request).settings)
    assert kept_steps(folder) == (1, 2)
    assert load_state(folder / "checkpoint.pt").iteration == 1
    progress = Watched()
    execute(make_plan(request), progress)
    assert len(progress.notes["train"]) == 2
    for step, state in states(kept).items():
        assert_same(states(folder)[step], state)
    assert read_run(folder).counts().input.tolist() == read_run(kept).counts().input.tolist()


def _only_before(step: int, state: TrainingState) -> TrainingState:
    if state.iteration >= step:
        raise KeyboardInterrupt
    return state


def test_what_cannot_be_kept_any_more_is_said(data: Path, tmp_path: Path) -> None:
    """A training that began without the option; once more when it is finished."""
    stop(short(data, tmp_path, keep_checkpoints=0, checkpoint_every=0.0), 3)
    told = "the states after these steps cannot be kept any more: 1, 2 (--fresh begins again)"
    for _ in range(2):
        progress = Watched()
        record = execute(make_plan(short(data, tmp_path)), progress)
        assert any(told in line for line in progress.said)
        assert kept_steps(record.folder) == (3,)


def test_without_training_nothing_is_kept_and_that_is_said(kept: Path, data: Path, tmp_path: Path) -> None:
    for changes in ({"iterations": 0}, {"iterations": None, "eval_only": str(kept), "settings": {}}):
        progress = Watched()
        record = execute(make_plan(short(data, tmp_path, **changes)), progress)
        assert any("no step is trained, so --keep-checkpoints keeps nothing" in line for line in progress.said)
        assert kept_steps(record.folder) == ()


def test_they_are_counted_as_evaluations_of_their_own_count(kept: Path, data: Path, tmp_path: Path) -> None:
    count_kept(kept)
    run = read_run(kept)
    found = {one.step: one for one in find_kept(run)}
    assert list(found) == [1, 2, 3]
    assert np.array_equal(found[3].input, run.counts().input)
    assert np.array_equal(found[3].native, run.counts().native)
    for step in (1, 2):
        file = kept / "kept" / f"step-00000{step}.pt"
        alone = short(data, tmp_path / "out", iterations=None, settings={}, keep_checkpoints=0, eval_only=str(file))
        expected = read_run(finish(alone)).counts()
        assert np.array_equal(found[step].input, expected.input)
        assert np.array_equal(found[step].native, expected.native)
    assert not np.array_equal(found[1].input, found[3].input)
    again = Watched()
    count_kept(kept, progress=again)
    assert not again.notes


@pytest.mark.parametrize("frozen", [True, False])
def test_features_are_shared_where_encoders_are_equal_and_nowhere_else(
    kept: Path, data: Path, tmp_path: Path, frozen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny_training(**{"recipe.freeze": "all", "recipe.bn": "eval", "recipe.lr": "0.1"})
    folder = finish(short(data, tmp_path, method="biopt", settings=settings)) if frozen else kept
    encoded: list[int] = []
    whole = InferenceModel.encode
    monkeypatch.setattr(
        InferenceModel, "encode", lambda self, images: encoded.append(len(images)) or whole(self, images)
    )
    count_kept(folder)
    table = make_plan(tiny_request(data)).table
    images = {*table.queries, *(i for ways in table.supports for way in ways for i in way)}
    assert sum(encoded) == (1 if frozen else 3) * len(images)
    run = read_run(folder)
    counts = [one.input for one in find_kept(run)]
    assert np.array_equal(counts[2], run.counts().input)
    assert not np.array_equal(counts[0], counts[2])


@pytest.mark.parametrize(("method", "alike"), [("biopt", True), ("pmms", False)])
def test_a_method_that_encodes_in_its_own_way_shares_nothing(data: Path, method: str, alike: bool) -> None:
    """The backbones are equal, and one number behind them is not."""
    model = make_plan(tiny_request(data, method=method)).model
    before = counting._encoder(model)
    behind = next(value for name, value in model.named_parameters() if not name.startswith("backbone."))
    with torch.no_grad():
        behind += 1
    assert (counting._encoder(model) == before) == alike
    with torch.no_grad():
        next(model.backbone.parameters()).add_(1)
    assert counting._encoder(model) != before


def test_counting_goes_on_and_follows_the_state(kept: Path) -> None:
    count_kept(kept)
    first, second = (kept / "kept" / f"step-00000{step}.jsonl" for step in (1, 2))
    whole = second.read_text().splitlines()[1:]
    second.write_text(second.read_text()[: len(second.read_text()) // 2])  # ends within a line
    assert [one.step for one in find_kept(read_run(kept))] == [1, 3]
    progress = Watched()
    count_kept(kept, progress=progress)
    assert second.read_text().splitlines()[1:] == whole
    assert 0 < len(progress.notes["evaluate"]) < len(whole)
    first.write_text(first.read_text().replace('"episode":3', '"episode":4'))
    progress = Watched()
    count_kept(kept, progress=progress)
    assert any("it is moved aside and made again" in line for line in progress.said)
    assert len(find_kept(read_run(kept))) == 3


def test_a_state_of_another_run_or_step_is_not_counted(kept: Path) -> None:
    count_kept(kept)
    shutil.copy(kept / "kept" / "step-000003.pt", kept / "kept" / "step-000001.pt")
    with pytest.raises(UserError, match=r"step-000001.pt: not the state of this run after 1 steps"):
        count_kept(kept)
    (kept / "kept" / "step-000001.pt").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"step-000001.pt: "):
        count_kept(kept)


def test_changed_code_counts_only_where_the_run_comes_out_again(kept: Path, changed_code: pytest.MonkeyPatch) -> None:
    count_kept(kept)
    assert len(find_kept(read_run(kept))) == 3
    for file in (kept / "kept").glob("*.jsonl"):
        file.unlink()
    whole = InferenceModel.predict
    changed_code.setattr(
        InferenceModel, "predict", lambda self, episode: (-whole(self, episode)[0], whole(self, episode)[1])
    )
    with pytest.raises(UserError, match=r"the code has changed since the run was made, and episode \d+ comes out"):
        count_kept(kept)


def test_the_command_counts_and_prints(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["conventions", str(kept), "--checkpoints", "--device", "cpu"])
    assert not end.value.code
    told = capsys.readouterr().out
    assert "best of 3 checkpoints on test" in told
    assert "CHOSEN ON HELD-OUT CLASSES" in told
    assert len(find_kept(read_run(kept))) == 3
