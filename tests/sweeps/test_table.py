from pathlib import Path

import pytest

from fsseg_bench.storage.holder import Holder
from fsseg_bench.sweeps.attempts import Attempt
from fsseg_bench.sweeps.plan import Cell
from fsseg_bench.sweeps.states import CellState, State
from fsseg_bench.sweeps.table import counts, counts_words, part_done, rows, seconds_left, states_frame, to_json

BEGUN = "2026-01-01T12:40:00+00:00"


def state(label: str, state: State, trained: int = 0, evaluated: int = 0, **values) -> CellState:
    options = {"method": label.partition("-")[0], "fold": label.partition("-")[2]}
    cell = Cell(label, ("run",), label, "0" * 64, train=100, evaluate=10, options=options)
    return CellState(cell, state, None, trained, evaluated, **values)


RUNNING = state(
    "panet-1",
    "running",
    50,
    holder=Holder("node7", "boot", 123, "slurm 12_3", BEGUN),
    attempts=(Attempt(BEGUN, "slurm", "node6", 1, 0, ended=BEGUN), Attempt(BEGUN, "slurm", "node7", 9, 0, gpu="1")),
    seconds_left=240.0,
)
FAILED = state("panet-2", "failed", 9, attempts=(Attempt(BEGUN, "local", "node8", 9, 0),), reason="the loss is nan")
DONE = state("panet-3", "done", 100, 10, train_seconds=50.0, evaluate_seconds=20.0)
OTHER = state("canet-1", "done", 100, 10, train_seconds=100.0, evaluate_seconds=10.0)


def test_counts_and_parts() -> None:
    states = [RUNNING, FAILED, DONE, state("dan-1", "waiting")]
    assert counts(states) == {"done": 1, "running": 1, "waiting": 1, "stopped": 0, "failed": 1, "gave up": 0}
    assert counts_words(states) == "4 cells: 1 done, 1 running, 1 waiting, 1 failed"
    assert counts_words([DONE]) == "1 cell: 1 done"
    assert part_done(states) == (50 + 9 + 110) / 440
    assert (counts_words([]), part_done([])) == ("0 cells: none", 0.0)


def test_rows_begin_with_what_failed_and_say_where_and_why() -> None:
    resumed = state("dan-1", "stopped", resumed_on=("device: cuda / cpu",))
    found = rows([DONE, RUNNING, FAILED, resumed])
    assert [row.cell for row in found] == ["panet-2", "panet-1", "dan-1", "panet-3"]
    assert (found[0].done, found[0].attempts, found[0].where, found[0].note) == ("8 %", "1", "node8", "the loss is nan")
    assert found[1].where == "node7, process 123, slurm 12_3, GPU 1, since 2026-01-01 12:40 UTC"
    assert (found[1].done, found[1].note) == ("45 %", "about 4 min left")
    assert found[2].note == "resumed with other device: cuda / cpu"
    assert [row.cell for row in rows([DONE, RUNNING, FAILED], ("done",))] == ["panet-3"]


def test_time_left_is_known_from_finished_cells_of_the_same_kind() -> None:
    """panet: 0.5 s a step and 2 s an episode, canet: 1 s and 1 s."""
    assert seconds_left([DONE, OTHER]) is None
    assert seconds_left([DONE, OTHER, RUNNING]) == 240.0
    assert seconds_left([DONE, OTHER, RUNNING, state("panet-4", "waiting")]) == 240 + 70
    assert seconds_left([DONE, OTHER, RUNNING, state("canet-4", "stopped", 40)]) == 240 + 70
    mean = 75 + 15  # of both kinds
    assert seconds_left([DONE, OTHER, RUNNING, state("dan-1", "waiting")]) == 240 + mean
    assert seconds_left([DONE, RUNNING, RUNNING, state("panet-4", "waiting")]) == 550 / 2
    assert seconds_left([DONE, *[RUNNING] * 10, state("panet-4", "waiting")]) == 247  # the mean of eleven
    assert seconds_left([RUNNING, state("panet-4", "waiting")]) is None
    assert seconds_left([RUNNING, FAILED]) == 240


def test_a_document_and_a_frame_say_the_same() -> None:
    states = [RUNNING, FAILED, DONE]
    document = to_json("table", "runs/sweeps/table", states)
    assert (document["sweep"], document["counts"]["failed"], document["seconds_left"]) == ("table", 1, 240.0)
    first = document["cells"][0]
    assert (first["host"], first["job"], first["gpu"], first["since"]) == ("node7", "slurm 12_3", "1", BEGUN)
    frame = states_frame(states)
    assert list(frame.columns[:4]) == ["cell", "state", "method", "fold"]
    assert list(frame["state"]) == ["running", "failed", "done"]
    assert list(frame["trained"]) == [50, 9, 100]
    assert frame.loc[1, "reason"] == "the loss is nan"
    assert {*frame.columns} == {*first, "method", "fold"} - {"options"}


def test_options_that_have_the_name_of_a_column(tmp_path: Path) -> None:
    cell = Cell("a", ("run",), "a", "0" * 64, train=100, evaluate=10, options={"episodes": 10, "job": "x"})
    frame = states_frame([CellState(cell, "waiting")])
    assert frame["episodes"].tolist() == [10]
    assert not frame.columns.duplicated().any()


@pytest.mark.parametrize("empty", [[], None])
def test_no_cells(empty) -> None:
    assert len(states_frame(empty or [])) == 0
