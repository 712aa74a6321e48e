import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.images import EpisodeImages
from fsseg_bench.protocol.intervals import Score, class_estimates, image_estimates
from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import METRICS
from fsseg_bench.protocol.table import EpisodeTable
from fsseg_bench.report import intervals
from fsseg_bench.report.collect import find_runs, open_runs
from fsseg_bench.report.intervals import Wanted
from tests.support.bootstrap import bootstrap_interval
from tests.support.pairs import episode_table, joined, pair, write_fold
from tests.support.runs import NATIVE, SPREAD, write_run


class TestScores:
    def test_by_hand(self, tmp_path: Path):
        write_run(tmp_path, SPREAD, native=NATIVE)
        (run,) = find_runs(tmp_path).done
        assert run.score("mean", "input") == pytest.approx((40 / 80 + 20 / 25) / 2, abs=1e-15)
        assert run.score("binary", "input") == pytest.approx((60 / 105 + 195 / 240) / 2, abs=1e-15)
        assert run.score("mean", "native") == pytest.approx((100 / 200 + 1) / 2, abs=1e-15)
        assert run.score("binary", "native") == pytest.approx((101 / 201 + 9 / 109) / 2, abs=1e-15)
        assert run.class_scores("input") == pytest.approx({1: 0.5, 2: 0.8}, abs=1e-15)

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
        wanted = [Wanted(runs, m, r) for runs in (one, both) for m in METRICS for r in get_args(Resolution)]
        found.intervals.prepare(wanted)
        for runs, metric, resolution in wanted:
            alone = bootstrap_interval([run.fold_counts(resolution) for run in runs], metric)
            stated = found.intervals.of(runs, metric, resolution)
            assert stated.interval == (alone if alone.half else None)
            assert bool(alone.half) == (resolution == "input")

    def test_an_interval_is_computed_once(self, tmp_path: Path, monkeypatch):
        write_run(tmp_path, SPREAD)
        found = find_runs(tmp_path)
        first = found.intervals.of(found.done, "mean", "input")
        monkeypatch.setattr(intervals, "bootstrap_intervals", lambda scores: [None for _ in scores])
        assert found.intervals.of(found.done, "mean", "input") == first

    def test_intervals_are_over_the_images_of_the_episodes(self, tmp_path: Path):
        """One file is parsed for all records over the same episodes, with or without one of their own."""
        fold = pair(1, (12, 9))[0]
        first = write_fold(tmp_path, fold, 1, images=8)
        second = write_fold(tmp_path, fold, 1, images=8, method="panet")
        (second / "episodes.csv").unlink()
        found = find_runs(tmp_path)
        one, other = found.done
        assert one.images is other.images
        assert one.images.numbers == EpisodeImages.of(EpisodeTable.from_csv(first / "episodes.csv")).numbers
        for metric in METRICS:
            stated = found.intervals.of([other], metric, "input")
            (expected,) = image_estimates([Score([one.fold_counts("input")], metric)])
            assert stated == (expected.interval(), "images", intervals.FEW_IMAGES if expected.df == 1 else "")
        classes = found.intervals.of_classes([one], "input")[0]
        assert classes[101].interval == class_estimates(one.fold_counts("input"))[101].interval()

    def test_intervals_over_episodes_by_name(self, tmp_path: Path):
        write_fold(tmp_path, pair(1, (12, 9))[0], 1, images=8)
        found = find_runs(tmp_path, interval="episodes")
        for stated in (
            found.intervals.of(found.done, "mean", "input"),
            found.intervals.of_classes(found.done, "input")[0][102],
        ):
            assert (stated.kind, stated.note) == ("episodes", "")
        alone = bootstrap_interval([found.done[0].fold_counts("input")], "mean")
        assert found.intervals.of(found.done, "mean", "input").interval == alone

    def test_a_mean_with_one_fold_of_unknown_images_says_so(self, tmp_path: Path):
        for number in (1, 2):
            write_fold(tmp_path, pair(number, (12, 9))[0], number, images=8 if number == 1 else 0)
        found = find_runs(tmp_path)
        kinds = [found.intervals.of(runs, "mean", "input") for runs in (found.done[:1], found.done[1:], found.done)]
        assert [stated.kind for stated in kinds] == ["images", "episodes", "episodes"]
        assert [stated.note for stated in kinds] == [intervals.FEW_IMAGES, *[intervals.UNKNOWN_IMAGES] * 2]

    def test_the_first_episodes_have_the_first_images(self, tmp_path: Path):
        fold = pair(1, (12, 9))[0]
        write_fold(tmp_path, joined(fold, np.random.RandomState(0).permutation(21)), 1, images=8)
        (whole,), (head,) = (find_runs(tmp_path, episodes=n).done for n in (None, 15))
        assert head.images.queries.tolist() == whole.images.queries[:15].tolist()
        assert head.images.numbers.episodes == 15

    def test_a_damaged_episode_table_is_named(self, tmp_path: Path):
        fold = pair(1, (12, 9))[0]
        for method in ("baseline", "biopt"):
            folder = write_fold(tmp_path, fold, 1, images=8, method=method)
        path = folder / "episodes.csv"
        path.write_text(path.read_text().replace("101/", "102/", 1))
        found = find_runs(tmp_path)
        assert [run.record.settings.method for run in found.done] == ["baseline"]
        assert f"{path}: these are not the episodes of the run" in found.warnings[0].message

    def test_counts_of_other_episodes_than_the_tables_are_named(self, tmp_path: Path):
        table = episode_table([[2], [1], [2]])
        folder = write_run(tmp_path, SPREAD, episode_digest=table.digest)
        (folder / "episodes.csv").write_text(table.text())
        found = find_runs(tmp_path)
        assert found.done == ()
        assert found.warnings[0].message == f"{folder}: its counts are not those of the episodes in episodes.csv"


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

    def test_exactly_the_given_folders_once(self, tmp_path: Path):
        first, _, third = (write_run(tmp_path, fold=fold) for fold in (1, 2, 3))
        found = open_runs([third, first, third])
        assert [run.record.folder for run in found.done] == [third, first]
        shutil.rmtree(first)
        found = open_runs([first, third])
        assert [w.path for w in found.warnings] == [first]
