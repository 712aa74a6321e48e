"""Papers from a folder of the user's: what a table needs, and what a wrong file is told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fsseg_bench.cli.listing import list_
from fsseg_bench.cli.report import report
from fsseg_bench.errors import UserError
from fsseg_bench.paths import folder
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.report.find_papers import find_tables, papers
from fsseg_bench.report.frames.papers import table as frame
from tests.support.fresh import ROOT
from tests.support.paper import paper_runs

TABLE = """
title = "The other paper"
[tables.main]
title = "The other paper, Table 1"
protocols = ["pascal5i"]
metric = "mean"
shots = [1]
"""
HEAD = "method,name,venue,year,backbone,protocol,shot,fold,metric,value,source,source_kind"
ROW = "Mine,baseline,V,2024,ResNet-50,pascal5i,1,{fold},mean,{value},Table 1,paper table"
GOOD = ROW.format(fold=1, value="40.5")


def write_paper(
    home: Path, rows: Sequence[str] = (GOOD,), *, table: str = TABLE, head: str = HEAD, **more: str
) -> Path:
    """A folder of papers that holds ``other``."""
    place = home / "other"
    place.mkdir(parents=True, exist_ok=True)
    (place / "table.toml").write_text(table, encoding="utf-8")
    (place / "numbers.csv").write_text("\n".join([head, *rows, ""]), encoding="utf-8")
    for name, text in more.items():
        (place / f"{name}.csv").write_text(text, encoding="utf-8")
    return home


def shown(*arguments: object) -> str:
    result = CliRunner().invoke(report, [str(a) for a in arguments])
    assert result.exception is None, result.exception
    return result.stdout


def own_protocol(home: Path, folds: int) -> Path:
    """A protocol file beside ``table.toml`` with ``folds`` folds of the classes of PASCAL-5i."""
    text = (folder("protocols") / "pascal5i.toml").read_text(encoding="utf-8")
    classes = load_protocol("pascal5i").classes
    start, end = text.index("[folds]"), text.index("[data]")
    size = len(classes) // folds
    lines = [f"{f + 1} = {list(classes[f * size : (f + 1) * size])}".replace("'", '"') for f in range(folds)]
    text = text[:start] + "\n".join(["[folds]", *lines, "", ""]) + text[end:]
    path = home / "other" / "mine.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text.replace('name = "pascal5i"', 'name = "mine"'), encoding="utf-8")
    return path


def test_a_folder_is_all_that_a_table_needs(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    paper_runs(runs, 40)
    home = write_paper(tmp_path / "papers", [ROW.format(fold=f, value="40.5") for f in (1, 2, 3, 4, "mean")])
    text = shown("--results", runs, "--table", "other:main", "--papers-path", home)
    assert "### The other paper, Table 1" in text
    assert "Published: as The other paper prints it." in text
    assert len([line for line in text.splitlines() if "Mine" in line]) == 3
    assert all(number in text for number in ("40.5", "43.00", "-0.50", "+1.00"))
    assert shown("--results", runs, "--table", "other", "--papers-path", home) == text
    assert text in shown("--results", runs, "--table", "all", "--papers-path", home)
    assert "fsseg@other-main/" in shown("--results", runs, "--table", "other", "--papers-path", home, "--macros")
    assert frame("other:main", runs, papers_path=home).shape == (1, 15)


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "howto" / "add-table.md").read_text(encoding="utf-8")
    blocks = [text for _, text in re.findall(r"```(toml|text)\n(.*?)```", page, re.DOTALL)]
    (tmp_path / "fancynet").mkdir()
    for name, text in zip(("table.toml", "numbers.csv", "seen.csv"), blocks, strict=True):
        (tmp_path / "fancynet" / name).write_text(text)
    assert frame("fancynet:1", papers_path=tmp_path).iloc[0].dropna().tolist() == [55, 65, 60, 50, 57.5]
    (paper,) = [paper for paper in papers(tmp_path) if paper.name == "fancynet"]
    assert paper.seen["FancyNet", "ResNet-50"].seen.transductive == "own query"


def test_listed_with_their_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSSEG_PAPERS_PATH", str(write_paper(tmp_path)))
    lines = CliRunner().invoke(list_, ["tables"]).stdout.splitlines()
    *found, last = (" ".join(line.split()) for line in lines[1:])
    assert "biopt:1 1 BiOpt paper, Table 1: PASCAL-5i, mean-IoU pascal5i mean 160" in found
    assert last == "other:main The other paper, Table 1 pascal5i mean 1"


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ({"shot": "5"}, "1 number stands in no table (shot 5, where table main has 1)."),
        ({"metric": "binary"}, "1 number stands in no table (metric binary, where table main has mean)."),
        ({"name": "baselin"}, "line 2, column name: no method here is called 'baselin'. Did you mean 'baseline'?"),
    ],
)
def test_numbers_in_no_table_and_misspelt_names_are_said(tmp_path: Path, cells: dict[str, str], words: str) -> None:
    home = write_paper(tmp_path, [changed(**cells)])
    assert f"other/numbers.csv: {words}" in shown("--table", "other", "--papers-path", home)
    listed = CliRunner().invoke(list_, ["tables", "--papers-path", str(home)])
    assert listed.stderr.splitlines() == [
        "note: benchmarks/numbers.csv: 5 numbers stand in no table (shot unstated).",
        "note: later/numbers.csv: 12 numbers stand in no table (way 2; protocol coco20i; shot unstated).",
        f"note: other/numbers.csv: {words}",
    ]


@pytest.mark.parametrize("folds", [1, 2, 4, 10])
def test_a_protocol_of_one_s_own(tmp_path: Path, folds: int) -> None:
    protocol = own_protocol(tmp_path / "papers", folds)
    rows = [ROW.format(fold=f, value="50").replace("pascal5i", "mine") for f in (*range(1, folds + 1), "mean")]
    home = write_paper(tmp_path / "papers", rows, table=TABLE.replace("pascal5i", "mine.toml"))
    paper_runs(tmp_path / "runs", 40, protocol=protocol)
    made = frame("other:main", tmp_path / "runs", papers_path=home)
    assert made.index.tolist() == [("ResNet-50", "Mine")]
    last, mean = made.to_numpy()[0, -6:-3], made.to_numpy()[0, -3:]
    assert last.tolist() == pytest.approx([50, 39 + folds, folds - 11])
    assert mean.tolist() == pytest.approx([50, 39.5 + folds / 2, folds / 2 - 10.5])
    (command,) = shown(*("--results", home, "--table", "other", "--papers-path", home, "--commands")).splitlines()
    assert command.startswith(f"fsseg-bench run --method baseline --dataset {protocol} ")


def test_a_protocol_of_which_only_the_name_is_known(tmp_path: Path) -> None:
    table = TABLE.replace('["pascal5i"]', '["elsewhere"]').replace("[tables", 'without_file = ["elsewhere"]\n[tables')
    rows = [ROW.format(fold=f, value=f"{f}0").replace("pascal5i", "elsewhere") for f in range(1, 10)]
    rows.append(ROW.format(fold="mean", value="45").replace("pascal5i", "elsewhere"))
    home = write_paper(tmp_path, rows, table=table)
    text = shown("--table", "other", "--papers-path", home)
    assert "fold 9" in text
    assert "measured" not in text.partition("\n\n")[2].partition("Percent")[0]
    assert "No protocol file of elsewhere is here" in text
    assert "printed 45; its nine folds average 50" in text
    text = shown("--table", "other", "--papers-path", home, "--commands")
    assert text == "# no method or backbone here for: Mine (elsewhere)\n"


def test_errata_of_one_s_own(tmp_path: Path) -> None:
    lines = "table,method,text\nmain,Mine,a misprint\n,,all of it is odd\n"
    home = write_paper(tmp_path, errata=lines)
    text = shown("--table", "other", "--papers-path", home)
    assert "- (a) a misprint" in text
    assert "all of it is odd" in text
    page = shown("--table", "other", "--papers-path", home, "--format", "html")
    assert "<li>other:main, Mine: a misprint</li>" in page
    assert "<li>The other paper: all of it is odd</li>" in page


def changed(**cells: str) -> str:
    return ",".join({**dict(zip(HEAD.split(","), GOOD.split(","), strict=True)), **cells}.values())


def of_table(**cells: str) -> dict[str, Any]:
    """A line that names its table."""
    return {"head": f"table,{HEAD}", "rows": [f"{cells.pop('table', 'main')},{changed(**cells)}"]}


def table(old: str, new: str) -> dict[str, Any]:
    return {"table": TABLE.replace(old, new)}


def head(old: str, new: str) -> dict[str, Any]:
    return {"head": HEAD.replace(old, new)}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (changed(value="abc"), "line 2, column value: 'abc' is not allowed; use a number in percent, 0 to 100"),
        (changed(value="nan"), "line 2, column value: 'nan'"),
        (changed(value="101"), "line 2, column value: '101'"),
        (changed(fold="0"), "line 2, column fold: '0' is not allowed; use a whole number from 1 or mean"),
        (changed(fold="5"), "line 2, column fold: 5 is no fold of pascal5i; use mean or 1, 2, 3, 4"),
        (changed(metric="miou"), "line 2, column metric: 'miou' is not allowed; use mean, binary"),
        (changed(shot="few"), "line 2, column shot: 'few' is not allowed; use a whole number from 1 or unstated"),
        (changed(year=""), "line 2, column year: '' is not allowed; use a whole number from 1"),
        (changed(method=""), "line 2, column method: '' is not allowed; use some text"),
        (changed(source='"a\nb"'), "line 3, column source: 'a\\nb' is not allowed; use text in one line"),
        (changed(protocol="pascal-5i"), "line 2, column protocol: unknown protocol 'pascal-5i'. Did you mean"),
        ("Mine,baseline", "line 2: has 2 cells, and the header has 12; a comma needs quotes"),
        (f"{GOOD}\n{GOOD}", "line 3: gives the number of line 2 again"),
        ('"', "cannot be read: unexpected end of data"),
        (of_table(table="mean"), "line 2, column table: unknown table 'mean'. Did you mean 'main'"),
        (of_table(shot="5"), "line 2, column shot: 5 has no place in table main; use 1, or correct "),
        (of_table(metric="binary"), "line 2, column metric: binary has no place in table main; use mean, or correct "),
        (head("venue", "venu"), "line 1: unknown column 'venu'. Did you mean 'venue'"),
        (head("venue,", ""), "line 1: the columns venue are missing"),
        (head("venue", "year"), "line 1: the column year is there twice"),
        (head(",", ";"), "line 1: unknown column 'method;name"),
        ({"table": "title = x"}, "table.toml: not valid TOML in UTF-8: Invalid value (at line 1, column 9)"),
        (table("metric", "metrik"), "table.toml: unknown key 'tables.main.metrik'. Did you mean"),
        (table('"mean"', '"miou"'), "table.toml: tables.main.metric is "),
        (table("[1]", "[]"), "table.toml: tables.main.shots is"),
        (table("pascal5i", "pascal"), "table.toml: protocols: unknown protocol 'pascal'. Did you mean"),
        (table("pascal5i", "no.toml"), "unknown protocol file 'no.toml'"),
        (table("tables.main", 'tables."a:b"'), "table.toml: 'a:b' cannot name a paper or a table"),
        ({"table": TABLE + 'alias = "1"'}, "table.toml: the name '1' is taken by"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, files: str | dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        papers(write_paper(tmp_path, **({"rows": [files]} if isinstance(files, str) else files)))
    if message.startswith(("line", "cannot")):
        message = f"{tmp_path / 'other' / 'numbers.csv'}: {message}"
    assert message in str(caught.value)


def test_errata_and_folders_that_are_wrong(tmp_path: Path) -> None:
    home = write_paper(tmp_path / "a", errata="table,text\nx,y\n")
    with pytest.raises(UserError, match=r"errata\.csv: line 2, column table: unknown table 'x'"):
        papers(home)
    with pytest.raises(UserError, match=r"holds no folder of a paper.*; give the folder that .*other lies in"):
        papers(home / "other")
    (home / "other" / "numbers.csv").unlink()
    with pytest.raises(UserError, match=r"numbers\.csv: cannot be read: No such file"):
        papers(home)
    (home / "other").rename(home / "later")
    write_paper(tmp_path / "b").joinpath("other").rename(tmp_path / "b" / "later")
    with pytest.raises(UserError, match="the name 'later' is taken by"):
        papers(tmp_path / "b")


def test_a_name_of_several_tables_makes_no_frame() -> None:
    with pytest.raises(UserError, match="biopt means 5 tables: biopt:1, biopt:2"):
        frame("biopt")
    assert [t.full_name for t in find_tables(["5", "biopt:4", "5"], papers())] == ["biopt:4", "biopt:5"]
