"""Protocols of any number of folds, from ``run`` to ``report`` and ``compare``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import pytest

from fsseg_bench.cli.main import main
from fsseg_bench.protocol.load import builtin_protocols, load_protocol

CLASSES = load_protocol("shapes5i").classes
TINY = ("--backbone", "resnet18-layer2", "--weights", "none", "--device", "cpu", "--panels", "0", "--workers", "0")
METHODS = ("baseline", "panet")
FORMATS = ("markdown", "latex", "html")
CASES = {
    "one fold": [3],
    "one fold of one class": [1],
    "two folds of one class": [1, 1],
    "ten folds": [1, 2] * 5,
}
"""Classes of each fold."""


def write_protocol(path: Path, sizes: Sequence[int]) -> Path:
    """``shapes5i`` with other folds, small and few images; returns the file."""
    before, _, after = builtin_protocols()["shapes5i"].read_text().partition("[folds]")
    names = iter(CLASSES)
    lines = [f"{i} = {json.dumps([next(names) for _ in range(size)])}" for i, size in enumerate(sizes, start=1)]
    rest = after[after.index("[data]") :]
    for old, new in (("train_images = 480", "train_images = 1"), ("test_images = 240", "test_images = 60")):
        rest = rest.replace(old, new)
    rest = rest.replace("size = 129", "size = 33").replace("count = 1000", "count = 20")
    path.write_text(before + "\n".join(["[folds]", *lines, rest]))
    return path


def hand_computed(log: Path) -> float:
    """The mean over a fold's classes of the foreground's IoU, in percent, from the counts of its 1-way episodes."""
    sums: dict[int, list[int]] = {}
    for row in map(json.loads, log.read_text().splitlines()):
        _, wrong, missed, hit = row["input"]
        totals = sums.setdefault(row["classes"][0], [0, 0])
        totals[0] += hit
        totals[1] += hit + wrong + missed
    return 100 * fmean(hit / union for hit, union in sums.values())


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


@pytest.mark.parametrize(
    "sizes", [pytest.param(own, marks=[pytest.mark.slow] * (len(own) > 1), id=name) for name, own in CASES.items()]
)
def test_from_run_to_report_and_compare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sizes: Sequence[int]
) -> None:
    count, runs = len(sizes), tmp_path / "runs"
    protocol, results = write_protocol(tmp_path / "mine.toml", sizes), ("--results", runs)
    command = ("run", *(part for name in METHODS for part in ("--method", name)), "--dataset", protocol, *TINY)

    assert call(*command, "--fold", count + 1, "--iterations", 0) == 2
    there = f"its folds are 1 to {count}" if count > 1 else "its only fold is 1"
    assert f"--fold {count + 1}: shapes5i has no such fold; {there}" in capsys.readouterr().err
    if count == 1:
        assert call(*command, "--out", runs) == 2
        message = "shapes5i has one fold, and so no base classes to train on; evaluate a trained model with --eval-only"
        assert message in capsys.readouterr().err
    assert call(*command, "--iterations", 0, "--out", runs) == 0
    capsys.readouterr()

    folders = {f: next(runs.glob(f"*/baseline-*/*/fold{f}-*")) for f in range(1, count + 1)}
    expected = {f: hand_computed(folder / "episodes.jsonl") for f, folder in folders.items()}
    mean = fmean(expected.values())
    assert call("report", *results, "--format", "json") == 0
    (table,) = json.loads(capsys.readouterr().out)["tables"]
    labels = table["labels"]
    heads = [column["head"][-1] for column in table["columns"][labels:]]
    assert heads == [*(f"fold {f}" for f in folders), "mean", "binary"]
    values = [cell["value"] for cell in table["rows"][0][labels:-1]]
    assert values == pytest.approx([*expected.values(), mean])
    for form in FORMATS:
        assert call("report", *results, "--format", form) == 0
        shown = capsys.readouterr().out
        assert f"{mean:.2f}" in shown
        assert all(f"{value:.2f}" in shown for value in expected.values())
    assert call("compare", *METHODS, *results, "--format", "json") == 0
    compared = json.loads(capsys.readouterr().out)
    assert compared["folds"] == list(folders)
    assert call("compare", *METHODS, *results) == 0
    shown = capsys.readouterr().out
    assert ("| mean " in shown) == (count > 1)

    (folders[count] / "run.json").unlink()
    (folders[count] / "episodes.jsonl").unlink()
    assert call("report", *results, "--commands") == 0
    shown = capsys.readouterr().out
    if count > 1:
        assert f"--fold {count} " in shown
        assert call("report", *results) == 0
        assert f"{count - 1} of {count} folds" in capsys.readouterr().out
