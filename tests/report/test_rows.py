"""Which runs share a row, and what rows say of themselves."""

import shutil
from pathlib import Path

import pytest

from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.rows import claimed_twice, group_rows
from tests.report.test_table import only, texts, write_folds
from tests.support.runs import write_run


class TestRows:
    def test_order_and_no_settings_column_without_need(self, tmp_path: Path):
        for method, backbone in (("panet", "resnet101"), ("panet", "resnet50"), ("baseline", "resnet101")):
            write_run(tmp_path, method=method, backbone=backbone)
        table = only(tmp_path)
        assert [row[:2] for row in texts(table)] == [
            ["panet", "resnet50"],
            ["baseline", "resnet101"],
            ["panet", "resnet101"],
        ]
        assert table.labels == 2

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"switches": {"temperature": 10.0}}, {"temperature=20", "temperature=10"}),
            ({"switches": {"temperature": 20.0, "steps": 5}}, {"steps=not set", "steps=5"}),
            ({"recipe": {"iterations": 300, "lr": 0.001}}, {"iterations=100", "iterations=300"}),
            ({"precision": "bf16"}, {"", "bf16"}),
            ({"scales": [0.7, 1.0, 1.3]}, {"", "scales 0.7/1/1.3"}),
            ({"seed": 3}, {"seed=0", "seed=3"}),
            ({"weights": "/home/x/own.pth", "weights_digest": "1" * 64}, {"weights=none", "weights=own.pth"}),
            ({"weights_digest": "1" * 64}, {"weights_digest=none", "weights_digest=11111111"}),
            ({"data_fingerprint": "2" * 64}, {"data_fingerprint=ffffffff", "data_fingerprint=22222222"}),
            ({"method_digest": "3" * 64}, {"method_digest=aaaaaaaa", "method_digest=33333333"}),
            ({"recipe": {"iterations": 0, "lr": 0.5}}, {"", "untrained"}),
            ({"recipe": {"iterations": 0, "lr": 0.001}, "checkpoint_digest": "4" * 64}, {"", "trained elsewhere"}),
        ],
    )
    def test_what_distinguishes_two_rows_is_said(self, tmp_path: Path, change: dict, told: set[str]):
        write_run(tmp_path)
        write_run(tmp_path, **change)
        write_run(tmp_path, method="panet")
        table = only(tmp_path)
        rows = texts(table)
        assert {row[2] for row in rows if row[0] == "baseline"} == told
        # Other data concern every row: none may seem to have seen all.
        beside = "data_fingerprint=ffffffff" if "data_fingerprint" in change else ""
        assert [row[2] for row in rows if row[0] == "panet"] == [beside]
        assert len(rows) == 3

    def test_explicit_settings_are_told_where_asked_for(self, tmp_path: Path):
        write_run(tmp_path, passed={"settings": {"temperature": "20"}, "weights": "none"})
        found = find_runs(tmp_path)
        assert [row.variant for row in group_rows(found.done, found)] == [""]
        assert [row.variant for row in group_rows(found.done, found, told=True)] == ["temperature=20; weights=none"]

    def test_best_and_second_of_a_backbone(self, tmp_path: Path):
        for method, hits in (("a", 10), ("b", 30), ("c", 20)):
            write_run(tmp_path, [((c,), (90, 0, 100 - hits, hits)) for c in (1, 2)], method=method)
        write_run(tmp_path, backbone="resnet50")
        ranks = [(row[0].text, row[2].rank) for row in only(tmp_path).rows]
        assert ranks == [("a", 0), ("b", 1), ("c", 2), ("baseline", 0)]

    def test_two_checkpoints_and_two_untrained_rows_are_told_apart(self, tmp_path: Path):
        for digit in "45":
            write_run(tmp_path, recipe={"iterations": 0}, checkpoint_digest=digit * 64)
        for lr in (0.1, 0.2):
            write_run(tmp_path, method="panet", recipe={"iterations": 0, "lr": lr})
        assert [row[2] for row in texts(only(tmp_path))] == [
            "trained elsewhere; checkpoint 44444444",
            "trained elsewhere; checkpoint 55555555",
            "untrained; lr=0.1",
            "untrained; lr=0.2",
        ]

    def test_checkpoints_of_the_folds_share_a_row(self, tmp_path: Path):
        for fold in (1, 2, 3, 4):
            write_run(tmp_path, fold=fold, recipe={"iterations": 0}, checkpoint_digest=str(fold) * 64)
        table = only(tmp_path)
        assert [row[2] for row in texts(table)] == ["trained elsewhere"]
        assert table.rows[0][7].value == pytest.approx(100 * (0.5 + 20 / 30) / 2)
        assert claimed_twice(find_runs(tmp_path)) == []

    def test_a_shot_trained_elsewhere_never_hides_in_a_row_trained_here(self, tmp_path: Path):
        write_run(tmp_path, shot=1)
        write_run(tmp_path, shot=5, recipe={"iterations": 0}, checkpoint_digest="1" * 64)
        assert [row[2] for row in texts(only(tmp_path))] == ["", "trained elsewhere"]

    def test_an_untrained_shot_never_hides_in_a_trained_row(self, tmp_path: Path):
        write_run(tmp_path, shot=1)
        write_run(tmp_path, shot=5, recipe={"iterations": 0, "lr": 0.001})
        assert [row[2] for row in texts(only(tmp_path))] == ["", "untrained"]

    def test_a_recipe_that_changes_with_the_shot_shares_the_row_and_is_said(self, tmp_path: Path):
        write_run(tmp_path, shot=1, recipe={"iterations": 30000})
        write_run(tmp_path, shot=5, recipe={"iterations": 10000})
        table = only(tmp_path)
        assert [row[2] for row in texts(table)] == ["iterations=30000/10000"]

    def test_with_several_recipes_a_shot_only_equal_ones_share_a_row(self, tmp_path: Path):
        for shot, iterations in ((1, 100), (1, 200), (5, 200)):
            write_run(tmp_path, shot=shot, recipe={"iterations": iterations})
        rows = texts(only(tmp_path))
        assert [row[2] for row in rows] == ["iterations=100", "iterations=200"]
        assert [(row[3] == "-", row[9] == "-") for row in rows] == [(False, True), (False, False)]

    def test_two_weights_of_one_file_name_are_told_apart_by_their_records(self, tmp_path: Path):
        first = write_run(tmp_path, weights="/a/w.pth", weights_digest="1" * 64)
        second = write_run(tmp_path, weights="/b/w.pth", weights_digest="2" * 64)
        variants = sorted(row[2] for row in texts(only(tmp_path)))
        names = sorted(f.relative_to(tmp_path).as_posix() for f in (first, second))
        assert variants == [f"weights=w.pth; record {name}" for name in names]


class TestTwoRunsForOneCell:
    def test_a_copied_record_is_listed_and_makes_no_mean(self, tmp_path: Path):
        """Neither is preferred: each has its own row, and the other folds are not lent to either."""
        write_folds(tmp_path)
        (original,) = [r.record.folder for r in find_runs(tmp_path).done if r.record.fold == 1]
        copy = original.with_name("copy")
        shutil.copytree(original, copy)
        rows = texts(only(tmp_path))
        by_variant = {row[2]: row[3:] for row in rows}
        assert set(by_variant) == {
            "",
            f"record {original.relative_to(tmp_path).as_posix()}",
            f"record {copy.relative_to(tmp_path).as_posix()}",
        }
        assert by_variant[""] == ["-", "58.33", "75.00", "25.00", "-", "-"]
        for name in (original, copy):
            cells = by_variant[f"record {name.relative_to(tmp_path).as_posix()}"]
            assert cells == ["65.00 ± 12.50", "-", "-", "-", "-", "-"]

    def test_replayed_episodes_make_a_row_of_their_own_with_its_mean(self, tmp_path: Path):
        write_folds(tmp_path)
        write_folds(tmp_path, episode_digest="9" * 64, passed={"episodes": "theirs.csv"})
        rows = texts(only(tmp_path))
        assert [row[2] for row in rows] == ["", "episodes theirs.csv"]
        assert rows[0][3:] == rows[1][3:]
        assert rows[0][7] == "55.83 ± 3.12"

    def test_a_number_of_episodes_is_no_file(self, tmp_path: Path):
        write_run(tmp_path, passed={"episodes": "2"})
        write_run(tmp_path, fold=2)
        assert len(only(tmp_path).rows) == 1

    def test_replayed_episodes_are_said_even_without_others_beside(self, tmp_path: Path):
        write_run(tmp_path, passed={"episodes": "a/theirs.csv"})
        assert texts(only(tmp_path))[0][2] == "episodes theirs.csv"

    def test_a_shot_with_replayed_episodes_never_hides_in_a_row_without(self, tmp_path: Path):
        write_run(tmp_path)
        write_run(tmp_path, shot=5, passed={"episodes": "theirs.csv"})
        assert [row[2] for row in texts(only(tmp_path))] == ["", "episodes theirs.csv"]

    def test_claims_are_named(self, tmp_path: Path):
        write_folds(tmp_path)
        write_run(tmp_path, episode_digest="9" * 64, passed={"episodes": "theirs.csv"})
        assert claimed_twice(find_runs(tmp_path)) == []
        original = find_runs(tmp_path).done[0].record.folder
        shutil.copytree(original, original.with_name("copy"))
        (message,) = claimed_twice(find_runs(tmp_path))
        assert message.startswith("toy, baseline, resnet18, 1-way 1-shot, fold 1, seed 0: 2 records claim this cell")
        assert original.name in message
        assert "copy" in message
