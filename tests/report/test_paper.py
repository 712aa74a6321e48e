"""The paper's tables: which numbers stand beside each other, and what is said of them."""

from pathlib import Path

import pytest

from fsseg_bench.protocol.load import load_protocol, replace_list
from fsseg_bench.report.blocks import Measured
from fsseg_bench.report.collect import Collection, find_runs
from fsseg_bench.report.model import Cell, Table, arranged
from fsseg_bench.report.paper import paper_table
from fsseg_bench.report.text import to_markdown
from tests.support.paper import NOTHING, TABLES, paper_run, paper_runs
from tests.support.readers import in_csv, in_html, in_json, in_latex, in_markdown, said

# One row of each of the five tables, typed from the paper.
TYPED = {
    "1": (("ResNet-50", "BiOpt"), "56.21 64.63 57.95 48.61 56.85 61.32 69.45 67.74 58.11 64.16"),
    "2": (("coco20i-b", "VGG-16", "BiOpt"), "24.61 30.84 25.96 26.41 26.96 29.29 34.90 31.87 30.14 31.55"),
    "3": (("pascal5i", "ResNet-50", "BiOpt"), "70.74 75.66"),
    "4": (("ResNet-50", "InOpt†"), "53.69 62.43 54.74 48.17 54.76"),
    "5": (("coco20i-a", "ResNet-50", "BiOpt", "one"), "28.76 34.61"),
}


GIVEN = replace_list(load_protocol("pascal5i"))
REPLAYED = {"episode_digest": "1" * 64, "passed": {"episodes": "x/own-{fold}.csv"}}


def made(number: str, collection: Collection = NOTHING, **arguments: object) -> Table:
    return paper_table(TABLES[number], collection, Measured(collection), **arguments)


@pytest.mark.parametrize("number", TYPED)
@pytest.mark.parametrize("reader", [in_markdown, in_latex, in_html, in_csv, in_json])
def test_a_row_of_each_table_in_each_format(number: str, reader) -> None:
    labels, typed = TYPED[number]
    table = made(number, numbers=("published",))
    if reader not in {in_csv, in_json}:
        table = arranged(table, "auto")
    assert reader(table, labels) == typed.split()


def rows(table: Table) -> dict[tuple[str, ...], tuple[Cell, ...]]:
    return {tuple(c.text for c in row[: table.labels]): row[table.labels :] for row in table.rows}


def cell(table: Table, labels: tuple[str, ...], *head: str) -> Cell:
    return rows(table)[labels][[c.head for c in table.columns[table.labels :]].index(head)]


class TestPublished:
    def test_every_number_of_the_paper_is_in_its_table(self) -> None:
        counts = {n: sum(c.value is not None for row in made(n).rows for c in row) for n in TABLES}
        assert counts == {n: len(table.numbers) for n, table in TABLES.items()}
        assert counts | {"1": 160, "2": 130, "3": 14, "4": 15, "5": 8, "benchmarks:lvis92i-5shot": 23} == counts

    def test_the_order_of_the_paper_by_backbone(self) -> None:
        names = list(rows(made("1")))
        assert names[:3] == [("VGG-16", "OSLSM"), ("VGG-16", "co-FCN"), ("VGG-16", "SG-One")]
        assert list(dict.fromkeys(backbone for backbone, _ in names)) == ["VGG-16", "ResNet-50", "ResNet-101"]
        assert list(dict.fromkeys(labels[0] for labels in rows(made("2")))) == ["coco20i-a", "coco20i-b"]

    def test_missing_runs_print_as_missing(self) -> None:
        table = made("1")
        assert cell(table, ("VGG-16", "FWB"), "1-shot", "fold 1", "measured").text == "missing"
        assert cell(table, ("VGG-16", "FWB"), "1-shot", "fold 1", "difference").text == "-"

    def test_errata_are_footnotes_and_the_value_stays_as_printed(self) -> None:
        fwb = cell(made("2"), ("coco20i-b", "ResNet-101", "FWB"), "5-shot", "mean", "published")
        assert fwb.text == "23.05"
        assert fwb.note == (
            "printed 23.05; its four folds average 23.65; a misprint: other records of this number say 23.65"
        )
        baseline = cell(made("4"), ("ResNet-50", "baseline"), "1-shot", "mean", "published")
        assert baseline.text == "51.70"
        assert baseline.note.startswith("printed 51.70; its four folds average 51.79; the gain")
        assert (
            "0.99" in cell(made("5"), ("pascal5i", "ResNet-50", "BiOpt", "several"), "5-shot", "mean", "published").note
        )
        third = made("3")
        assert "VGG-16" in cell(third, ("pascal5i", "VGG-16", "PANet"), "1-shot", "mean", "published").note
        assert "59.2" in cell(third, ("coco20i-a", "ResNet-50", "BiOpt"), "1-shot", "mean", "published").note
        assert "swaps the letters" in made("2").remarks[0]
        assert "swaps the letters" in to_markdown(made("2"))

    def test_numbers_name_their_source_and_rows_what_holds_for_all(self) -> None:
        table = made("1")
        ppnet = next(row for row in table.rows if row[1].text == "PPNet")
        assert "unlabelled images" in ppnet[1].note
        assert ppnet[2].source == "BiOpt paper, Table 1 (paper table, quoted by BiOpt)"
        assert cell(table, ("ResNet-50", "BiOpt"), "1-shot", "mean", "published").source.endswith("(paper table)")

    def test_best_and_second_of_each_backbone_and_column(self) -> None:
        table = made("1")
        ranks = {
            labels: row[[c.head for c in table.columns[2:]].index(("1-shot", "mean", "published"))].rank
            for labels, row in rows(table).items()
        }
        assert {labels for labels, rank in ranks.items() if rank == 1} == {
            ("VGG-16", "BiOpt"), ("ResNet-50", "BiOpt"), ("ResNet-101", "DAN"),
        }  # fmt: skip
        assert {labels for labels, rank in ranks.items() if rank == 2} == {
            ("VGG-16", "RPMMs"), ("ResNet-50", "RPMMs"), ("ResNet-101", "BiOpt"),
        }  # fmt: skip

    def test_later_methods_say_their_kind_of_source_and_are_not_ranked(self) -> None:
        mean, binary = (made(name) for name in ("later:mean", "later:binary"))
        assert ("coco20i-b", "VGG-16", "HDMNet", "aggregator record") in rows(mean)
        assert ("coco20i-a", "VGG-16", "PANet", "aggregator record") in rows(binary)
        assert not mean.ranked
        assert not [labels for labels in rows(mean) if "CobNet" in labels and labels[0] != "pascal5i"]
        assert {c.text for row in mean.rows for c in row} & {"missing"} == set()


class TestMeasured:
    def test_beside_the_published_number_with_the_difference(self, tmp_path: Path) -> None:
        folders = paper_runs(tmp_path, 40, method="panet", backbone="vgg16")
        table = made("1", find_runs(tmp_path))
        row = ("VGG-16", "PANet")
        assert [cell(table, row, "1-shot", f"fold {f}", "measured").text for f in (1, 2, 3, 4)] == [
            "40.00", "41.00", "42.00", "43.00",
        ]  # fmt: skip
        mean = cell(table, row, "1-shot", "mean", "measured")
        assert mean.value == pytest.approx(41.5)
        assert {tmp_path / run for run in mean.runs} == set(folders)
        assert cell(table, row, "1-shot", "mean", "difference").text == "-6.60"
        assert cell(table, row, "1-shot", "mean", "difference").value == pytest.approx(41.5 - 48.1)
        assert cell(table, row, "5-shot", "mean", "measured").text == "missing"
        assert cell(table, ("VGG-16", "FWB"), "1-shot", "mean", "measured").text == "missing"

    def test_binary_iou_is_from_the_same_runs(self, tmp_path: Path) -> None:
        paper_runs(tmp_path, 40, method="biopt", scales=[0.7, 1.0, 1.3])
        table = made("3", find_runs(tmp_path))
        (labels,) = [k for k in rows(table) if k[:3] == ("pascal5i", "ResNet-50", "BiOpt")]
        expected = sum((h / 100 + 900 / (1000 - h)) / 2 for h in (40, 41, 42, 43)) / 4
        assert cell(table, labels, "1-shot", "mean", "measured").value == pytest.approx(100 * expected)

    def test_no_mean_without_all_folds(self, tmp_path: Path) -> None:
        paper_run(tmp_path, fold=2, method="panet", backbone="vgg16")
        table = made("1", find_runs(tmp_path))
        mean = cell(table, ("VGG-16", "PANet"), "1-shot", "mean", "measured")
        assert (mean.text, mean.value, mean.note) == ("missing", None, "1 of 4 folds")
        assert cell(table, ("VGG-16", "PANet"), "1-shot", "fold 2", "measured").value == pytest.approx(50)

    def test_two_way_runs_stay_out(self, tmp_path: Path) -> None:
        first, *others = load_protocol("pascal5i").novel_classes(1)
        episodes = [((c, first), (9, 0, 0, 0, 9, 0, 0, 0, 9)) for c in others]
        paper_run(
            tmp_path,
            method="panet",
            backbone="vgg16",
            way=2,
            episodes=[*episodes, ((first, others[0]), episodes[0][1])],
        )
        table = made("1", find_runs(tmp_path))
        assert cell(table, ("VGG-16", "PANet"), "1-shot", "fold 1", "measured").text == "missing"

    def test_every_measured_row_is_kept_and_says_what_it_is(self, tmp_path: Path) -> None:
        """Precision, an untrained model, explicit settings: never in one row, never silent."""
        common = {"method": "panet", "backbone": "vgg16"}
        paper_runs(tmp_path, 40, **common)
        paper_runs(tmp_path, 30, **common, precision="bf16")
        paper_runs(tmp_path, 20, **common, recipe={"iterations": 0})
        table = made("1", find_runs(tmp_path))
        found = {labels[2]: row for labels, row in rows(table).items() if labels[:2] == ("VGG-16", "PANet")}
        assert set(found) == {"", "bf16", "untrained"}
        means = {name: row[13].value for name, row in found.items()}
        assert means == pytest.approx({"": 41.5, "bf16": 31.5, "untrained": 21.5})
        assert all(row[0].text == "42.30" for row in found.values())

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"protocol_version": 2}, "pascal5i version 2"),
            ({"protocol_digest": "0" * 64, "protocol_label": "pascal5i[image.size=257]"}, "digest 00000000"),
            # Replayed episodes change the protocol; records from before they did say so in their options alone.
            (REPLAYED | {"protocol_label": GIVEN.label, "protocol_digest": GIVEN.digest}, "episodes own-{fold}.csv"),
            (REPLAYED, "episodes own-{fold}.csv"),
        ],
    )
    def test_runs_under_other_rules_stay_out_and_are_mentioned(self, tmp_path: Path, change: dict, said: str) -> None:
        paper_runs(tmp_path, method="panet", backbone="vgg16", **change)
        table = made("1", find_runs(tmp_path))
        assert cell(table, ("VGG-16", "PANet"), "1-shot", "mean", "measured").text == "missing"
        (remark,) = [text for text in table.remarks if text.startswith("Not here: 4 finished runs of pascal5i")]
        assert said in remark

    def test_explicit_settings_are_told_even_when_no_other_row_differs(self, tmp_path: Path) -> None:
        passed = {"iterations": 5, "settings": {"recipe.lr": "0.5", "temperature": "9", "protocol.x": "1"}, "seed": 3}
        paper_run(
            tmp_path, method="panet", backbone="vgg16", passed=passed, seed=3,
            recipe={"iterations": 5, "lr": 0.5, "batch": 8}, switches={"temperature": 9.0, "other": 1},
        )  # fmt: skip
        (labels,) = [k for k in rows(made("1", find_runs(tmp_path))) if k[1] == "PANet"]
        assert labels[2] == "iterations=5; lr=0.5; seed=3; temperature=9"

    def test_other_data_are_told_by_every_row_and_ranked_apart(self, tmp_path: Path) -> None:
        for method, data in (("panet", "1"), ("biopt", "1"), ("fwb", "2")):
            paper_runs(tmp_path, 40 if data == "1" else 70, method=method, backbone="vgg16", data_fingerprint=data * 64)
        table = made("1", find_runs(tmp_path))
        found = {labels[1]: labels for labels in rows(table) if labels[2]}
        assert {k: v[2] for k, v in found.items()} == {
            "PANet": "data_fingerprint=11111111",
            "BiOpt": "data_fingerprint=11111111",
            "FWB": "data_fingerprint=22222222",
        }
        ranks = {k: cell(table, labels, "1-shot", "mean", "measured").rank for k, labels in found.items()}
        assert ranks == {"PANet": 1, "BiOpt": 1, "FWB": 0}

    def test_query_scales_that_differ_are_said_at_the_difference(self, tmp_path: Path) -> None:
        paper_runs(tmp_path, 40, method="biopt")
        paper_runs(tmp_path, 45, method="biopt", scales=[0.7, 1.0, 1.3])
        table = made("1", find_runs(tmp_path))
        notes = {
            labels[2]: cell(table, labels, "1-shot", "mean", "difference").note
            for labels in rows(table)
            if labels[:2] == ("ResNet-50", "BiOpt")
        }
        assert notes == {
            "": "published with several query scales, measured with one query scale",
            "scales 0.7/1/1.3": "",
        }

    def test_table_5_tells_scales_apart(self, tmp_path: Path) -> None:
        paper_runs(tmp_path, 40, method="biopt")
        paper_runs(tmp_path, 45, method="biopt", scales=[0.7, 1.0, 1.3])
        table = made("5", find_runs(tmp_path))
        found = {
            labels[3]: cell(table, labels, "1-shot", "mean", "measured").value
            for labels in rows(table)
            if labels[0] == "pascal5i"
        }
        assert found == pytest.approx({"one": 41.5, "several": 46.5})

    def test_methods_and_backbones_that_the_paper_does_not_have_get_rows(self, tmp_path: Path) -> None:
        paper_runs(tmp_path, 40, method="mine", backbone="vgg16")
        paper_runs(tmp_path, 40, method="biopt", backbone="resnet18-layer3")
        first, ablation = made("1", find_runs(tmp_path)), made("4", find_runs(tmp_path))
        mine = cell(first, ("VGG-16", "mine"), "1-shot", "mean", "measured")
        assert mine.value == pytest.approx(41.5)
        assert cell(first, ("VGG-16", "mine"), "1-shot", "mean", "published").text == "-"
        assert cell(first, ("VGG-16", "mine"), "5-shot", "mean", "measured").text == "-", "nobody published it"
        assert ("resnet18-layer3", "InOpt") in rows(ablation), "by its name in this table"
        assert ("VGG-16", "mine") not in rows(ablation), "the ablation has its own methods"

    def test_native_size_and_the_first_episodes(self, tmp_path: Path) -> None:
        paper_runs(tmp_path, method="panet", backbone="vgg16")
        table = made("1", find_runs(tmp_path, episodes=5), resolution="native")
        assert "first 5 episodes" in said(table)
        assert "the images' own size" in said(table)
        assert table.facts["resolution"] == "native"

    def test_a_reconstruction_says_so(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setattr("fsseg_bench.report.rows.reconstructions", lambda: frozenset({"dan"}))
        paper_runs(tmp_path, 40, method="dan", backbone="resnet101")
        paper_runs(tmp_path, 40, method="biopt", backbone="resnet101")
        found = {labels[1]: labels[2] for labels in rows(made("1", find_runs(tmp_path))) if labels[0] == "ResNet-101"}
        assert found["DAN"] == "reconstruction"
        assert found["BiOpt"] == ""
