"""Controls read back: whole ones, incomplete ones, and ones that were edited or belong elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsseg_bench.engine.verify import verify
from fsseg_bench.records.controls import CONTROLS_FILE, find_controls
from fsseg_bench.records.read import RecordError, read_run
from tests.support.controlled import ABSENT, QUERIES, WRONG, row, write_controlled, wrong


def test_counts_by_control_and_episode(tmp_path: Path) -> None:
    stored = find_controls(read_run(write_controlled(tmp_path)))
    assert stored is not None
    assert stored.draws == len(stored.drawn) == 3
    wrong, absent, empty = (stored.by_name[name] for name in ("wrong", "absent", "empty"))
    assert wrong.counts.reshape(-1, 4).tolist() == WRONG
    assert wrong.classes.tolist() == [2, 2, 2, 1, 1, 1]
    assert (absent.queries[2], absent.supports[2], absent.episodes.tolist()) == ("2a", ("1a",), [0, 1, 3, 4])
    assert absent.counts.reshape(-1, 4).tolist() == list(ABSENT.values())
    assert (empty.refused, empty.counts.shape) == ("NotFiniteError: its logits are not finite", (0, 2, 2))


def test_nothing_yet_or_not_all_of_it(tmp_path: Path) -> None:
    folder = write_controlled(tmp_path)
    path = folder / CONTROLS_FILE
    path.write_bytes(path.read_bytes()[:-20])  # the last line is torn
    assert find_controls(read_run(folder)) is None
    path.unlink()
    assert find_controls(read_run(folder)) is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"wrong": wrong(counts=[60, 20, 10, 10])}, "'wrong' does not count the labels"),
        ({"absent": [row(0, 2, "a", [60, 10, 10, 20])]}, "'absent' does not count the labels"),
        ({"absent": [row(0, 2, "a", [0, 0, 0, 0])]}, "'absent' does not count the labels"),
        ({"absent": [row(0, 1, "a", ABSENT[0])]}, "'absent' are of classes that they cannot be of"),
        ({"wrong": wrong(**{"class": 1})}, "'wrong' are of classes that they cannot be of"),
        ({"wrong": wrong(**{"class": 777})}, "'wrong' are of classes that they cannot be of"),
        ({"wrong": wrong()[:3]}, "not numbered as the run's"),
        ({"wrong": [wrong()[1], wrong()[0], *wrong()[2:]]}, "not numbered as the run's"),
        ({"wrong": [*wrong()[:5], {**wrong()[5], "episode": 6}]}, "not numbered as the run's"),
        ({"wrong": wrong(query="other")}, "has not the run's query"),
        ({"wrong": wrong(supports=["2w", "2v"])}, "other supports than it can have"),
        ({"whole": [row(i, int(QUERIES[i][0]), "x", [0, 70, 0, 30]) for i in range(6)]}, "other supports than it can"),
        ({"whole": []}, "not numbered as the run's"),
        ({"whole": [{"episode": 0}]}, "is no record of this run's controls"),
    ],
)
def test_what_is_not_the_runs(tmp_path: Path, changes: dict[str, object], told: str) -> None:
    with pytest.raises(RecordError, match=told):
        find_controls(read_run(write_controlled(tmp_path, **changes)))


def test_a_control_that_every_run_has_must_be_there(tmp_path: Path) -> None:
    folder = write_controlled(tmp_path, without="wrong")
    with pytest.raises(RecordError, match="it lacks wrong"):
        find_controls(read_run(folder))


def test_an_edited_file_and_another_runs(tmp_path: Path) -> None:
    folder = write_controlled(tmp_path)
    path = folder / CONTROLS_FILE
    text = path.read_bytes()
    path.write_bytes(text.replace(b"[90,10,0,0]", b"[99,1,0,0]"))
    with pytest.raises(RecordError, match="edited or damaged"):
        find_controls(read_run(folder))
    assert [verdict.good for verdict in verify(folder) if verdict.part == CONTROLS_FILE] == [False]
    path.write_bytes(text)
    assert [verdict.words for verdict in verify(folder) if verdict.part == CONTROLS_FILE] == ["41 rows"]
