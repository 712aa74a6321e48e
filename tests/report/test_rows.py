"""Which runs share a row, and what rows say of themselves."""

import shutil
from pathlib import Path
from typing import Any, ClassVar

import pytest

from fsseg_bench.records.settings import CheckpointTraining
from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.grouping import Row
from fsseg_bench.report.rows import claimed_twice, group_rows, reconstructions
from fsseg_bench.report.text import to_markdown
from tests.report.test_table import only, write_folds
from tests.support.readers import texts
from tests.support.runs import edit_info, settings, write_run


def rows_of(root: Path) -> list[Row]:
    found = find_runs(root)
    return group_rows(found.done, found)


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
            (
                {"recipe": {"iterations": 0, "lr": 0.001}, "checkpoint_digest": "4" * 64},
                {"", "checkpoint 44444444 (training unknown)"},
            ),
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

    def test_runs_on_other_test_images_are_not_ranked_with_one_another(self, tmp_path: Path):
        for method, hits, images in (("a", 10, "5"), ("b", 30, "5"), ("c", 20, "6")):
            episodes = [((c,), (90, 0, 100 - hits, hits)) for c in (1, 2)]
            write_run(tmp_path, episodes, method=method, evaluated_digest=images * 64)
        write_run(tmp_path, method="d")  # of a version that did not note them
        rows = only(tmp_path).rows
        assert [(row[0].text, row[2].text, row[3].rank) for row in rows] == [
            ("a", "test images 55555555", 2),
            ("b", "test images 55555555", 1),
            ("c", "test images 66666666", 0),
            ("d", "test images not noted", 0),
        ]

    def test_the_test_images_are_not_told_where_all_runs_saw_the_same(self, tmp_path: Path):
        for fold in (1, 2):
            for method, extra in (("a", {}), ("b", {"unlabelled_digest": "7" * 64})):
                digits = {"episode_digest": str(fold) * 64, "evaluated_digest": str(fold + 2) * 64}
                write_run(tmp_path, method=method, fold=fold, **digits, **extra)
        assert [row[:2] for row in texts(only(tmp_path))] == [["a", "resnet18"], ["b", "resnet18"]]
        assert only(tmp_path).labels == 2

    def test_explicit_settings_are_told_where_asked_for(self, tmp_path: Path):
        write_run(tmp_path, passed={"settings": {"temperature": "20"}, "weights": "none"})
        found = find_runs(tmp_path)
        assert [row.variant for row in group_rows(found.done, found)] == [""]
        assert [row.variant for row in group_rows(found.done, found, all_given=True)] == [
            "temperature=20; weights=none"
        ]

    @staticmethod
    def of_trainings(root: Path) -> list[str]:
        return [remark for remark in only(root).remarks if remark.startswith("Rows compare methods together")]

    def test_trainings_that_differ_are_said_under_the_table(self, tmp_path: Path):
        recipe = {"iterations": 30_000, "batch": 1, "lr": 1e-3, "freeze": "none", "augment": "flip", "bn": "eval"}
        write_run(tmp_path, method="panet", recipe=recipe)
        assert self.of_trainings(tmp_path) == []
        write_run(tmp_path, method="a", recipe={**recipe, "iterations": 10_000, "batch": 8, "freeze": "layer2"})
        write_run(tmp_path, method="b", recipe={**recipe, "iterations": 10_000, "batch": 8})
        (remark,) = self.of_trainings(tmp_path)
        assert (
            "Different training episodes: a, b 80,000 (10,000 steps of 8); panet 30,000 (30,000 steps of 1)" in remark
        )
        assert "Different frozen stages: a layer2; b, panet none" in remark
        assert "rate" not in remark
        assert "Different training episodes" in to_markdown(only(tmp_path))

    def test_a_network_that_only_some_were_trained_on_top_of_is_said_in_one_word(self, tmp_path: Path):
        stage = {"network": "n", "images": "base", "recipe": {"iterations": 20, "batch": 4, "lr": 0.1}}
        write_run(tmp_path, method="panet", recipe={"iterations": 10})
        write_run(tmp_path, method="bam", recipe={"iterations": 10}, stages={"base": stage})
        (remark,) = self.of_trainings(tmp_path)
        assert "Different networks trained before: bam base, 20 steps of 4 images; panet none." in remark
        write_run(tmp_path, method="bam", recipe={"iterations": 10})
        assert {row[2] for row in texts(only(tmp_path))} == {"", "stages.base=20 steps of 4 images", "stages.base=none"}
        longer = stage | {"recipe": stage["recipe"] | {"iterations": 30}}
        write_run(tmp_path, method="panet", recipe={"iterations": 10}, stages={"base": stage})
        write_run(tmp_path, method="panet", recipe={"iterations": 10}, stages={"base": longer})
        told = [row[2] for row in texts(only(tmp_path)) if row[0] == "panet"]
        assert "stages.base.recipe.iterations=30" in told[1] + told[2]

    def test_optimisers_are_told_apart_also_where_a_record_leaves_sgd_out(self, tmp_path: Path):
        recipe = {"iterations": 300, "batch": 1, "lr": 1.0}
        write_run(tmp_path, recipe=recipe)
        write_run(tmp_path, recipe={**recipe, "optimizer": "adam", "betas": [0.9, 0.99]})
        variants = [row[2] for row in texts(only(tmp_path))]
        assert variants == ["betas=0.9,0.99; optimizer=adam", "betas=not set; optimizer=sgd"]
        write_run(tmp_path, recipe=recipe, method="panet")
        (remark,) = self.of_trainings(tmp_path)
        assert "Different optimizer: baseline on resnet18 adam (betas 0.9, 0.99) / sgd; panet sgd" in remark

    def test_a_recipe_for_a_shot_is_compared_with_that_of_the_same_shot(self, tmp_path: Path):
        for shot, steps in ((1, 300), (5, 100)):
            write_run(tmp_path, shot=shot, method="a", recipe={"iterations": steps, "batch": 1, "lr": 1.0})
        write_run(tmp_path, shot=1, method="b", recipe={"iterations": 300, "batch": 1, "lr": 1.0})
        assert self.of_trainings(tmp_path) == []
        write_run(tmp_path, shot=5, method="b", recipe={"iterations": 200, "batch": 1, "lr": 1.0})
        (remark,) = self.of_trainings(tmp_path)
        assert remark.endswith("5-shot: different training episodes: a 100 (100 steps of 1); b 200 (200 steps of 1).")

    def test_best_and_second_of_a_backbone(self, tmp_path: Path):
        for method, hits in (("a", 10), ("b", 30), ("c", 20)):
            write_run(tmp_path, [((c,), (90, 0, 100 - hits, hits)) for c in (1, 2)], method=method)
        write_run(tmp_path, backbone="resnet50")
        ranks = [(row[0].text, row[2].rank) for row in only(tmp_path).rows]
        assert ranks == [("a", 0), ("b", 1), ("c", 2), ("baseline", 0)]

    def test_checkpoints_of_the_folds_share_a_row(self, tmp_path: Path):
        for fold in (1, 2, 3, 4):
            write_run(tmp_path, fold=fold, recipe={"iterations": 0}, checkpoint_digest=str(fold) * 64)
        table = only(tmp_path)
        assert [row[2] for row in texts(table)] == [
            "checkpoints 11111111, 22222222, 33333333, 44444444 (training unknown)"
        ]
        assert table.rows[0][7].value == pytest.approx(100 * (0.5 + 20 / 30) / 2)
        assert claimed_twice(find_runs(tmp_path)) == []

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


def trained(**changes: Any) -> dict[str, Any]:
    """What an evaluation keeps of the training whose checkpoint it evaluated."""
    own = settings(**changes)
    return {"trained": CheckpointTraining("checkpoint.pt", "/r", own.identity, own, own.to_json()).to_json()}


def evaluated(digit: str, **changes: Any) -> dict[str, Any]:
    return {"recipe": {"iterations": 0}, "checkpoint_digest": digit * 64, **changes}


def replayed(file: str, **changes: Any) -> dict[str, Any]:
    return {"passed": {"episodes": file}, **changes}


@pytest.mark.parametrize(
    ("runs", "told"),
    [
        ([evaluated("4"), evaluated("5")], [f"checkpoint {c * 8} (training unknown)" for c in "45"]),
        ([{"recipe": {"iterations": 0, "lr": r}} for r in (0.1, 0.2)], ["untrained; lr=0.1", "untrained; lr=0.2"]),
        ([{"evaluated_digest": digit * 64} for digit in "56"], [f"test images {digit * 8}" for digit in "56"]),
        # A shot trained elsewhere, or not at all, or with replayed episodes never hides in the row of another.
        ([{}, evaluated("1", shot=5)], ["", "checkpoint 11111111 (training unknown)"]),
        ([{}, {"shot": 5, "recipe": {"iterations": 0, "lr": 0.001}}], ["", "untrained"]),
        ([{}, replayed("theirs.csv", shot=5)], ["", "episodes theirs.csv"]),
        ([replayed("/a/fold1.csv"), replayed("/b/fold1.csv", shot=5)], ["episodes fold{fold}.csv"] * 2),
        # A recipe that changes with the shot shares the row.
        ([{"recipe": {"iterations": 9}}, {"shot": 5, "recipe": {"iterations": 3}}], ["iterations=9/3"]),
        ([replayed("a/theirs.csv")], ["episodes theirs.csv"]),
        ([replayed("2"), {"fold": 2}], [""]),  # a number of episodes is no file
    ],
)
def test_runs_that_share_a_row_and_what_rows_say(tmp_path: Path, runs: list[dict[str, Any]], told: list[str]):
    for run in runs:
        write_run(tmp_path, **run)
    assert [row.variant.partition("; record ")[0] for row in rows_of(tmp_path)] == told
    assert claimed_twice(find_runs(tmp_path)) == []


class TestEvaluatedCheckpoints:
    RECIPE: ClassVar = {"iterations": 100, "batch": 2, "lr": 0.001}

    def test_the_row_is_one_of_its_training(self, tmp_path: Path):
        for fold in (1, 2):
            known = trained(fold=fold, recipe=self.RECIPE, seed=4)
            write_run(tmp_path, fold=fold, recipe={}, checkpoint_digest=str(fold) * 64, extra=known)
        write_run(tmp_path, method="panet", recipe={"iterations": 300, "batch": 2, "lr": 0.001})
        table = only(tmp_path)
        names = [trained(fold=f, recipe=self.RECIPE, seed=4)["trained"]["identity"][:8] for f in (1, 2)]
        assert [row[2] for row in texts(table)] == [f"checkpoints run {names[0]}, run {names[1]}", ""]
        assert "baseline 200 (100 steps of 2); panet 600 (300 steps of 2)" in table.remarks[0]
        (run, *_) = find_runs(tmp_path).done
        assert (run.record.settings.recipe, run.record.settings.seed) == ({**self.RECIPE, "optimizer": "sgd"}, 4)

    def test_a_training_and_the_evaluation_of_its_checkpoint_stay_apart(self, tmp_path: Path):
        write_run(tmp_path, recipe=self.RECIPE)
        write_run(tmp_path, recipe={}, checkpoint_digest="1" * 64, extra=trained(recipe=self.RECIPE))
        name = trained(recipe=self.RECIPE)["trained"]["identity"][:8]
        assert sorted(row[2] for row in texts(only(tmp_path))) == ["", f"checkpoint run {name}"]

    def test_what_it_was_trained_with_is_said(self, tmp_path: Path):
        write_run(
            tmp_path,
            shot=5,
            recipe={},
            checkpoint_digest="1" * 64,
            extra=trained(recipe=self.RECIPE, shot=1, switches={"temperature": 10.0}, protocol_label="shapes5i"),
        )
        assert "trained on shapes5i; trained with shot=1, temperature=10; checkpoint run" in texts(only(tmp_path))[0][2]

    def test_a_file_has_its_name_and_no_training(self, tmp_path: Path):
        write_run(tmp_path, recipe={}, checkpoint_digest="1" * 64, extra={"trained": {"file": "theirs.pth"}})
        write_run(tmp_path, method="panet", recipe=self.RECIPE)
        table = only(tmp_path)
        assert texts(table)[0][2] == "checkpoint theirs.pth 11111111 (training unknown)"
        assert "Different training episodes: baseline unknown; panet 200 (100 steps of 2)" in table.remarks[0]

    def test_one_checkpoint_under_two_protocols_or_identities_is_not_merged(self, tmp_path: Path):
        for digit in "12":
            write_run(tmp_path, recipe={}, checkpoint_digest=digit * 64, extra=trained(recipe=self.RECIPE))
        rows = [row[2] for row in texts(only(tmp_path))]
        assert len(rows) == 2
        assert len(set(rows)) == 2
        assert all("record " in row for row in rows)

    def test_an_edited_training_is_refused(self, tmp_path: Path):
        edited = trained(recipe=self.RECIPE)
        edited["trained"]["settings"]["seed"] = 9
        edit_info(write_run(tmp_path, recipe={}, checkpoint_digest="1" * 64), **edited)
        (warning,) = find_runs(tmp_path).warnings
        assert "the checkpoint's training do not have the identity it states" in warning.message


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

    def test_the_files_of_four_folds_share_a_row_and_a_mean(self, tmp_path: Path):
        for fold in (1, 2, 3, 4):
            write_run(tmp_path, fold=fold, episode_digest=str(fold) * 64, passed={"episodes": f"/a/fold{fold - 1}.csv"})
        (row,) = texts(only(tmp_path))
        assert row[2] == "episodes fold{fold-1}.csv"
        assert row[7] == "58.33"

    @pytest.mark.parametrize("second", ["/b/fold{}.csv", "/a/other-fold{}.csv", "/a/fold.csv"])
    def test_folds_of_two_experiments_never_share_a_row(self, tmp_path: Path, second: str):
        """Whatever the method: neither the folds of one nor the ranks of two."""
        for method in ("baseline", "panet"):
            for fold in (1, 2, 3, 4):
                given = ("/a/fold{}.csv" if fold < 3 else second).format(fold)
                write_run(tmp_path, method=method, fold=fold, episode_digest=f"{fold}" * 64, passed={"episodes": given})
        collection = find_runs(tmp_path)
        rows = group_rows(collection.done, collection)
        assert sorted(sorted(row.runs[1]) for row in rows) == [[1, 2], [1, 2], [3, 4], [3, 4]]
        assert len({row.rules for row in rows}) == 2
        assert all(row[7] == "-" for row in texts(only(tmp_path)))

    def test_a_list_that_was_changed_between_runs_is_two_lists(self, tmp_path: Path):
        """One name, two contents: no mean over them, no rank across them, and a claim that is named."""
        for fold in (1, 2, 3, 4):
            write_run(tmp_path, fold=fold, episode_digest=str(fold) * 64, passed={"episodes": f"/a/{fold}.csv"})
        write_run(tmp_path, method="panet", episode_digest="9" * 64, passed={"episodes": "/a/1.csv"})
        table = only(tmp_path)
        assert {row[0] + ": " + row[2]: row[3:5] for row in texts(table)} == {
            "baseline: episodes {fold}.csv (11111111)": ["58.33", "-"],
            "baseline: episodes {fold}.csv": ["-", "58.33"],
            "panet: episodes {fold}.csv (99999999)": ["58.33", "-"],
        }
        assert all(cell.rank == 0 for row in table.rows for cell in row)
        write_run(tmp_path, episode_digest="9" * 64, passed={"episodes": "/a/1.csv"})
        (message,) = claimed_twice(find_runs(tmp_path))
        assert "fold 1, seed 0: 2 records claim this cell" in message

    def test_lists_that_records_do_not_name_share_nothing(self, tmp_path: Path):
        label = {"protocol_label": "toy[episodes.list=given]"}
        for fold in (1, 2, 3, 4):
            write_run(tmp_path, fold=fold, episode_digest=str(fold) * 64, passed={"episodes": "20"}, **label)
        rows = texts(only(tmp_path))
        assert [row[2] for row in rows] == [f"episodes unknown {str(fold) * 8}" for fold in (1, 2, 3, 4)]
        assert all(row[7] == "-" for row in rows)


def test_only_cards_that_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = '"""A method.\n\nTitle: T\nFidelity: {}\n"""\n'
    (tmp_path / "guessed_one.py").write_text(card.format("reconstruction"))
    (tmp_path / "sure_one.py").write_text(card.format("parity"))
    monkeypatch.setenv("FSSEG_METHODS_PATH", str(tmp_path))
    found = reconstructions()
    assert "guessed-one" in found
    assert not found & {"sure-one", "panet", "biopt"}
