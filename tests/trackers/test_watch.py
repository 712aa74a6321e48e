"""What trackers are told: by pretended ones that keep every call, and by TensorBoard's own files where it is there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fsseg_bench.api import run
from fsseg_bench.records.read import find_records
from fsseg_bench.records.request import TrackerName
from fsseg_bench.trackers.contract import TrackedRun
from fsseg_bench.trackers.watch import Watch
from tests.support.tiny_run import tiny_request

RUN = TrackedRun(
    "shapes fold 1", "ab" * 32, Path("folder"), {"shot": 1, "recipe": {"lr": 0.1, "milestones": [3]}, "x": None}
)
ROW = {
    "iteration": 4,
    "lr": 0.1,
    "loss": 0.75,
    "parts": {"query": 0.5, "align": 0.25},
    "constant": 0.4,
    "labels": [1, 2],
}
SCORES = {"input": {"mean_iou": 0.5, "binary_iou": None}}
TOLD = {
    "train/loss": 0.75,
    "train/lr": 0.1,
    "train/constant predictor": 0.4,
    "train/loss query": 0.5,
    "train/loss align": 0.25,
}
Calls = list[tuple[Any, ...]]


@pytest.fixture
def calls() -> Calls:
    return []


@pytest.fixture
def pretended(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a module of some name in, with functions that keep what they are given."""

    def put(name: str, **functions: Callable[..., Any]) -> None:
        module = ModuleType(name)
        for key, function in functions.items():
            setattr(module, key, function)
        monkeypatch.setitem(sys.modules, name, module)

    return put


def wandb(calls: Calls) -> dict[str, Callable[..., Any]]:
    def init(project: str, name: str, config: dict[str, Any], id: str, resume: str) -> None:
        calls.append(("init", project, name, config, id, resume))

    def log(values: dict[str, float], step: int | None = None) -> None:
        calls.append(("log", values, step))

    def finish(exit_code: int = 0) -> None:
        calls.append(("finish", exit_code))

    return {"init": init, "log": log, "finish": finish}


def test_the_family_is_told_of_losses_and_scores(calls: Calls, pretended: Callable[..., None]) -> None:
    pretended("wandb", **wandb(calls))
    watch = Watch(("wandb", "wandb"), RUN, pytest.fail)
    assert not calls  # nothing is opened before there is something to tell
    watch.row(ROW)
    watch.finish(SCORES, "done")
    watch.finish(SCORES, "done")
    assert calls == [
        ("init", "fsseg-bench", "shapes fold 1", RUN.config, "ab" * 8, "allow"),
        ("log", TOLD, 4),
        ("log", {"test/mean_iou input": 0.5}, None),
        ("finish", 0),
    ]


def test_of_a_member_without_ids_the_name_tells_runs_apart(calls: Calls, pretended: Callable[..., None]) -> None:
    def init(project: str, name: str, config: dict[str, Any], resume: str) -> None:
        calls.append((project, name, resume))

    pretended("trackio", init=init, log=lambda values, step=None: None, finish=lambda: calls.append(("finish",)))
    watch = Watch(("trackio",), RUN, pytest.fail)
    watch.row(ROW)
    watch.finish({}, "stopped")
    assert calls == [("fsseg-bench", "shapes fold 1 abababab", "allow"), ("finish",)]


def test_mlflow_goes_on_with_the_run_of_this_identity(calls: Calls, pretended: Callable[..., None]) -> None:
    known: list[Any] = []

    class Run:
        class info:  # noqa: N801 - as in mlflow
            run_id = "7"

    def keep(name: str) -> Callable[..., Any]:
        return lambda *args, **options: calls.append((name, *args, *options.values()))

    names = ("set_experiment", "start_run", "log_params", "log_metrics", "end_run")
    pretended("mlflow", search_runs=lambda **_: known, **{name: keep(name) for name in names})
    for _ in range(2):
        watch = Watch(("mlflow",), RUN, pytest.fail)
        watch.row(ROW)
        watch.finish(SCORES, "failed")
        known.append(Run)
    params = {"shot": "1", "recipe.lr": "0.1", "recipe.milestones": "[3]", "x": "None"}
    assert calls[:3] == [
        ("set_experiment", "fsseg-bench"),
        ("start_run", "shapes fold 1", {"fsseg_bench.identity": "ab" * 32}),
        ("log_params", params),
    ]
    assert calls[3:6] == [
        ("log_metrics", TOLD, 4),
        ("log_metrics", {"test/mean_iou input": 0.5}),
        ("end_run", "FAILED"),
    ]
    assert calls[6:8] == [("set_experiment", "fsseg-bench"), ("start_run", "7")]
    assert "log_params" not in [call[0] for call in calls[6:]]


def test_what_fails_is_told_once_and_left_out(calls: Calls, pretended: Callable[..., None]) -> None:
    def broken(values: dict[str, float], step: int | None = None) -> None:
        raise SystemExit("no quota")

    pretended("wandb", **{**wandb(calls), "log": broken})
    pretended("trackio", **wandb(calls))
    said: list[str] = []
    watch = Watch(("wandb", "trackio"), RUN, said.append)
    watch.row(ROW)
    watch.row(ROW)
    watch.finish(SCORES, "done")
    assert said == ["--track wandb failed: SystemExit: no quota; the run goes on without it"]
    assert [call[0] for call in calls] == ["init", "init", "log", "log", "log", "finish"]


def test_what_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    said: list[str] = []
    Watch(("mlflow",), RUN, said.append).finish(SCORES, "done")
    assert len(said) == 1
    assert said[0].startswith("--track mlflow cannot be opened: ModuleNotFoundError")
    assert said[0].endswith("(pip install mlflow); the run goes on without it")


def test_a_stopped_run_that_was_never_opened_stays_so(calls: Calls, pretended: Callable[..., None]) -> None:
    pretended("wandb", **wandb(calls))
    Watch(("wandb",), RUN, pytest.fail).finish({}, "stopped")
    assert not calls


def test_a_run_is_followed_and_its_identity_does_not_depend_on_it(
    calls: Calls, pretended: Callable[..., None], tmp_path: Path
) -> None:
    pretended("wandb", **wandb(calls))
    asked = tiny_request(tmp_path, iterations=3, episodes="4")
    given = {key: value for key, value in asked.given().items() if key not in {"method", "dataset", "fold", "out"}}
    tracked: dict[str, list[TrackerName]] = {"followed": ["wandb"], "alone": []}
    frames = [
        run(asked.method, asked.dataset, fold=asked.fold, out=tmp_path / name, track=track, **given)
        for name, track in tracked.items()
    ]
    assert [call[0] for call in calls] == ["init", "log", "log", "log", "log", "finish"]
    assert [call[2] for call in calls[1:4]] == [0, 1, 2]
    assert frames[0]["iou"].tolist() == frames[1]["iou"].tolist()
    one, other = (find_records(tmp_path / name)[0][0] for name in tracked)
    assert one.info.identity == other.info.identity
    assert calls[-2][1]["test/mean_iou input"] == one.info.scores["input"]["mean_iou"]


def test_tensorboard_files_hold_what_was_told_and_hide_what_is_repeated(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run_ = TrackedRun(RUN.title, RUN.identity, tmp_path, RUN.config)
    for first, loss in ((0, 1.0), (2, 5.0)):  # the second session begins at step 2 of the first one's four
        watch = Watch(("tensorboard",), run_, pytest.fail)
        for step in range(first, 4):
            watch.row({**ROW, "iteration": step, "loss": loss + step})
        watch.finish(SCORES if first else {}, "done" if first else "stopped")
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert [(event.step, event.value) for event in found.Scalars("train/loss")] == [
        (0, 1.0),
        (1, 2.0),
        (2, 7.0),
        (3, 8.0),
    ]
    assert [event.value for event in found.Scalars("test/mean_iou input")] == [0.5]
