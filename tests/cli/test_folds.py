"""Protocols of any number of folds, from ``run`` to ``report`` and ``compare``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from statistics import fmean

import pytest

from fsseg_bench.protocol.load import load_protocol
from tests.cli.test_main import call
from tests.support.fresh import ROOT

pytestmark = pytest.mark.slow

CLASSES = load_protocol("shapes5i").classes
PAGE = ROOT / "docs" / "howto" / "add-protocol.md"
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
    """The documentation's example with other folds, on smaller images; returns the file."""
    text = PAGE.read_text().partition("```toml\n")[2].partition("```")[0]
    path.write_text(text)
    assert len(load_protocol(path).folds) == 2
    ends = list(accumulate(sizes, initial=0))
    folds = [CLASSES[start:end] for start, end in pairwise(ends)]
    lines = [f"{i} = {json.dumps(own)}" for i, own in enumerate(folds, start=1)]
    head, _, rest = text.partition("classes =")
    rest = rest[rest.index("[data]") :]
    for old, new in {"size = 65": "size = 33", "count = 100": "count = 20", "images = 80": "images = 10"}.items():
        rest = rest.replace(old, new)
    path.write_text("\n".join([f"{head}classes = {json.dumps(CLASSES[: ends[-1]])}", "[folds]", *lines, rest]))
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


@pytest.mark.parametrize("sizes", CASES.values(), ids=CASES)
def test_from_run_to_report_and_compare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sizes: Sequence[int]
) -> None:
    count, runs = len(sizes), tmp_path / "runs"
    protocol, results = write_protocol(tmp_path / "mine.toml", sizes), ("--results", runs)
    command = ("run", *(part for name in METHODS for part in ("--method", name)), "--dataset", protocol, *TINY)

    assert call(*command, "--fold", count + 1, "--iterations", 0) == 2
    there = f"its folds are 1 to {count}" if count > 1 else "its only fold is 1"
    assert f"--fold {count + 1}: two-folds has no such fold; {there}" in capsys.readouterr().err
    if count == 1:
        assert call(*command, "--out", runs) == 2
        said = capsys.readouterr().err
        assert "two-folds has one fold, and so no base classes: baseline cannot be trained on it; evaluate" in said
    assert call(*command, "--iterations", 0, "--out", runs) == 0
    capsys.readouterr()

    folders = {f: next(runs.glob(f"*/baseline-*/*/fold{f}-*")) for f in range(1, count + 1)}
    expected = {f: hand_computed(folder / "episodes.jsonl") for f, folder in folders.items()}
    mean = fmean(expected.values())
    assert call("report", *results, "--format", "json") == 0
    (table,) = json.loads(capsys.readouterr().out)["tables"]
    labels = table["labels"]
    heads = [column["head"][-1] for column in table["columns"][labels:]]
    own = list(folders) if count > 1 else []  # a single fold is its mean
    assert heads == [*(f"fold {f}" for f in own), "mean", "binary"]
    values = [cell["value"] for cell in table["rows"][0][labels:-1]]
    assert values == pytest.approx([*(expected[f] for f in own), mean])
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


def test_a_model_trained_elsewhere_is_tested_on_one_fold(tmp_path: Path) -> None:
    """Of a method that has an output for each base class: those of its training, though the one fold leaves none."""
    runs = tmp_path / "runs"
    trained = write_protocol(tmp_path / "trained.toml", [2, 1])
    tested = write_protocol(tmp_path / "tested.toml", [3])
    tested.write_text(tested.read_text().replace('"two-folds"', '"elsewhere"', 1))
    command = ("run", "--method", "ppnet", *TINY, "--out", runs)
    assert call(*command, "--dataset", trained, "--fold", 1, "--iterations", 1, "--set", "recipe.batch=1") == 0
    (folder,) = runs.glob("two-folds/*/*/fold1-*")
    assert call(*command, "--dataset", tested, "--eval-only", folder) == 0
    (folder,) = runs.glob("elsewhere/*/*/fold1-checkpoint-*")
    assert json.loads((folder / "run.json").read_text())["status"] == "done"
