import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.statistics import Metric
from fsseg_bench.report import intervals
from fsseg_bench.report.collect import Resolution, Wanted, find_runs, open_runs, results, results_of
from tests.support.bootstrap import bootstrap_interval
from tests.support.runs import NATIVE, SPREAD, write_run


class TestScores:
    def test_by_hand(self, tmp_path: Path):
        write_run(tmp_path, SPREAD, native=NATIVE)
        (run,) = find_runs(tmp_path).done
        assert run.score("mean", "input") == pytest.approx((40 / 80 + 20 / 25) / 2, abs=1e-15)
        assert run.score("binary", "input") == pytest.approx((60 / 105 + 195 / 240) / 2, abs=1e-15)
        assert run.score("mean", "native") == pytest.approx((100 / 200 + 1) / 2, abs=1e-15)
        assert run.score("binary", "native") == pytest.approx((101 / 201 + 9 / 109) / 2, abs=1e-15)
        assert run.class_scores("input") == pytest.approx({"cat": 0.5, "dog": 0.8}, abs=1e-15)

    def test_interval_by_hand(self, tmp_path: Path):
        """A class of two episodes is one of them twice in half of all resamples: the ends are these two."""
        write_run(tmp_path, SPREAD)
        found = find_runs(tmp_path)
        low, high = (0.25 + 0.8) / 2, (0.75 + 0.8) / 2
        stated = found.intervals.of(found.done, "mean", "input")
        assert stated.interval == pytest.approx((low, high, (high - low) / 2), abs=1e-12)
        assert (stated.kind, stated.note) == ("episodes", intervals.UNKNOWN_IMAGES)
        low = ((10 + 10 + 20) / 105 + (60 + 60 + 75) / (90 + 90 + 80)) / 2
        high = ((30 + 30 + 20) / 105 + (60 + 60 + 75) / (70 + 70 + 80)) / 2
        interval = found.intervals.of(found.done, "binary", "input").interval
        assert interval == pytest.approx((low, high, (high - low) / 2), abs=1e-12)

    def test_intervals_prepared_together_equal_those_of_the_statistics(self, tmp_path: Path):
        for fold in (1, 2):
            write_run(tmp_path, SPREAD, native=NATIVE, fold=fold)
        found = find_runs(tmp_path)
        one, both = found.done[:1], found.done
        wanted = [Wanted(runs, m, r) for runs in (one, both) for m in get_args(Metric) for r in get_args(Resolution)]
        found.intervals.prepare(wanted)
        for runs, metric, resolution in wanted:
            alone = bootstrap_interval([run.fold_counts(resolution) for run in runs], metric)
            stated = found.intervals.of(runs, metric, resolution)
            assert stated.interval == (alone if alone.half else None)
            assert bool(alone.half) == (metric == "binary" or resolution == "input")

    def test_an_interval_is_computed_once(self, tmp_path: Path, monkeypatch):
        write_run(tmp_path, SPREAD)
        found = find_runs(tmp_path)
        first = found.intervals.of(found.done, "mean", "input")
        monkeypatch.setattr(intervals, "bootstrap_intervals", lambda scores: [None for _ in scores])
        assert found.intervals.of(found.done, "mean", "input") == first

    def test_class_names_that_are_missing_are_numbers(self, tmp_path: Path):
        write_run(tmp_path, class_names={"1": "cat"})
        (run,) = find_runs(tmp_path).done
        assert list(run.class_scores("native")) == ["cat", "2"]


class TestFindRuns:
    def test_only_finished_runs_count(self, tmp_path: Path):
        done = write_run(tmp_path)
        for fold, status in ((2, "evaluating"), (3, "failed"), (4, "training")):
            write_run(tmp_path, fold=fold, status=status)
        found = find_runs(tmp_path)
        assert [run.record.folder for run in found.done] == [done]
        assert [run.status for run in found.unfinished] == ["evaluating", "failed", "training"]
        assert found.warnings == ()

    def test_damaged_records_are_named_and_the_others_stay(self, tmp_path: Path):
        good = write_run(tmp_path)
        truncated = write_run(tmp_path, fold=2)
        (truncated / "run.json").write_text((truncated / "run.json").read_text()[:200])
        edited = write_run(tmp_path, fold=3)
        path = edited / "episodes.jsonl"
        path.write_text(path.read_text().replace("60", "61", 1))
        unscored = write_run(tmp_path, SPREAD[:2], fold=4)
        found = find_runs(tmp_path)
        assert [run.record.folder for run in found.done] == [good]
        messages = {warning.path: warning.message for warning in found.warnings}
        assert "truncated or edited" in messages[truncated]
        assert "changed since the run was done" in messages[edited]
        assert f"{unscored}: no score: no episode of class 2" in messages[unscored]
        assert len(messages) == 3

    def test_the_first_episodes_alone(self, tmp_path: Path):
        """Class 1 has 10/40 in its first episode, class 2 comes third."""
        write_run(tmp_path, [SPREAD[0], SPREAD[2], SPREAD[1]], fold=1)
        short = write_run(tmp_path, fold=2)
        (shortest,) = find_runs(tmp_path, episodes=2).done[:1]
        assert shortest.score("mean", "input") == pytest.approx((10 / 40 + 20 / 25) / 2)
        found = find_runs(tmp_path, episodes=3)
        assert [run.record.fold for run in found.done] == [1]
        assert found.done[0].score("mean", "input") == pytest.approx(0.65)
        assert found.warnings[0].message == f"{short}: the run has 2 episodes; the first 3 were asked for"
        assert "no episode of class 2" in find_runs(tmp_path, episodes=1).warnings[0].message
        with pytest.raises(UserError, match="--episodes 0: it must be at least 1"):
            find_runs(tmp_path, episodes=0)

    def test_paths_are_relative_to_the_root(self, tmp_path: Path):
        folder = write_run(tmp_path)
        found = find_runs(tmp_path)
        assert tmp_path / found.path(found.done[0].record) == folder
        outside = open_runs([folder], root=tmp_path / "elsewhere")
        assert outside.path(outside.done[0].record) == folder.as_posix()

    def test_a_missing_root_is_named(self, tmp_path: Path):
        with pytest.raises(UserError, match="none: no such results folder"):
            find_runs(tmp_path / "none")

    def test_the_default_root_is_the_environment_s(self, tmp_path: Path, monkeypatch):
        write_run(tmp_path)
        monkeypatch.setenv("FSSEG_RESULTS", str(tmp_path))
        assert len(find_runs().done) == 1
        assert len(results()) == 4


class TestOpenRuns:
    def test_exactly_these_folders_once(self, tmp_path: Path):
        first, _, third = (write_run(tmp_path, fold=fold) for fold in (1, 2, 3))
        found = open_runs([third, first, third])
        assert [run.record.folder for run in found.done] == [third, first]
        shutil.rmtree(first)
        found = open_runs([first, third])
        assert [w.path for w in found.warnings] == [first]


class TestResults:
    def test_long_frame(self, tmp_path: Path):
        folder = write_run(tmp_path, SPREAD, native=NATIVE, fold=3, shot=5, seed=9)
        frame = results(tmp_path)
        assert len(frame) == 4
        row = frame[(frame.metric == "mean") & (frame.resolution == "input")].iloc[0]
        assert row.value == pytest.approx(0.65, abs=1e-15)
        assert (row.low, row.high) == pytest.approx((0.525, 0.775), abs=1e-12)
        assert (row.protocol, row.method, row.backbone) == ("toy", "baseline", "resnet18")
        assert (row.way, row.shot, row.fold, row.seed, row.episodes) == (1, 5, 3, 9, 3)
        assert (row.status, row.path, row.episode_digest) == ("done", str(folder), "e" * 64)
        native = frame[(frame.metric == "mean") & (frame.resolution == "native")].iloc[0]
        assert native.value == 0.75
        assert frame.attrs["skipped"] == []

    def test_no_runs_is_an_empty_frame_and_skipped_ones_are_named(self, tmp_path: Path):
        folder = write_run(tmp_path)
        (folder / "run.json").write_text("{")
        frame = results(tmp_path)
        assert len(frame) == 0
        assert "value" in frame.columns
        assert str(folder) in frame.attrs["skipped"][0]

    def test_of_some_folders(self, tmp_path: Path):
        first, _ = write_run(tmp_path), write_run(tmp_path, fold=2)
        assert set(results_of([first]).path) == {str(first)}


def test_reports_do_not_import_torch_and_tables_not_even_pandas(tmp_path: Path):
    write_run(tmp_path)
    code = """
import sys
from pathlib import Path
from fsseg_bench.report.collect import find_runs, results
from fsseg_bench.report.html import to_html
from fsseg_bench.report.table import runs_tables
found = find_runs(Path(sys.argv[1]))
to_html(runs_tables(found), found)
assert not {"torch", "pandas"} & set(sys.modules), "tables"
results(Path(sys.argv[1]))
assert "torch" not in sys.modules, "frame"
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
