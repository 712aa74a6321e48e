"""What controls say, worked out by hand: use, false alarms, shares of the variance; what the command prints."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fsseg_bench.cli.controls import controls
from fsseg_bench.cli.report import report
from fsseg_bench.errors import UserError
from fsseg_bench.records.controls import CONTROLS_FILE
from fsseg_bench.report.controls import Reading, readings
from fsseg_bench.report.make import make_report
from fsseg_bench.report.select import select
from tests.support.controlled import OWN, QUERIES, TABLE, row, write_controlled
from tests.support.packs import packed
from tests.support.runs import write_run


def reading(folder: Path) -> Reading:
    notes, (found,) = readings(select([str(folder)], folder, {}).contenders)
    assert notes == ()
    return found


def test_numbers_by_hand(tmp_path: Path) -> None:
    found = reading(write_controlled(tmp_path))
    own, wrong = (70 / 110 + 50 / 100) / 2, (10 / 100 + 20 / 100) / 2
    assert found.own.value == pytest.approx(100 * own)
    assert found.use.value == pytest.approx(100 * (own - wrong))
    assert found.alarm is not None
    assert found.alarm.value == pytest.approx(80 / 400 * 100)
    assert found.queries_without == 4
    values = {name: number.value for name, number in found.controls.items()}
    assert values == pytest.approx({"wrong": 100 * wrong, "whole": 30, "shifted": 0})
    assert found.refused == {"empty": "NotFiniteError: its logits are not finite"}


def test_shares_of_the_variance_by_hand(tmp_path: Path) -> None:
    """Three queries by three sets in each of two classes, in thirds: the analysis of variance of a textbook."""
    found = reading(write_controlled(tmp_path)).components
    assert found is not None
    first = [[2, 1, 1], [3, 1, 2], [3, 2, 2]]
    second = [[1, 2, 0], [1, 1, 3], [3, 2, 1]]
    rows = columns = rest = 0.0
    for table in (first, second):
        mean = sum(map(sum, table)) / 9
        by_row = [sum(own) / 3 for own in table]
        by_column = [sum(own) / 3 for own in zip(*table, strict=True)]
        rows += 3 * sum((one - mean) ** 2 for one in by_row)
        columns += 3 * sum((one - mean) ** 2 for one in by_column)
        rest += sum((table[i][j] - by_row[i] - by_column[j] + mean) ** 2 for i in range(3) for j in range(3))
    query, support, both = (rows / 4 - rest / 8) / 3, (columns / 4 - rest / 8) / 3, rest / 8
    total = query + support + both
    assert found.total == pytest.approx(total / 9)
    parts = found.query, found.support, found.interaction
    assert [part.share for part in parts] == pytest.approx([query / total, support / total, both / total])


def test_what_cannot_be_told_is_said_so(tmp_path: Path) -> None:
    def sentence(name: str, wrong: list[list[int]]) -> str:
        rows = [row(i, 3 - int(QUERIES[i][0]), "w", counts) for i, counts in enumerate(wrong)]
        return reading(write_controlled(tmp_path / name, wrong=rows)).sentence

    assert "cannot be told from so few (± 375 points)" in sentence("own", OWN)  # six episodes, three draws
    assert "does not use its support: every episode counts alike with a support of another class" in sentence("a", OWN)
    better = [[70, 0, 0, 30], *OWN[1:]]
    assert "whether it uses its support cannot be told: by -" in sentence("b", better)


def test_shares_that_no_number_tells_are_no_cells(tmp_path: Path) -> None:
    write_controlled(tmp_path)
    text = make_report(root=tmp_path, controls=True).text("markdown")
    assert "cannot be told from so few episodes (± 375 points)" in text
    assert "with 3 further draws of supports for each query" in text


def test_a_damaged_file_leaves_its_row_out(tmp_path: Path) -> None:
    path = write_controlled(tmp_path) / CONTROLS_FILE
    path.write_bytes(path.read_bytes().replace(b"[90,10,0,0]", b"[99,1,0,0]"))
    write_controlled(tmp_path / "second", method="biopt")
    made = make_report(root=tmp_path)
    assert "biopt resnet18: uses its support by 41.8" in made.text("html")
    text = make_report(root=tmp_path, controls=True).text("markdown")
    assert "1 of 2 rows are not measured in all folds" in text
    assert "moves it aside and measures again" in text


def test_where_every_row_is_left_out_the_table_still_says_why(tmp_path: Path) -> None:
    path = write_controlled(tmp_path) / CONTROLS_FILE
    path.write_bytes(path.read_bytes().replace(b"[90,10,0,0]", b"[99,1,0,0]"))
    write_controlled(tmp_path / "second", method="biopt", wrong=[{"refused": "NotFiniteError: not finite"}])
    made = make_report(root=tmp_path, controls=True)
    for form in ("markdown", "html", "latex"):
        text = made.text(form)
        assert "moves it aside and measures again" in text
        assert "nothing could be predicted with supports of another class" in text
    assert made.no_controls == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "none were measured for these runs; 'fsseg-bench controls RUN' does"),
        (["--table", "biopt:1"], "they belong to the tables of runs"),
    ],
)
def test_a_report_without_controls_says_why(arguments: list[str], said: str, tmp_path: Path) -> None:
    write_run(tmp_path)
    told = CliRunner().invoke(report, [*arguments, "--results", str(tmp_path), "--controls"])
    assert said in told.stderr
    assert said not in CliRunner().invoke(report, [*arguments, "--results", str(tmp_path)]).stderr


def test_a_method_that_cannot_do_it_leaves_its_row_out(tmp_path: Path) -> None:
    write_controlled(tmp_path, wrong=[{"refused": "NotFiniteError: its logits are not finite"}])
    write_controlled(tmp_path / "second", method="biopt")
    text = make_report(root=tmp_path, controls=True).text("markdown")
    assert "biopt resnet18: uses its support by 41.8" in text
    assert "Left out: baseline resnet18: nothing could be predicted with supports of another class" in text


def test_the_command_prints_what_is_there_already(tmp_path: Path) -> None:
    folder = write_controlled(tmp_path)

    def printed(form: str) -> str:
        told = CliRunner().invoke(controls, [str(folder), "--draws", "3", "--format", form])
        assert told.exit_code == 0, told.output
        return told.stdout

    text = printed("markdown")
    assert text == printed("table")
    assert "uses its support by 41.8" in text
    assert "% foreground where there is none" in text
    assert "A query that shows all classes of its fold has no absent one. Episodes left: baseline 4 of 6." in text
    assert "its logits are not finite" in text
    (method,) = json.loads(printed("json"))["methods"]
    assert method["use"]["value"] == pytest.approx(41.818, abs=1e-3)
    assert (method["empty"], method["whole"]["value"], method["draws"]) == (None, pytest.approx(30), [3, 3])
    numbers = [value for row in csv.DictReader(printed("csv").splitlines()) for value in row.values()]
    assert "20.0" in numbers


def test_of_a_pack_other_draws_cannot_be_measured_here(tmp_path: Path) -> None:
    write_controlled(tmp_path / "runs")
    pack = packed(tmp_path / "runs", tmp_path / "ada.fsseg.zip", by="Ada")
    told = CliRunner().invoke(controls, [str(pack), "--draws", "3"])
    assert "uses its support by 41.8" in told.stdout
    assert "the pack of Ada holds controls of 3 draws: give --draws 3" in str(
        CliRunner().invoke(controls, [str(pack)]).exception
    )


def test_reports_have_it_on_request_and_pages_in_any_case(tmp_path: Path) -> None:
    write_controlled(tmp_path)
    write_run(tmp_path, table=TABLE, episodes=[((int(q[0]),), (60, 10, 10, 20)) for q in QUERIES], method="biopt")
    assert "controls" not in make_report(root=tmp_path).text("markdown")
    text = make_report(root=tmp_path, controls=True).text("markdown")
    assert "baseline resnet18: uses its support by 41.8" in text
    assert "1 of 2 rows are not measured in all folds: 'fsseg-bench controls' does." in text
    assert "uses its support by 41.8" in make_report(root=tmp_path).text("html")
    with pytest.raises(UserError, match="--controls counts whole runs: leave --episodes out"):
        make_report(root=tmp_path, controls=True, episodes=3)


def test_runs_without_controls_are_named(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    with pytest.raises(UserError, match=rf"{folder}: its controls were not measured; 'fsseg-bench controls "):
        reading(folder)
