"""Checkpoints that are damaged, edited, or legal and of something else; and what a resumed run says."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fsseg_bench.engine.build import TrainedFile
from fsseg_bench.engine.checkpoint import load_state, save_state
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.run import execute
from fsseg_bench.engine.train import Cadence
from fsseg_bench.errors import UserError
from fsseg_bench.records.lines import read_lines
from fsseg_bench.records.request import RunRequest
from tests.support.tiny_run import Watched, finish, tiny_request, tiny_training


@pytest.fixture
def half(tmp_path: Path) -> tuple[RunRequest, Path]:
    """A training stopped at iteration 3 of 4, with its last checkpoint at 2."""
    request = tiny_request(tmp_path, iterations=4, settings=tiny_training())
    with suppress(KeyboardInterrupt):
        execute(make_plan(request), Watched("train", 3), Cadence(iterations=1))
    (path,) = (tmp_path / "runs").rglob("checkpoint.pt")
    assert load_state(path).iteration == 2
    return request, path


def edited(path: Path, **changes: Any) -> None:
    """A legal checkpoint, sealed, with other content."""
    save_state(path, replace(load_state(path), **changes))


def first(change: Callable[[torch.Tensor], Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def changed(model: dict[str, Any]) -> dict[str, Any]:
        key = next(k for k, v in model.items() if v.dim() == 4)
        return {**model, key: change(model[key])}

    return changed


def of_optimizer(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    def changed(state: dict[str, Any]) -> Any:
        change(state)
        return state

    return changed


def rule(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda state: state["param_groups"][0].update({key: value})


@pytest.mark.parametrize(
    ("key", "change", "told"),
    [
        *(("iteration", lambda _, v=v: v, "'iteration'") for v in ("2", -1, 2.0, True, None, [2])),
        ("iteration", lambda _: 5, "'iteration' is 5, beyond the recipe's 4"),
        ("model", lambda _: {}, "missing"),
        ("model", lambda model: {**model, "x": torch.zeros(1)}, "1 unexpected"),
        ("model", first(lambda t: t[:1]), "of another shape"),
        ("model", first(lambda t: t.to(torch.int32)), "of a wrong type"),
        ("model", first(lambda t: t.to_sparse()), "of a wrong type"),
        ("model", first(lambda t: t.tolist()), "'model'"),
        ("optimizer", lambda _: {}, "'optimizer'"),
        ("optimizer", of_optimizer(lambda s: s.update(param_groups=3)), "no list of parameter groups"),
        ("optimizer", of_optimizer(rule("momentum", 0.5)), "another recipe"),
        ("optimizer", of_optimizer(rule("weight_decay", 1.0)), "another recipe"),
        ("optimizer", of_optimizer(rule("params", [0])), "other parameters"),
        ("optimizer", of_optimizer(lambda s: s["state"].clear()), "lost the state"),
        ("optimizer", of_optimizer(lambda s: s["state"].update({0: {"momentum_buffer": torch.ones(1)}})), "no state"),
        ("optimizer", of_optimizer(lambda s: s["state"].update({10**6: {}})), "no state"),
        ("rng", lambda _: torch.zeros(3, dtype=torch.uint8), "'rng'"),
        ("rng", lambda _: [1], "'rng'"),
        ("history", lambda _: {"x": torch.zeros(2, 2)}, "'history'"),
        ("history", lambda _: {"x": torch.zeros(2, 2, dtype=torch.half)}, "'history' is not of this method"),
        ("history", lambda _: 3, "'history'"),
    ],
)
def test_legal_files_of_something_else_name_the_file_and_the_key(
    half: tuple[RunRequest, Path], key: str, change: Callable[[Any], Any], told: str
) -> None:
    request, path = half
    edited(path, **{key: change(getattr(load_state(path), key))})
    with pytest.raises(UserError, match=told) as caught:
        execute(make_plan(request))
    assert str(path) in str(caught.value)
    info = json.loads((path.parent / "run.json").read_text())
    assert info["status"] == "failed"
    assert told.split()[0].strip("'") in info["reason"]


def test_a_zeroed_block_is_noticed_wherever_the_file_is_read(half: tuple[RunRequest, Path], tmp_path: Path) -> None:
    request, path = half
    whole = path.read_bytes()
    path.write_bytes(whole[:20480] + bytes(4096) + whole[24576:])
    torch.load(path, weights_only=True)  # torch notices nothing
    with pytest.raises(UserError, match=r"checkpoint\.pt: truncated or damaged .*SHA-256.* with --fresh"):
        execute(make_plan(request))
    with pytest.raises(UserError, match=r"checkpoint\.pt: truncated or damaged .*SHA-256.* with --fresh"):
        make_plan(replace(request, iterations=None, settings={}, eval_only=str(path.parent)))
    path.write_bytes(whole)
    execute(make_plan(request))


def test_what_torch_saved_again_is_no_checkpoint_of_the_training(half: tuple[RunRequest, Path], tmp_path: Path) -> None:
    request, path = half
    content = torch.load(path, weights_only=True)
    torch.save(content, path)
    with pytest.raises(UserError, match="its seal is gone"):
        execute(make_plan(request))
    torch.save(content["model"], tmp_path / "model.pt")
    TrainedFile(tmp_path / "model.pt").fill(make_plan(request).model)


def test_a_training_that_begins_again_says_so(half: tuple[RunRequest, Path]) -> None:
    request, path = half
    path.unlink()
    progress = Watched()
    execute(make_plan(request), progress)
    assert f"{path.parent}: there is no checkpoint.pt, so the training begins again" in progress.said


def test_checkpoints_of_version_1_are_read_and_their_sums_compared(half: tuple[RunRequest, Path]) -> None:
    _, path = half
    content = torch.load(path, weights_only=True)
    torch.save({**content, "format": "fsseg-bench checkpoint 1"}, path)
    assert load_state(path).iteration == 2
    whole = path.read_bytes()
    path.write_bytes(whole[:20480] + bytes(4096) + whole[24576:])
    with pytest.raises(UserError, match="the sum of its part"):
        load_state(path)


def test_a_damaged_row_is_evaluated_again_and_told(tmp_path: Path) -> None:
    request = tiny_request(tmp_path)
    whole = finish(replace(request, out=str(tmp_path / "whole"))) / "episodes.jsonl"
    with suppress(KeyboardInterrupt):
        execute(make_plan(request), Watched("evaluate", 8))
    (path,) = (tmp_path / "runs").rglob("episodes.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 8
    swapped = [*lines[:3], lines[4], lines[3], *lines[5:]]
    path.write_bytes(b"".join(swapped))
    progress = Watched()
    folder = execute(make_plan(request), progress).folder
    (said,) = progress.said
    assert "episodes.jsonl: row 3 is damaged (its check does not fit" in said
    assert said.endswith("evaluated again from episode 3")
    info = json.loads((folder / "run.json").read_text())
    (told,) = info["resumed"][-1]["mended"]
    assert told in said
    assert read_lines(path) == read_lines(whole)


def test_a_damaged_training_log_is_told_and_the_result_is_the_same(
    half: tuple[RunRequest, Path], tmp_path: Path
) -> None:
    request, path = half
    log = path.parent / "train.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(lines[0] + lines[1].replace(b'"loss":', b'"loss":1'))
    progress = Watched()
    folder = execute(make_plan(request), progress).folder
    assert "train.jsonl: row 1 is damaged" in progress.said[0]
    assert [row["iteration"] for row in read_lines(log)] == [0, 2, 3]
    whole = finish(replace(request, out=str(tmp_path / "whole")))
    rows = [read_lines(one / "episodes.jsonl") for one in (folder, whole)]
    assert rows[0] == rows[1]


def test_a_finished_run_whose_counts_changed_is_not_called_finished(tmp_path: Path) -> None:
    request = tiny_request(tmp_path)
    path = finish(request) / "episodes.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"input":[', b'"input":[1', 1))
    with pytest.raises(UserError, match=r"episodes\.jsonl: changed since the run was done.*--fresh"):
        execute(make_plan(request))
    execute(make_plan(replace(request, fresh=True)))


def test_a_bug_marks_the_record_failed_and_stays_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(tiny_request(tmp_path))

    def broken(*_: Any, **__: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr("fsseg_bench.engine.run_evaluation.build_evaluator", broken)
    with pytest.raises(MemoryError):
        execute(plan)
    (path,) = (tmp_path / "runs").rglob("run.json")
    info = json.loads(path.read_text())
    assert info["status"] == "failed"
    assert "--head-batch 1" in info["reason"]
