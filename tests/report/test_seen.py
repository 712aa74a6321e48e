"""What was seen, in tables: marks and their legend, mixed rankings, full columns, comparisons; by hand."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.report import seen as seen_of
from fsseg_bench.report.blocks import Measured
from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.compare import compare
from fsseg_bench.report.compare_json import compare_json
from fsseg_bench.report.compare_tables import compare_tables
from fsseg_bench.report.find_papers import papers
from fsseg_bench.report.latex import to_latex
from fsseg_bench.report.model import Cell, Column, Table
from fsseg_bench.report.paper import paper_table
from fsseg_bench.report.published import read_seen
from fsseg_bench.report.seen import MIXED, differences, marked, marks
from fsseg_bench.report.select import select
from fsseg_bench.report.table import runs_tables
from fsseg_bench.report.text import to_csv, to_json, to_markdown
from fsseg_bench.seen import FIELDS, UNKNOWN, Seen
from tests.report.test_papers import write_paper
from tests.support.paper import NOTHING, TABLES
from tests.support.readers import said
from tests.support.runs import write_run

LABELS = "novel classes seen: image labels in pretraining"
OWN = "transductive: trained at test time on the query's own pixels"
PLAIN = Seen(
    supervision="none",
    pretraining_data="none",
    novel_classes="no",
    transductive="no",
    test_time_training="none",
    extra_data="none",
)


def of(**changes: str) -> Seen:
    return Seen(**vars(PLAIN) | changes)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (PLAIN, ()),
        (of(novel_classes="by labels"), (LABELS,)),
        (of(novel_classes="by unnamed masks"), ("novel classes seen: masks without names in pretraining",)),
        (of(novel_classes="by masks"), ("novel classes seen: masks",)),
        (of(novel_classes="no / by labels"), (LABELS,)),
        (of(supervision="masks, text"), ("pretrained with text",)),
        (of(transductive="own query", test_time_training="w, 5 steps"), (OWN,)),
        (of(test_time_training="w, 5 steps"), ("trained at test time",)),
        (of(extra_data="names"), ("extra data: names",)),
        (of(pretraining_data=UNKNOWN), ("what was seen is not known in part",)),
        (Seen(), ("what was seen is not known",)),
    ],
)
def test_marks(seen: Seen, expected: tuple[str, ...]) -> None:
    assert marks(seen) == expected


def table_of(*names: str, note: str = "") -> Table:
    """A table whose rows are ranked in the order of the names."""
    rows = tuple((Cell(name, note=note), Cell(str(i), float(i), rank=i + 1)) for i, name in enumerate(names))
    return Table("t", "T", "C.", (Column(("method",)), Column(("IoU",))), 1, rows, remarks=("R.",))


def test_what_all_rows_have_is_said_once_and_the_rest_is_marked() -> None:
    made = marked(table_of("a", "b"), [(LABELS, OWN), (LABELS,)], 0, ["one", "one"])
    assert [row[0].marks for row in made.rows] == [(OWN,), ()]
    assert made.remarks == ("R.", f"All rows: {LABELS}.", MIXED)
    assert made.footnotes == {OWN: "a"}  # only the marks that occur


def test_a_ranking_is_mixed_within_a_group_alone() -> None:
    rows: list[tuple[str, ...]] = [(LABELS,), ()]
    assert MIXED in marked(table_of("a", "b"), rows, 0, ["one", "one"]).remarks
    assert MIXED not in marked(table_of("a", "b"), rows, 0, ["one", "two"]).remarks
    assert MIXED not in marked(table_of("a", "b"), rows, 0, [None, None]).remarks
    assert MIXED not in marked(table_of("a", "b"), [(LABELS,), (LABELS,)], 0, ["one", "one"]).remarks
    assert marked(table_of(), [], 0, []).remarks == ("R.",)


def test_marks_stand_beside_other_footnotes_in_every_format() -> None:
    made = marked(table_of("x", "y", note="odd"), [(LABELS, OWN), (LABELS[:5],)], 0, ["one", "one"])
    assert made.footnotes == {"odd": "a", LABELS: "b", OWN: "c", LABELS[:5]: "d"}
    markdown, latex = to_markdown(made), to_latex(made)
    assert "| x (a,b,c) |" in markdown
    assert f"- (b) {LABELS}" in markdown
    assert r"x\textsuperscript{a,b,c} &" in latex
    assert rf"\textsuperscript{{b}}\,{LABELS}" in latex
    assert json.loads(to_json([made]))["tables"][0]["rows"][0][0]["marks"] == [LABELS, OWN]


def test_headings_that_differ_in_their_marks_are_two() -> None:
    columns = (Column(("method",), merge=True), Column(("IoU",)))
    rows = tuple((Cell("a", marks=own), Cell("1", 1.0)) for own in ((), (OWN,), (OWN,)))
    assert Table("t", "T", "", columns, 1, rows).spans == {(0, 0): 1, (1, 0): 2, (2, 0): 0}


def test_names_by_what_they_saw() -> None:
    assert differences([("a", PLAIN), ("b", PLAIN)]) == []
    assert differences([("a", PLAIN), ("b", of(transductive="own query")), ("c", PLAIN)]) == [
        "What was seen differs: transductive (a, c: no; b: own query)."
    ]


RECORDED = vars(of(novel_classes="by labels", supervision="image labels", pretraining_data="mine"))


def write(root: Path, method: str, fold: int = 1, **extra: Any) -> None:
    switches = {"steps": 3} if method == "biopt" else {"temperature": 20.0}
    write_run(root, fold=fold, method=method, switches=switches, extra=extra)


class TestRuns:
    def test_rows_are_marked_and_numbers_have_all_columns(self, tmp_path: Path) -> None:
        write(tmp_path, "baseline")
        write(tmp_path, "biopt")
        (table,) = runs_tables(find_runs(tmp_path))
        assert [(row[0].text, row[0].marks) for row in table.rows] == [("baseline", ()), ("biopt", (OWN,))]
        assert MIXED in table.remarks
        rows = list(csv.DictReader(io.StringIO(to_csv([table]))))
        found = {row["method"]: row for row in rows if row["fold"] == "1"}
        assert {name: found["biopt"][name] for name in FIELDS} == vars(
            of(
                transductive="own query",
                test_time_training="prototypes, 3 gradient steps on the query's own predictions",
            )
        )
        assert {row["seen_source"] for row in found.values()} == {"card"}  # made before records had it
        assert [row["transductive"] for row in rows if row["fold"] == "2"] == ["", ""]  # no number

    def test_what_the_record_says_comes_before_the_cards(self, tmp_path: Path) -> None:
        write(tmp_path, "biopt", seen=RECORDED)
        (table,) = runs_tables(find_runs(tmp_path))
        assert f"All rows: {LABELS}." in table.remarks
        assert table.rows[0][2].seen == {**RECORDED, "seen_source": "record"}

    def test_folds_that_differ_are_one_row_that_says_both(self, tmp_path: Path) -> None:
        write(tmp_path, "baseline", seen=RECORDED)
        write(tmp_path, "baseline", fold=2)
        (table,) = runs_tables(find_runs(tmp_path))
        assert len(table.rows) == 1
        (run,) = [row for row in table.rows[0][2:4] if row.seen and row.seen["novel_classes"] == "no"]
        assert run.seen is not None and run.seen["seen_source"] == "card"
        assert f"All rows: {LABELS}." in table.remarks

    def test_a_method_that_is_not_here_is_not_known(self, tmp_path: Path) -> None:
        write(tmp_path, "nobodys")
        (table,) = runs_tables(find_runs(tmp_path))
        assert "All rows: what was seen is not known in part." in table.remarks  # its weights are random

    def test_compare_says_it(self, tmp_path: Path) -> None:
        write(tmp_path, "baseline")
        write(tmp_path, "biopt")
        found = compare(select(["baseline", "biopt"], tmp_path, {}).contenders, interval="episodes", resamples=10)
        first = compare_tables(found)[0]
        assert "What was seen differs: transductive (baseline: no; biopt: own query), test time training (" in said(
            first
        )
        document = json.loads(compare_json(found))
        assert document["baseline"]["seen"]["transductive"] == "no"
        assert document["methods"][0]["seen"]["transductive"] == "own query"


class TestPrinted:
    def test_every_published_row_has_the_facts(self) -> None:
        for paper in papers():
            rows = {(n.method, n.backbone) for n in paper.numbers}
            assert set(paper.seen) == rows, f"{paper.name}/seen.csv"
            assert all(printed.source_kind for printed in paper.seen.values() if printed.seen != Seen())

    @pytest.mark.parametrize(
        ("paper", "row", "changes"),
        [
            ("later", "SANSA (strict, per-fold adapters)", {"novel_classes": "by unnamed masks", "extra_data": "none"}),
            ("later", "SANSA (generalist; trained on COCO+ADE20K+LVIS+PACO)", {"novel_classes": "by masks"}),
            ("later", "RePRI", {"transductive": "own query", "novel_classes": "by labels"}),
            ("later", "INSID3", {"supervision": "none", "novel_classes": "no", "test_time_training": "none"}),
            ("later", "SSP", {"transductive": "no", "test_time_training": "none"}),
            ("biopt", "BiOpt", {"transductive": "own query"}),
            ("biopt", "FWB", {"transductive": "no", "novel_classes": "by labels"}),
            ("biopt", "DAN", dict.fromkeys(FIELDS, UNKNOWN)),
        ],
    )
    def test_facts_typed_in_by_hand(self, paper: str, row: str, changes: dict[str, str]) -> None:
        (home,) = [p for p in papers() if p.name == paper]
        found = [printed.seen for (method, _), printed in home.seen.items() if method == row]
        assert found
        for seen in found:
            assert seen.of(changes) == changes

    def test_a_methods_row_and_its_card_say_the_same(self) -> None:
        """Where the row is known and the method is here; the card is read with the published switches, its defaults."""
        from fsseg_bench.registry import find_method, method_names, what_was_seen

        names = {(p.name, n.method, n.backbone): n.name for p in papers() for n in p.numbers}
        known = method_names()
        for paper in papers():
            for (method, backbone), printed in paper.seen.items():
                name = names[paper.name, method, backbone]
                if name not in known or UNKNOWN in printed.seen.of(("transductive", "extra_data")).values():
                    continue
                cls = find_method(name)
                here = what_was_seen(name, "", None, "", vars(cls.Switches()) if cls.Switches else {})
                assert here.transductive == printed.seen.transductive, method
                assert (here.test_time_training == "none") == (printed.seen.test_time_training == "none"), method
                if "released code" not in printed.seen.extra_data:  # what is wrong with that is not done here
                    assert (here.extra_data == "none") == (printed.seen.extra_data == "none"), method

    def test_table_1_marks_what_differs(self) -> None:
        table = paper_table(TABLES["1"], NOTHING, Measured(NOTHING))
        by_name = {(row[0].text, row[1].text): row[1].marks for row in table.rows}
        assert by_name["ResNet-50", "PGNet"] == (LABELS,)
        assert by_name["ResNet-50", "CANet"][1].startswith("extra data: released code stops")
        assert by_name["ResNet-50", "BiOpt"] == (LABELS, OWN)
        assert by_name["ResNet-101", "DAN"] == ("what was seen is not known",)
        assert any(mark.startswith("extra data: unlabelled images") for mark in by_name["ResNet-50", "PPNet"])
        assert MIXED in table.remarks
        cell = table.rows[0][2]
        assert cell.seen is not None and cell.seen["seen_source"] == "authors' code"

    def test_a_collection_is_not_ranked_and_so_not_mixed(self) -> None:
        assert MIXED not in paper_table(TABLES["later:mean"], NOTHING, Measured(NOTHING)).remarks

    def test_a_paper_that_says_nothing_is_not_known(self, tmp_path: Path) -> None:
        (other,) = [p for p in papers(write_paper(tmp_path)) if p.name == "other"]
        table = paper_table(other.tables[0], NOTHING, Measured(NOTHING))
        assert "All rows: what was seen is not known." in table.remarks

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("Mine,ResNet-50,no,x\nMine,ResNet-50,no,x", r"line 3: tells of the row of line 2 again"),
            ("Mine,ResNet-50,maybe,x", r"column transductive: 'maybe' is not allowed; use no, own query, other images"),
            ("Mine,ResNet-50,no,", r"column source_kind: '' is not allowed; use some text"),
            ("Mine,VGG-16,no,x", r"other/numbers\.csv has no row of Mine on VGG-16"),
        ],
    )
    def test_wrong_facts_are_refused(self, tmp_path: Path, text: str, told: str) -> None:
        home = write_paper(tmp_path, seen=f"method,backbone,transductive,source_kind\n{text}\n")
        with pytest.raises(UserError, match=told):
            papers(home)

    def test_what_is_left_out_is_unknown(self, tmp_path: Path) -> None:
        home = write_paper(tmp_path, seen="method,backbone,transductive,source_kind\nMine,ResNet-50,no,paper\n")
        (printed,) = read_seen(home / "other" / "seen.csv").values()
        assert printed.seen == Seen(transductive="no")

    def test_published_and_measured_numbers_of_a_row_each_have_theirs(self, tmp_path: Path) -> None:
        from tests.support.paper import paper_run

        paper_run(tmp_path, method="panet", backbone="vgg16", weights="none")
        found = find_runs(tmp_path)
        table = paper_table(TABLES["1"], found, Measured(found))
        (row,) = [row for row in table.rows if row[1].text == "PANet" and any(cell.runs for cell in row)]
        assert row[1].marks == (f"published number, {LABELS}",)
        by_number = dict(zip(("published", "measured", "difference"), row[table.labels :], strict=False))
        assert by_number["published"].seen is not None and by_number["published"].seen["novel_classes"] == "by labels"
        assert by_number["measured"].seen is not None and by_number["measured"].seen["novel_classes"] == "no"
        assert by_number["difference"].seen is None


def test_of_a_checkpoint_of_unknown_training_no_weights_are_known(tmp_path: Path) -> None:
    write_run(tmp_path, recipe={}, weights="checkpoint", checkpoint_digest="c" * 64)
    (run,) = find_runs(tmp_path).done
    found = seen_of.seen_of_run(run.record)
    assert found == Seen(transductive="no", test_time_training="none", extra_data="none")
