"""Records whose episodes are several runs: scores, their spread, tables and frames, by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from fsseg_bench.protocol.table import EpisodeTable
from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.frames.runs import results
from fsseg_bench.report.frames.summary import means
from fsseg_bench.report.run_spread import run_spread
from fsseg_bench.report.table import runs_tables
from tests.support.runs import Episode, write_run

FIRST: tuple[Episode, ...] = (((1,), (50, 10, 5, 35)), ((2,), (60, 0, 20, 20)))
"""IoU 0.7 and 0.5; binary-IoU (55 / 90 + 110 / 145) / 2."""
SECOND: tuple[Episode, ...] = (((1,), (80, 0, 0, 20)), ((2,), (70, 20, 5, 5)))
"""IoU 1 and 1/6; binary-IoU (25 / 50 + 150 / 175) / 2."""
MEAN = 100 * (0.6 + 7 / 12) / 2
SD = 100 * (0.6 - 7 / 12) / 2**0.5
"""Of two numbers the half of their distance times the square root of two."""


def table_of(*runs: tuple[Episode, ...]) -> EpisodeTable:
    classes = [tuple(episode[0]) for run in runs for episode in run]
    images = [f"image {i % 7}" for i in range(len(classes))]
    return EpisodeTable(tuple(classes), tuple(images), tuple(((f"support {i % 5}",),) for i in range(len(classes))))


@pytest.fixture
def two_runs(tmp_path: Path) -> Path:
    write_run(tmp_path, (*FIRST, *SECOND), runs=2, folds=1, table=table_of(FIRST, SECOND))
    return tmp_path


def test_a_cell_has_the_spread_beside_it(two_runs: Path) -> None:
    collection = find_runs(two_runs)
    (table,) = runs_tables(collection)
    mean, binary = table.rows[0][-2:]
    assert mean.value == pytest.approx(MEAN)
    assert mean.note.endswith(f"between 2 runs: standard deviation {SD:.2f}, 58.33 to 60.00")
    values = 50 * (55 / 90 + 110 / 145), 50 * (25 / 50 + 150 / 175)
    assert binary.value == pytest.approx(sum(values) / 2)
    assert f"{min(values):.2f} to {max(values):.2f}" in binary.note
    assert "; 2 runs of 2 episodes a fold." in table.caption


def test_frames_have_columns_of_it(two_runs: Path) -> None:
    frame = results(two_runs)
    (row,) = frame[(frame.metric == "mean") & (frame.resolution == "input")].to_dict("records")
    wanted = {"iou": MEAN, "runs": 2, "run_sd": SD, "run_min": 700 / 12, "run_max": 60, "episodes": 4}
    assert {name: row[name] for name in wanted} == pytest.approx(wanted)
    (row,) = means(two_runs).to_dict("records")
    wanted.pop("episodes")
    assert {name: row[name] for name in wanted} == pytest.approx(wanted)


def test_the_mean_over_folds_is_of_the_runs_that_belong_together(tmp_path: Path) -> None:
    """Fold 2 has the runs the other way round: all runs have the same mean over the folds."""
    write_run(tmp_path, (*FIRST, *SECOND), runs=2, folds=2)
    write_run(tmp_path, (*SECOND, *FIRST), runs=2, folds=2, fold=2)
    found = run_spread(find_runs(tmp_path).done, "mean", "input")
    assert found is not None
    assert found == pytest.approx((2, 0, MEAN / 100, MEAN / 100))


def test_one_run_has_no_spread(tmp_path: Path) -> None:
    write_run(tmp_path, FIRST, folds=1)
    collection = find_runs(tmp_path)
    assert run_spread(collection.done, "mean", "input") is None
    (table,) = runs_tables(collection)
    assert "standard deviation" not in table.rows[0][-1].note
    assert "; 2 episodes a fold." in table.caption
    (row,) = means(tmp_path).to_dict("records")
    assert row["runs"] == 1
    assert pd.isna(row["run_sd"])


def test_the_first_episodes_are_those_of_each_run(tmp_path: Path) -> None:
    """Two runs of four, of which two each are those above; the images are those of the same episodes."""
    longer = (*FIRST, *SECOND), (*SECOND, *FIRST)
    table = table_of(*longer)
    write_run(tmp_path, (*longer[0], *longer[1]), runs=2, folds=1, table=table)
    collection = find_runs(tmp_path, episodes=2)
    (run,) = collection.done
    assert run.run_scores("mean", "input") == pytest.approx([0.6, 7 / 12])
    assert run.images is not None
    assert [run.images.names[i] for i in run.images.queries] == [table.queries[i] for i in (0, 1, 4, 5)]
    (made,) = runs_tables(collection)
    assert "; the first 2 episodes of each fold in each of 2 runs." in made.caption
    skipped = find_runs(tmp_path, episodes=5).warnings
    assert "each of the runs has 4 episodes; the first 5 were asked for" in skipped[0].message
