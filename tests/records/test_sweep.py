"""Sweeps read back: whole ones, incomplete ones, and ones that were edited or belong elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fsseg_bench.records.read import RecordError, StoredRun, read_run
from fsseg_bench.records.sweep import find_sweep, same_sweep, sweep_header, sweep_path
from tests.support.runs import TWO_EPISODES, write_run

ROWS = [
    {"episode": 0, "input": [[60, 10, 10, 20], [70, 0, 30, 0]], "native": [[60, 10, 10, 20], [69, 1, 29, 1]]},
    {"episode": 1, "input": [[70, 0, 10, 20], [0, 70, 0, 30]], "native": [[70, 0, 10, 20], [70, 0, 30, 0]]},
]
"""Two values; the labels (70 and 30 pixels in both episodes) are those of TWO_EPISODES."""


@pytest.fixture
def run(tmp_path: Path) -> StoredRun:
    return read_run(write_run(tmp_path, TWO_EPISODES))


def write(run: StoredRun, rows: list[dict[str, Any]], **header: Any) -> Path:
    path = sweep_path(run.folder, "steps")
    lines = [{**sweep_header(run, "steps", [0, 5]), **header}, *rows]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_counts_by_value_then_episode(run: StoredRun):
    assert write(run, ROWS, device="cpu").name == "sweep-steps.jsonl"
    found = find_sweep(run, "steps")
    assert found is not None
    assert (found.switch, found.values) == ("steps", (0, 5))
    assert found.input.tolist() == [
        [[[60, 10], [10, 20]], [[70, 0], [10, 20]]],
        [[[70, 0], [30, 0]], [[0, 70], [0, 30]]],
    ]
    assert found.native[1].tolist() == [[[69, 1], [29, 1]], [[70, 0], [30, 0]]]
    assert found.input.dtype == "int64"


def test_nothing_yet_or_not_all_of_it(run: StoredRun):
    assert find_sweep(run, "steps") is None
    path = write(run, ROWS[:1])
    assert find_sweep(run, "steps") is None
    write(run, ROWS)
    path.write_text(path.read_text()[:-20])  # the last line is torn
    assert find_sweep(run, "steps") is None
    path.write_text("")
    assert find_sweep(run, "steps") is None


@pytest.mark.parametrize(
    ("header", "rows", "told"),
    [
        ({"identity": "0" * 64}, ROWS, "belongs to another run or another switch"),
        ({"sweep": "eta"}, ROWS, "belongs to another run or another switch"),
        ({"values": 5}, ROWS, "belongs to another run or another switch"),
        ({"values": [0]}, ROWS, "'input' must hold 1 lists of 4 numbers"),
        ({}, ROWS[::-1], "not numbered 0, 1, 2"),
        ({}, [*ROWS, {"episode": 2}], "not numbered 0, 1, 2"),
        ({}, [ROWS[0], {**ROWS[1], "input": None}], "'input' must hold 2 lists"),
        ({}, [ROWS[0], {**ROWS[1], "native": [[1.5] * 4, [0] * 4]}], "'native' does not count the labels"),
        ({}, [ROWS[0], {**ROWS[1], "input": [[70, 0, 10, 20], [1, 70, 0, 30]]}], "'input' does not count the labels"),
        ({}, [ROWS[0], {**ROWS[1], "input": [[70, 0, 10, 20], [-1, 71, 0, 30]]}], "'input' does not count the labels"),
    ],
)
def test_what_does_not_fit_the_run(run: StoredRun, header: dict[str, Any], rows: list[dict[str, Any]], told: str):
    path = write(run, rows, **header)
    with pytest.raises(RecordError, match=told) as error:
        find_sweep(run, "steps")
    assert str(path) in str(error.value)


def test_a_run_that_is_not_done(tmp_path: Path):
    unfinished = read_run(write_run(tmp_path, status="evaluating"))
    write(unfinished, ROWS)
    with pytest.raises(RecordError, match="not done"):
        find_sweep(unfinished, "steps")


def test_names_of_switches_are_file_names(tmp_path: Path):
    assert sweep_path(tmp_path, "../a.b").parent == tmp_path


def test_what_makes_two_sweeps_the_same(run: StoredRun):
    header = sweep_header(run, "steps", [0, 5])
    assert same_sweep(header, {**header, "device": "cuda"})
    assert not same_sweep(header, {**header, "values": [5, 0]})
