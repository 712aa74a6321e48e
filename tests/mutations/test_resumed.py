"""Damaged records of interrupted runs that go on."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from fsseg_bench.engine.checkpoint import TrainingState, save_state
from tests.mutations import mutate
from tests.mutations.verdicts import SEED, Tally, asked, damaged, losses, numbers
from tests.mutations.world import World, call

pytestmark = pytest.mark.slow


def resumed(world: World, half: Path, words: list[str], change: Callable[[Path], None], expected: Any) -> str:
    """The verdict on the same command over an interrupted run that ``change`` damaged."""
    out = world.fresh("resumed")
    root = half.parents[3]
    folder = Path(shutil.copytree(root, out / "runs")) / half.relative_to(root)
    change(folder)
    ending = call(*words, "--out", out / "runs")
    if ending.broken:
        return f"broken: {ending.broken}"
    if ending.code == 2:
        return "refused" if str(folder) in ending.err else f"unnamed: {ending.err[-300:]}"
    if "1 unfinished" in ending.out or numbers(folder) != expected:
        return "silent: another result"
    report = call("report", "--results", out / "runs", "--strict")
    return "equal" if report.code == 0 else f"silent: done, and a report skips it: {report.err[-200:]}"


@pytest.fixture(scope="module")
def complete(world: World) -> dict[str, Any]:
    """The counts of the interrupted runs when they are finished without damage."""
    found = {}
    for name, half in (("voc", world.half_evaluated), ("trained", world.half_trained)):
        out = world.fresh("complete")
        root = half.parents[3]
        shutil.copytree(root, out / "runs")
        assert call(*world.words[name], "--out", out / "runs").code == 0
        found[name] = numbers(out / "runs" / half.relative_to(root))
    return found


def writes(name: str, data: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(data)

    return change


def test_episodes_of_an_interrupted_run(world: World, complete: dict[str, Any]) -> None:
    data = (world.half_evaluated / "episodes.jsonl").read_bytes()
    tally = Tally("episodes.jsonl, interrupted")
    for case, other in damaged(data, 110, "interrupted", *mutate.LINES, *mutate.LINES, mutate.json_line_value):
        change = writes("episodes.jsonl", other)
        tally.add(case, resumed(world, world.half_evaluated, world.words["voc"], change, complete["voc"]))
    tally.close(110)


def test_rows_of_an_earlier_version(world: World, complete: dict[str, Any]) -> None:
    """Without checks: what can be seen in the rows themselves is seen."""
    tally = Tally("episodes.jsonl, no checks")
    rows = [json.loads(line) for line in (world.half_evaluated / "episodes.jsonl").read_bytes().splitlines()]
    rows = [{key: value for key, value in row.items() if key != "check"} for row in rows]

    def lines(changed: list[Any]) -> bytes:
        return b"".join(json.dumps(row, separators=(",", ":")).encode() + b"\n" for row in changed)

    def old(data: bytes) -> Callable[[Path], None]:
        def change(folder: Path) -> None:
            info = json.loads((folder / "run.json").read_bytes())
            for key in ("check", "lines"):
                info.pop(key, None)
            (folder / "run.json").write_text(json.dumps(info))
            (folder / "episodes.jsonl").write_bytes(data)

        return change

    wrong: list[list[Any]] = [rows[1:], [rows[0], *rows], [rows[1], rows[0], *rows[2:]], [rows[0], *rows[2:]]]
    for changes in (
        *({"classes": value} for value in ([9], [True], ["1"], [], None)),
        *({"input": value} for value in ([10**6, 0, 0, 0], [0, 0, 0], [-1, 1, 1, 1], [0.5, 0, 0, 0])),
        *({"native": value} for value in ([10**6, 0, 0, 0], [2**62] * 4, "x")),
        *({"episode": value} for value in (7, "1", True, None)),
        *({"other": 1}, {"diagnostics": {"x": "y"}}, {"diagnostics": {"x": 1}}, {"diagnostics": 3}),
    ):
        wrong.append([rows[0], rows[1] | changes, *rows[2:]])
    for i, changed in enumerate(wrong):
        change = old(lines(changed))
        verdict = resumed(world, world.half_evaluated, world.words["voc"], change, complete["voc"])
        tally.add(f"no checks {i}", verdict)
    tally.close(20)


def test_training_log_of_an_interrupted_run(world: World, complete: dict[str, Any]) -> None:
    """The scores are the same; the losses are, too, or their curve says that lines are missing."""
    data = (world.half_trained / "train.jsonl").read_bytes()
    tally = Tally("train.jsonl, interrupted")
    curve = partial(losses, world.root / "scratch" / "resumed" / "runs")
    assert resumed(world, world.half_trained, world.words["trained"], lambda _: None, complete["trained"]) == "equal"
    whole = curve()
    for case, other in damaged(data, 40, "training", *mutate.LINES, mutate.json_line_value, mutate.json_line_value):
        change = writes("train.jsonl", other)
        verdict = resumed(world, world.half_trained, world.words["trained"], change, complete["trained"])
        tally.add(case, asked(curve, whole, Path("train.jsonl")) if verdict == "equal" else verdict)
    tally.close(40)


def test_run_json_of_an_interrupted_run(world: World, complete: dict[str, Any]) -> None:
    data = (world.half_evaluated / "run.json").read_bytes()
    tally = Tally("run.json, interrupted")
    for case, other in damaged(data, 45, "run.json again", mutate.json_value, mutate.json_value):
        change = writes("run.json", other)
        tally.add(case, resumed(world, world.half_evaluated, world.words["voc"], change, complete["voc"]))
    tally.close(45)


def test_checkpoint_of_an_interrupted_training(world: World, complete: dict[str, Any]) -> None:
    data = (world.half_trained / "checkpoint.pt").read_bytes()
    tally = Tally("checkpoint.pt")
    for case, other in damaged(data, 60, "checkpoint"):
        change = writes("checkpoint.pt", other)
        tally.add(case, resumed(world, world.half_trained, world.words["trained"], change, complete["trained"]))
    tally.close(60)


def test_legal_checkpoints_of_something_else(world: World, complete: dict[str, Any]) -> None:
    rng = random.Random(f"{SEED} legal")
    tally = Tally("checkpoint.pt, legal files")
    for i in range(70):
        content = torch.load(world.half_trained / "checkpoint.pt", weights_only=True)
        content.pop("format")
        changed = mutate.checkpoint_value(content, rng)
        described = {key: str(value)[:40] for key, value in changed.items() if key == "iteration"}

        def change(folder: Path, changed: dict[str, Any] = changed) -> None:
            save_state(folder / "checkpoint.pt", TrainingState(**changed))

        verdict = resumed(world, world.half_trained, world.words["trained"], change, complete["trained"])
        tally.add(f"legal checkpoint {i} {described}", verdict)
    tally.close(70)
