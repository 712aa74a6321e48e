"""Benchmarks beyond PASCAL-5i and COCO-20i from ``data prepare --from`` to the table, on stand-ins in the layout that
people get; counts are those of the stand-ins, by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
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
    more: Mapping[str, str] = {}
    """Further protocols of the same data, and options of ``run``."""
    file: bool = False
    """Whether ``data prepare`` writes the protocol."""


CASES = [
    Case(
        "deepglobe",
        benchmarks.deepglobe,
        (
            "2 pictures, 72 tiles: 48 kept (others: PATNet's paper 5,666; users of its script 9,174 and 9,175; the "
            "archive that its readme links is neither), 96 pairs (tile, class)",
            "images of a class      found     IFA",
            "agriculture                6   6,891",
            "urban                     12   4,189",
            "rangeland                 18   4,333",
            "forest                    24   1,564",
            "water                     24   1,370",
            "barren                    12   2,195",
            "all                       96  20,542",
        ),
        30,  # 5 runs
        "--episodes 6",
    ),
    Case("perseg", benchmarks.perseg, ("3 objects (the paper has 40)",), 6, file=True),
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
    Case(
        "fss1000",
        benchmarks.fss1000,
        ("2,000 pairs (image, class) of 1,000 classes, 2 to 2 each", "paper: 10,000"),
        480,
        more={"fss1000-hsnet": "", "fss1000-cdfss": "--set protocol.episodes.runs=1"},
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
    for dataset, options in {place: case.options, **case.more}.items():
        command = f"run --method baseline --dataset {dataset} --data-root {root} --fold 1 --out {runs} {RUN} {SMALL}"
        assert call(*command.split(), *options.split()) == 0, capsys.readouterr().err
        assert "baseline" in capsys.readouterr().out
    episodes = [json.loads(line) for log in runs.rglob("episodes.jsonl") for line in log.read_text().splitlines()]
    assert len(episodes) == case.episodes * (1 + len(case.more))
    assert call("report", "--results", runs) == 0
    shown = capsys.readouterr().out
    assert all(f"### {dataset}\\[" in shown for dataset in (case.name, *case.more))
