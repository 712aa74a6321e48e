"""Benchmarks beyond PASCAL-5i and COCO-20i from ``data prepare --from`` to the table, on stand-ins in the layout that
people get; counts are those of the stand-ins, by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli.test_main import call
from tests.support import benchmarks

RUN = "--backbone resnet18-layer2 --weights none --iterations 0 --device cpu --panels 0 --workers 0 --shot 1 --no-check"
SMALL = "--set protocol.image.size=32"


class Case(NamedTuple):
    """A benchmark."""

    name: str
    """Of its protocol."""
    write: Callable[[Path], None]
    """Writes the stand-in."""
    said: tuple[str, ...]
    """Lines of ``data prepare``."""
    episodes: int
    """Of fold 1."""
    options: str = ""
    """Of ``run``."""
    dataset: str = ""
    """The name that ``data prepare`` is given, where it is another."""
    file: bool = False
    """Whether ``data prepare`` writes the protocol."""


CASES = [
    Case(
        "lvis92i-1shot",
        benchmarks.lvis,
        (
            "22 of 23 categories are in more than 1 image of val: 10 folds of 2 classes, 2 over",
            "published results have 10 folds of 92 classes, from 920 to 929 categories of 1,203: these are other "
            "annotations, and other classes",
            "1 of 140 test pairs (image, class) of the folds are marked as not exhaustive: objects of the class may "
            "have no outline there, and count as background",
        ),
        4,
        "--episodes 4",
        file=True,
    ),
    Case(
        "lvis92i-5shot",
        benchmarks.lvis,
        ("21 of 23 categories are in more than 5 images of val: 10 folds of 2 classes, 1 over",),
        4,
        "--episodes 4",
        file=True,
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_from_what_people_get_to_the_table(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given, root, runs = tmp_path / "given", tmp_path / "root", tmp_path / "runs"
    case.write(given)
    name = case.dataset or case.name
    assert call("data", "prepare", name, "--root", root, "--from", given, "--subset") == 0, capsys.readouterr().err
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line in case.said] == list(case.said)
    place = str(root / name / "protocol.toml") if case.file else case.name
    assert f"--dataset {place} --data-root {root}" in lines[-1]
    assert call("data", "verify", name, "--root", root) == 0
    assert f"{name}: no problem found" in capsys.readouterr().out
    command = f"run --method baseline --dataset {place} --data-root {root} --fold 1 --out {runs} {RUN} {SMALL}"
    assert call(*command.split(), *case.options.split()) == 0, capsys.readouterr().err
    assert "baseline" in capsys.readouterr().out
    episodes = [json.loads(line) for log in runs.rglob("episodes.jsonl") for line in log.read_text().splitlines()]
    assert len(episodes) == case.episodes
    assert call("report", "--results", runs) == 0
    assert "baseline" in capsys.readouterr().out
