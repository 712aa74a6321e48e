import json
from pathlib import Path

import pytest

from fsseg_bench.report.cells import ranked
from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.model import Cell, Table
from fsseg_bench.report.table import class_tables, runs_tables
from tests.support.paper import paper_run
from tests.support.readers import said, texts
from tests.support.runs import NATIVE, SPREAD, write_run

# Per fold: IoU of class 1 and class 2 by hand, each from one episode (TN, FP, FN, TP).
FOLDS = {
    2: ((((1,), (60, 10, 10, 20)), ((2,), (70, 0, 10, 20))), (20 / 40 + 20 / 30) / 2),
    3: ((((1,), (90, 0, 0, 10)), ((2,), (50, 25, 0, 25))), (1 + 25 / 50) / 2),
    4: ((((1,), (99, 1, 0, 0)), ((2,), (80, 5, 5, 10))), (0 + 10 / 20) / 2),
}


def write_folds(root: Path, **changes: object) -> None:
    write_run(root, SPREAD, native=NATIVE, fold=1, **changes)
    for fold, (episodes, _) in FOLDS.items():
        write_run(root, episodes, fold=fold, **changes)


def only(root: Path, **arguments: object) -> Table:
    (table,) = runs_tables(find_runs(root), **arguments)
    return table


class TestNumbers:
    def test_by_hand(self, tmp_path: Path):
        write_folds(tmp_path)
        table = only(tmp_path)
        assert [c.title for c in table.columns] == [
            "method", "backbone", *(f"1-shot fold {f}" for f in (1, 2, 3, 4)), "1-shot mean", "1-shot binary",
        ]  # fmt: skip
        mean = (0.65 + sum(value for _, value in FOLDS.values())) / 4
        binary = (
            (60 / 105 + 195 / 240) / 2
            + (40 / 70 + 130 / 160) / 2
            + (35 / 60 + 140 / 165) / 2
            + (10 / 21 + 179 / 190) / 2
        ) / 4
        row = table.rows[0]
        values = [cell.value for cell in row[2:]]
        expected = [65, *(100 * value for _, value in FOLDS.values()), 100 * mean, 100 * binary]
        assert values == pytest.approx(expected, abs=1e-10)
        # Only fold 1 has two episodes of a class, so that only it spreads: by 12.5 percent points each way.
        assert (row[2].high - row[2].low) / 2 == pytest.approx(12.5)
        assert [cell.low for cell in row[3:6]] == [None] * 3
        assert (row[6].low, row[6].high) == pytest.approx((100 * mean - 3.125, 100 * mean + 3.125), abs=1e-10)
        assert texts(table)[0][:7] == [
            "baseline", "resnet18", "65.00 ± 12.50", "58.33", "75.00", "25.00", "55.83 ± 3.12",
        ]  # fmt: skip

    def test_side_information_is_said(self, tmp_path: Path):
        write_folds(tmp_path / "plain")
        assert "Side information" not in said(only(tmp_path / "plain"))
        write_folds(tmp_path / "cut", side_information="the query is cut to its box")
        table = only(tmp_path / "cut")
        assert table.remarks[0] == "Side information: the query is cut to its box."
        assert "side_information" not in table.rows[0][0].text + " ".join(c.title for c in table.columns)

    @pytest.mark.parametrize(("folds", "mean"), [(1, 10.0), (2, 10.5), (4, 11.5), (10, 14.5)])
    def test_any_number_of_folds(self, tmp_path: Path, folds: int, mean: float):
        """Fold f scores 9 + f percent; folds whose numbers of base classes differ share a row."""
        for shot in (1, 5):
            for fold in range(1, folds + 1):
                episodes = [((1,), (900, 0, 91 - fold, 9 + fold))]
                write_run(tmp_path, episodes, fold=fold, folds=folds, shot=shot, novel=[1], base_classes=20 - fold)
        found = find_runs(tmp_path)
        tables = runs_tables(found, "mean")
        words = {2: "over both folds of", 4: "over all 4 folds of", 10: "over all 10 folds of"}
        assert words.get(folds, "has one fold") in said(tables[0])
        assert [t.title for t in tables] == (
            ["toy: mean-IoU, 1-way"] if folds <= 4 else [f"toy: mean-IoU, 1-way {k}-shot" for k in (1, 5)]
        )
        assert len({t.name for t in tables}) == len(tables)
        for table in tables:
            (row,) = table.rows
            means = [row[i].value for i, c in enumerate(table.columns) if c.facts.get("fold") == "mean"]
            assert means[::2] == pytest.approx([mean] * (len(means) // 2))
        (tmp_path / found.path(found.done[-1].record) / "run.json").unlink()
        (tmp_path / found.path(found.done[-1].record) / "episodes.jsonl").unlink()
        notes = {cell.note for t in runs_tables(find_runs(tmp_path)) for row in t.rows for cell in row}
        assert (f"{folds - 1} of {folds} folds" in notes) == (folds > 1)

    def test_cells_name_their_runs(self, tmp_path: Path):
        write_folds(tmp_path)
        row = only(tmp_path).rows[0]
        assert [
            json.loads((tmp_path / cell.runs[0] / "run.json").read_text())["settings"]["fold"] for cell in row[2:6]
        ] == [1, 2, 3, 4]
        assert row[6].runs == row[7].runs == tuple(cell.runs[0] for cell in row[2:6])

    def test_native_resolution_and_headline(self, tmp_path: Path):
        write_run(tmp_path, SPREAD, native=NATIVE)
        assert only(tmp_path).rows[0][2].value == pytest.approx(65)
        assert only(tmp_path, resolution="native").rows[0][2].value == pytest.approx(75)
        write_run(tmp_path / "own", SPREAD, native=NATIVE, headline="native")
        table = only(tmp_path / "own")
        assert table.rows[0][2].value == pytest.approx(75)
        assert "the images' own size" in said(table)
        assert table.facts["resolution"] == "native"

    def test_binary_metric_has_no_second_binary_column(self, tmp_path: Path):
        write_folds(tmp_path)
        table = only(tmp_path, metric="binary")
        assert table.columns[-1].title == "1-shot mean"
        assert table.rows[0][2].value == pytest.approx(100 * (60 / 105 + 195 / 240) / 2)
        assert "foreground and background" in said(table)


class TestMeanOverFolds:
    def test_only_with_all_four(self, tmp_path: Path):
        for fold in (1, 2, 4):
            write_run(tmp_path, fold=fold)
        write_run(tmp_path, fold=3, status="evaluating")
        row = only(tmp_path).rows[0]
        assert [cell.text for cell in row[2:]] == ["58.33", "58.33", "-", "58.33", "-", "-"]
        nothing = "no interval: nothing varies between the episodes, which says nothing about other episodes"
        assert [cell.note for cell in row[4:]] == ["", nothing, "3 of 4 folds", "3 of 4 folds"]
        assert row[4].value is None
        assert row[6].value is None
        assert len(row[6].runs) == 3

    def test_a_shot_without_runs_is_empty(self, tmp_path: Path):
        write_folds(tmp_path)
        write_run(tmp_path, method="panet", shot=5)
        table = only(tmp_path)
        assert [cell.text for cell in table.rows[1][2:8]] == ["-"] * 6
        assert [cell.note for cell in table.rows[1][2:8]] == [""] * 6
        assert table.rows[1][12].note == "1 of 4 folds"


class TestTables:
    def test_other_rules_are_never_mixed(self, tmp_path: Path):
        write_run(tmp_path)
        write_run(tmp_path, protocol_digest="c" * 64)
        write_run(tmp_path, protocol_version=2)
        write_run(tmp_path, protocol_label="toy[episodes.count=2]")
        write_run(tmp_path, [((1, 2), (9, 0, 0, 0, 9, 0, 0, 0, 9)), ((2, 1), (9, 0, 0, 0, 9, 0, 0, 0, 9))], way=2)
        tables = runs_tables(find_runs(tmp_path))
        assert len(tables) == 5
        assert all(len(table.rows) == 1 for table in tables)
        assert len({table.name for table in tables}) == 5
        assert "version 2" in said(next(t for t in tables if t.facts["protocol_version"] == 2))
        assert "digest cccccccc" in said(next(t for t in tables if t.facts["protocol_digest"][0] == "c"))
        assert [t.title for t in tables if t.facts["way"] == 2] == ["toy: mean-IoU, 2-way"]

    def test_shots_share_a_row(self, tmp_path: Path):
        write_run(tmp_path)
        write_run(tmp_path, shot=5)
        table = only(tmp_path)
        assert len(table.rows) == 1
        assert {column.head[0] for column in table.columns} == {"", "1-shot", "5-shot"}
        assert [c.facts for c in table.columns if c.title == "5-shot binary"] == [
            {"shot": 5, "fold": "mean", "metric": "binary"}
        ]

    def test_the_caption_says_how_many_episodes(self, tmp_path: Path):
        write_run(tmp_path)
        assert "2 episodes a fold" in only(tmp_path).caption
        write_run(tmp_path, SPREAD, fold=2)
        assert "2 to 3 episodes a fold" in only(tmp_path).caption

    def test_no_runs_no_tables(self, tmp_path: Path):
        assert runs_tables(find_runs(tmp_path)) == ()


@pytest.mark.parametrize(
    ("values", "groups", "ranks"),
    [
        ([1.0, 3.0, 2.0, 9.0, 8.0], "aaabb", [0, 1, 2, 1, 2]),
        ([3.001, 2.999, 2.0, 1.0], "aaaa", [1, 1, 2, 0]),  # numbers that print alike share a rank
        ([5.0, None, 7.0, 1.0], ["a", "a", "b", None], [0, 0, 0, 0]),  # nothing to compare with
        ([5.0, None, 7.0], "aaa", [0, 0, 0]),  # a column that some row lacks has no best
        ([5.0, None, 7.0, 1.0], "abaa", [2, 0, 1, 0]),
    ],
)
def test_best_and_second_within_each_group(values: list[float | None], groups: list[str | None], ranks: list[int]):
    rows = [(Cell("name", 1.0), Cell(str(v), v)) for v in values]
    marked = ranked(rows, [1], groups)
    assert [row[1].rank for row in marked] == ranks
    assert [row[0].rank for row in marked] == [0] * len(rows), "other columns are not touched"


def test_a_row_a_class_and_a_column_a_method(tmp_path: Path) -> None:
    folder = write_run(tmp_path, SPREAD, native=NATIVE)
    write_run(tmp_path, method="panet")
    write_run(tmp_path, [((3,), (9, 0, 0, 1)), ((4,), (9, 0, 1, 0))], method="panet", fold=2, novel=[3, 4])
    (table,) = class_tables(find_runs(tmp_path))
    assert [c.head for c in table.columns] == [
        ("", "fold"), ("", "class"), ("resnet18", "baseline"), ("resnet18", "panet"),
    ]  # fmt: skip
    assert texts(table) == [
        ["fold 1", "cat", "50.00 ± 25.00", "50.00"],
        ["fold 1", "dog", "80.00", "66.67"],
        ["fold 2", "3", "-", "100.00"],
        ["fold 2", "4", "-", "0.00"],
    ]
    cat = table.rows[0][2]
    assert (cat.value, cat.low, cat.high) == pytest.approx((50, 25, 75))
    assert [tmp_path / run for run in cat.runs] == [folder]


def test_native_size_shots_and_protocols(tmp_path: Path) -> None:
    write_run(tmp_path, SPREAD, native=NATIVE)
    write_run(tmp_path, shot=5)
    paper_run(tmp_path)
    found = find_runs(tmp_path)
    assert [t.title for t in class_tables(found)] == [
        "pascal5i: IoU of each class, 1-way 1-shot",
        "toy: IoU of each class, 1-way 1-shot",
        "toy: IoU of each class, 1-way 5-shot",
    ]
    (native,) = [t for t in class_tables(found, "native", ["toy"]) if "1-shot" in t.title]
    assert [row[2] for row in texts(native)] == ["50.00", "100.00"]
    assert [row[1] for row in texts(class_tables(found, None, ["pascal5i"])[0])][:2] == ["aeroplane", "bicycle"]


def test_rows_that_need_telling_apart_say_why(tmp_path: Path) -> None:
    write_run(tmp_path)
    write_run(tmp_path, seed=1)
    (table,) = class_tables(find_runs(tmp_path))
    assert [c.head[1] for c in table.columns[2:]] == ["baseline; seed=0", "baseline; seed=1"]
