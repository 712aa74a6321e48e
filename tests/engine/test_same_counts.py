"""Two records of one run: the numbers that say how far they are apart, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fsseg_bench.engine.same_counts import same_counts
from fsseg_bench.engine.verify import Verdict
from fsseg_bench.protocol.table import EpisodeTable
from fsseg_bench.records.read import read_run
from tests.support.runs import SPREAD, Episode, write_run

TABLE = EpisodeTable(((1,), (1,), (2,)), ("a", "b", "c"), ((("d",),), (("e",),), (("f",),)))
MOVED: tuple[Episode, ...] = (SPREAD[0], ((1,), (58, 7, 0, 35)), SPREAD[2])
"""SPREAD's second episode was (60, 5, 5, 30): two background pixels more are taken for the class, five fewer missed."""


def compared(tmp_path: Path, episodes: Sequence[Episode], **changes: Any) -> dict[str, Verdict]:
    first = write_run(tmp_path / "then", SPREAD, table=TABLE)
    second = write_run(tmp_path / "now", episodes, table=TABLE, **changes)
    return {verdict.part: verdict for verdict in same_counts(read_run(first), read_run(second))}


def test_equal_counts(tmp_path: Path) -> None:
    found = compared(tmp_path, SPREAD, method_digest="b" * 64)
    assert found.keys() == {"episodes", "scores"}
    assert found["episodes"] == Verdict("episodes", True, "all 3 have the same counts, at both sizes")
    assert found["scores"].good


def test_other_counts(tmp_path: Path) -> None:
    found = compared(tmp_path, MOVED)
    words = found["episodes"].words
    assert words.startswith("1 of 3 have other counts (numbers 1): ")
    assert "7 of 300 pixels at input size and 7 of 300 pixels at native size changed sides" in words
    # class 1: 40/80 then, 45/82 now; class 2: 20/25
    then, now = 100 * (40 / 80 + 0.8) / 2, 100 * (45 / 82 + 0.8) / 2
    assert found["mean-IoU"].words.startswith(f"{then:.3f} % then, {now:.3f} % now: {now - then:+.3f} points (")
    assert not found["binary-IoU"].good


def test_other_episodes(tmp_path: Path) -> None:
    first = write_run(tmp_path, SPREAD, table=TABLE)
    second = write_run(tmp_path / "now", SPREAD)
    (only,) = same_counts(read_run(first), read_run(second))
    assert only == Verdict("episodes", False, only.words)
    assert "nothing can be compared" in only.words


def test_records_without_tables(tmp_path: Path) -> None:
    first, second = write_run(tmp_path / "then", SPREAD), write_run(tmp_path / "now", MOVED)
    *_, scores = same_counts(read_run(first), read_run(second))
    assert "does not say which images" in scores.words


@pytest.mark.parametrize(("last", "told"), [(0.5, "the same loss in all 3"), (0.6, "from iteration 2 of 3 on (0.5")])
def test_where_two_trainings_part(tmp_path: Path, last: float, told: str) -> None:
    folders = [write_run(tmp_path / name, SPREAD, table=TABLE) for name in ("then", "now")]
    for folder, end in zip(folders, (0.5, last), strict=True):
        rows = [
            f'{{"iteration": {i}, "loss": {loss}, "parts": {{"query": {loss}}}}}\n'
            for i, loss in enumerate((1, 0.7, end))
        ]
        (folder / "train.jsonl").write_text("".join(rows))
    *_, training = same_counts(*map(read_run, folders))
    assert training.part == "training"
    assert told in training.words
