"""Run records made by hand, for tests of records and reports."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from fsseg_bench.protocol.table import EpisodeTable
from fsseg_bench.records.info import sealed
from fsseg_bench.records.kept import counts_path, kept_header
from fsseg_bench.records.lines import Chain, LineLog
from fsseg_bench.records.read import read_run
from fsseg_bench.records.request import RunRequest
from fsseg_bench.records.run import RunRecord
from fsseg_bench.records.settings import RunSettings
from fsseg_bench.schema import parse
from fsseg_bench.storage.json_text import plain, write_json

Episode = tuple[Sequence[int], Sequence[int]]
"""The classes and the counts (row-major, rows = labels) of one episode."""


def settings(**changes: Any) -> RunSettings:
    """Settings of a run as the engine makes them, with ``changes``."""
    values: dict[str, Any] = {
        "protocol": "toy",
        "protocol_label": "toy",
        "protocol_version": 1,
        "protocol_digest": "d" * 64,
        "data_fingerprint": "f" * 64,
        "episode_digest": "e" * 64,
        "method": "baseline",
        "method_digest": "a" * 64,
        "switches": {"temperature": 20.0},
        "recipe": {"iterations": 100, "lr": 0.001},
        "backbone": "resnet18",
        "weights": "none",
        "weights_digest": None,
        "fold": 1,
        "way": 1,
        "shot": 1,
        "seed": 0,
        "precision": "fp32",
        "scales": [1.0],
        "novel": [1, 2],
        "class_names": {"1": "cat", "2": "dog"},
        "headline": "input",
    }
    return parse(RunSettings, plain(values | changes), "tests")


def request(**given: Any) -> RunRequest:
    """What a run was asked for, as far as it says."""
    return parse(RunRequest, given, "tests")


TWO_EPISODES: tuple[Episode, ...] = (((1,), (60, 10, 10, 20)), ((2,), (70, 0, 10, 20)))
"""IoU 20/40 = 0.5 for class 1 and 20/30 for class 2."""

SPREAD: tuple[Episode, ...] = (
    ((1,), (60, 15, 15, 10)),
    ((1,), (60, 5, 5, 30)),
    ((2,), (75, 5, 0, 20)),
)
"""IoU 40/80 for class 1, between 10/40 and 30/40 when its episodes are drawn again; 20/25 for class 2."""

NATIVE = ((0, 0, 50, 50), (0, 0, 50, 50), (9, 0, 0, 1))
"""Native counts for SPREAD: IoU 100/200 and 1."""


def row(number: int, episode: Episode, native: Sequence[int] | None = None) -> dict[str, Any]:
    """One line of the episode log; the native counts are the input ones unless given."""
    classes, counts = episode
    return {
        "episode": number,
        "classes": list(classes),
        "input": list(counts),
        "native": list(counts if native is None else native),
    }


def write_run(
    root: Path,
    episodes: Sequence[Episode] = TWO_EPISODES,
    *,
    native: Sequence[Sequence[int]] | None = None,
    void: Sequence[Sequence[int]] | None = None,
    status: str = "done",
    passed: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
    table: EpisodeTable | None = None,
    folds: int = 4,
    **changes: Any,
) -> Path:
    """Writes a run's record as the engine does and gives its folder; ``table`` is what its episodes are, and
    ``folds`` how many the protocol has; ``void`` is what was predicted at void pixels."""
    if table is not None:
        changes = {"episode_digest": table.digest, "way": table.ways, "shot": table.shots, **changes}
    with RunRecord.create(root, settings(**changes), request(**passed or {}), folds=folds) as record:
        if table is not None:
            record.keep_table(table)
        with record.episode_log() as log:
            for i, episode in enumerate(episodes):
                at_void = {} if void is None else {"input_void": list(void[i]), "native_void": list(void[i])}
                log.append({**row(i, episode, None if native is None else native[i]), **at_void})
        record.update(status=status, **(extra or {}))
    return record.folder


def write_training(folder: Path) -> Path:
    """Writes the last line of the log of a run's training."""
    run = read_run(folder)
    with LineLog(folder / "train.jsonl", Chain(run.info.identity)) as log:
        log.append({"iteration": (run.settings.iterations or 0) - 1, "loss": 0.5, "parts": {"ce": 0.5}})
    return folder


def write_kept(folder: Path, states: Mapping[int, Sequence[Sequence[int]]]) -> None:
    """Counts of kept states, by step: those of each episode, at both sizes alike."""
    run = read_run(folder)
    for step, episodes in states.items():
        path = counts_path(folder, step)
        path.parent.mkdir(exist_ok=True)
        with LineLog(path, Chain(run.info.identity)) as log:
            log.append(kept_header(run, step, "5" * 64))
            for i, counts in enumerate(episodes):
                log.append({"episode": i, "input": list(counts), "native": list(counts)})


def forget_predictions(root: Path) -> None:
    """Takes the predictions out of all records, as if an earlier version had made them."""
    for path in root.rglob("predictions.jsonl"):
        info = json.loads((path.parent / "run.json").read_text())
        files = {name: digest for name, digest in info["files"].items() if name != path.name}
        edit_info(path.parent, files=files)
        path.unlink()


def edit_info(folder: Path, **changes: Any) -> None:
    """Changes run.json and makes its check fit again, as a careful forger would."""
    path = folder / "run.json"
    write_json(path, sealed(json.loads(path.read_text()) | changes))


def write_panel(
    folder: Path, name: str, size: tuple[int, int], colour: tuple[int, int, int], entry: Mapping[str, Any] | None
) -> None:
    """Adds a picture of one colour to a run's folder and, unless ``entry`` is None, its description."""
    panels = folder / "panels"
    panels.mkdir(exist_ok=True)
    Image.new("RGB", size, colour).save(panels / name)
    if entry is not None:
        listing = panels / "panels.json"
        entries = json.loads(listing.read_text()) if listing.exists() else []
        listing.write_text(json.dumps([*entries, {"file": name, **entry}]))


def write_log(
    folder: Path, losses: Sequence[Mapping[str, float]], labels: Sequence[Sequence[int]] | None = None
) -> None:
    """Writes a run's training log: the parts of the loss of each iteration, and the pixels of each label."""
    rows = [{"iteration": i, "loss": sum(parts.values()), "parts": parts} for i, parts in enumerate(losses)]
    rows = [row | ({"labels": labels[i]} if labels else {}) for i, row in enumerate(rows)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
