import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fsseg_bench.sweeps.attempts import begin_attempt, end_attempt
from fsseg_bench.sweeps.plan import cell_folder, read_plan
from fsseg_bench.sweeps.states import CellState, State, state_of, states_of, steps_done
from tests.support.fresh import python
from tests.support.runs import TWO_EPISODES, edit_info, settings, write_log, write_run
from tests.support.sweeps import TRAIN, cell, cell_of_checkpoint, held, planned

KILLED = -9


def attempt(folder: Path, label: str, before: int, code: int | None = None, after: int | None = None) -> None:
    place = folder / "cells" / label
    begin_attempt(place, "local", before)
    if code is not None:
        assert after is not None
        end_attempt(place, code, after)


def only(folder: Path, **given: Any) -> CellState:
    (state,) = states_of(folder, **given)
    return state


def test_a_cell_nobody_tried_waits_and_a_finished_record_is_done(tmp_path: Path) -> None:
    cells = [cell(tmp_path, "panet"), cell(tmp_path, "canet")]
    folder = planned(tmp_path, cells)
    write_run(tmp_path, method="canet")
    first, second = states_of(folder)
    assert (first.state, first.folder, steps_done(first)) == ("waiting", None, 0)
    assert (second.state, second.folder, steps_done(second)) == ("done", tmp_path / cells[1].folder, TRAIN + 3)


@pytest.mark.parametrize("indent", [2, 4])
@pytest.mark.parametrize("again", [False, True])
def test_what_a_finished_record_says_however_it_is_laid_out(tmp_path: Path, indent: int, again: bool) -> None:
    folder = planned(tmp_path, [cell(tmp_path, "panet")])
    record = write_run(tmp_path, method="panet", extra={"timings": {"train_seconds": 12.5, "evaluate_seconds": 3}})
    if again:
        edit_info(record, resumed=[{"time": "now", "changed": ["device: cuda / cpu"]}])
    path = record / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=indent) + "\n")
    state = only(folder)
    assert (state.state, state.train_seconds, state.evaluate_seconds) == ("done", 12.5, 3.0)
    assert state.resumed_on == (("device: cuda / cpu",) if again else ())
    path.write_bytes(path.read_bytes()[:-20])
    assert (only(folder).state, "truncated" in only(folder).reason) == ("stopped", True)


def test_progress_is_what_the_logs_hold(tmp_path: Path) -> None:
    one = cell(tmp_path, "panet")
    folder = planned(tmp_path, [one])
    record = write_run(tmp_path, [], method="panet", status="training")
    write_log(record, [{"ce": 1.0}] * 41)
    with (record / "train.jsonl").open("a") as file:
        file.write('{"iteration": 41, "lo')  # a kill in the middle of a line
    state = only(folder)
    assert (state.state, state.train, state.evaluated) == ("stopped", 41, 0)
    write_run(tmp_path, TWO_EPISODES, method="panet", status="evaluating")
    state = only(folder)
    assert (state.state, state.train, state.evaluated) == ("stopped", TRAIN, 2)
    assert state == state_of(tmp_path, folder, read_plan(folder), one)


@pytest.mark.parametrize("where", ["record", "claim"])
@pytest.mark.parametrize("begun", [True, False])
def test_a_cell_is_running_while_a_process_has_its_record_or_its_claim(tmp_path: Path, where: str, begun: bool) -> None:
    """Also a record that has been locked, and of which nothing is written yet."""
    one = cell(tmp_path, "panet")
    folder = planned(tmp_path, [one])
    record = tmp_path / one.folder
    if begun:
        assert write_run(tmp_path, [], method="panet", status="training") == record
    attempt(folder, "panet", 0)
    with held(record if where == "record" else cell_folder(folder, one)) as process:
        state = only(folder)
        assert (state.state, state.holder and state.holder.process) == ("running", process)
    assert only(folder).state == "stopped"


def test_time_left_is_that_of_this_attempt(tmp_path: Path) -> None:
    """Ten steps in 20 s, of 63 that are left 126 s."""
    one = cell(tmp_path, "panet")
    folder = planned(tmp_path, [one])
    write_log(write_run(tmp_path, [], method="panet", status="training"), [{"ce": 1.0}] * 40)
    attempt(folder, "panet", 30)
    path = cell_folder(folder, one) / "attempts.jsonl"
    begun = datetime.now(UTC) - timedelta(seconds=20)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"begun": begun.isoformat()}) + "\n")
    with held(cell_folder(folder, one)):
        state = only(folder)
        spent = (datetime.now(UTC) - begun).total_seconds()
    assert state.seconds_left is not None
    assert 126 <= state.seconds_left <= spent / 10 * 63


@pytest.mark.parametrize(
    ("attempts", "done", "expected"),
    [
        ([(0, KILLED, 0)], 0, "stopped"),
        ([(0, KILLED, 0)] * 2, 0, "stopped"),
        ([(0, KILLED, 0)] * 3, 0, "gave up"),
        ([(0, KILLED, 0)] * 2 + [(0, 75, 20)], 20, "stopped"),  # progress restarts the count
        ([(0, KILLED, 0)] * 2 + [(0, 75, 20)] + [(20, 143, 20)] * 3, 20, "gave up"),
        ([(0, None, None)] * 3, 0, "gave up"),  # whoever followed it was killed, too
        ([(0, None, None)] * 3, 20, "stopped"),  # but the last one brought something
        ([(0, None, None), (20, None, None), (20, None, None)], 20, "stopped"),
        ([(0, KILLED, 0), (0, 2, 0)], 0, "failed"),
        ([(0, 70, 20)], 20, "failed"),
        ([(0, 2, 0), (0, KILLED, 0)], 0, "stopped"),
    ],
)
def test_what_was_tried_decides_between_stopped_failed_and_given_up(
    tmp_path: Path, attempts: list[tuple[int, int | None, int | None]], done: int, expected: State
) -> None:
    folder = planned(tmp_path, [cell(tmp_path, "panet")], retries=2)
    write_log(write_run(tmp_path, [], method="panet", status="training"), [{"ce": 1.0}] * done)
    for before, code, after in attempts:
        attempt(folder, "panet", before, code, after)
    assert only(folder).state == expected


def test_attempts_before_a_time_do_not_count(tmp_path: Path) -> None:
    folder = planned(tmp_path, [cell(tmp_path, "panet")])
    attempt(folder, "panet", 0, 2, 0)
    begun = only(folder).attempts[0].begun
    assert only(folder, since=begun).state == "failed"
    assert [only(folder, since={"panet": earlier}).state for earlier in (0, 1)] == ["failed", "stopped"]
    time.sleep(1.1)  # times have whole seconds
    assert only(folder, since=datetime.now(UTC).isoformat(timespec="seconds")).state == "stopped"


def test_reasons(tmp_path: Path) -> None:
    cells = [cell(tmp_path, name) for name in ("panet", "canet", "dan", "oslsm", "pgnet")]
    folder = planned(tmp_path, cells, retries=0)
    write_run(tmp_path, [], method="panet", status="failed", extra={"reason": "the loss is nan"})
    attempt(folder, "panet", 0, 2, 0)
    attempt(folder, "canet", 0, 2, 0)
    (folder / "cells" / "canet" / "log.txt").write_text("# start\nloading\nerror: no such file\n\n# exit 2\n")
    attempt(folder, "dan", 0, KILLED, 0)
    record = write_run(tmp_path, [], method="oslsm", status="training")
    (record / "run.json").write_text("{")
    edit_info(write_run(tmp_path, method="pgnet"), identity="0" * 64)
    found = [(state.state, state.reason) for state in states_of(folder)]
    assert found[:3] == [
        ("failed", "the loss is nan"),
        ("failed", "exit code 2: error: no such file"),
        ("gave up", "1 attempt without progress; killed by signal 9"),
    ]
    assert found[3][0] == found[4][0] == "stopped"
    assert "run.json: truncated or edited" in found[3][1]
    assert "holds another run" in found[4][1]
    assert all("move that folder away" in words for _, words in found[3:])


def test_a_cell_waits_for_the_training_whose_checkpoint_it_evaluates(tmp_path: Path) -> None:
    run = settings(method="panet")
    training = cell(tmp_path, "training", run)
    evaluated = settings(method="panet", shot=5, checkpoint_digest="c" * 64, recipe={}, seed=0)
    other = settings(method="panet", shot=5, checkpoint_digest="b" * 64, recipe={}, seed=0)
    folder = planned(tmp_path, [cell_of_checkpoint(tmp_path, "5-shot", training, evaluated), training])
    first, _ = states_of(folder)
    assert (first.state, first.reason) == ("waiting", "training is first (waiting)")
    write_run(tmp_path, method="panet")

    def trained(source) -> dict:
        return {
            "trained": {"file": "checkpoint.pt", "run": "x", "identity": source.identity, "settings": source.to_json()}
        }

    def record(changes, source) -> Path:
        return write_run(tmp_path, extra=trained(source), **changes.to_json())

    record(other, settings(method="dan"))  # the same settings, of another training
    assert states_of(folder)[0].state == "waiting"
    place = record(evaluated, run)
    assert (states_of(folder)[0].state, states_of(folder)[0].folder) == ("done", place)


def test_states_need_no_torch(tmp_path: Path) -> None:
    folder = planned(tmp_path, [cell(tmp_path, "panet")])
    code = "import sys; from pathlib import Path; from fsseg_bench.sweeps.states import states_of\n"
    code += f"print(states_of(Path({str(folder)!r}))[0].state, 'torch' in sys.modules, 'numpy' in sys.modules)"
    assert python(code) == "waiting False False\n"
