"""A report from Python is the one of the command, shown, saved, or as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import fsseg_bench
from fsseg_bench.cli.report import report
from fsseg_bench.errors import UserError
from tests.support.paper import paper_runs
from tests.support.runs import write_run


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    paper_runs(folder, 40, method="panet", backbone="vgg16")
    paper_runs(folder, 45, method="baseline", backbone="vgg16")
    write_run(folder, method="biopt", status="training")
    return folder


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        ({}, ""),
        ({"tables": 1, "columns": ["measured", "published"]}, "--table 1 --columns published,measured"),
        (
            {"tables": ["runs", "biopt:3"], "method": ["panet", "biopt"]},
            "--table runs --table 3 --method panet --method biopt",
        ),
        (
            {"metric": "binary", "resolution": "native", "per_class": True, "shot": 1},
            "--metric binary --resolution native --per-class --shot 1",
        ),
        (
            {"where": {"recipe.iterations": 100}, "interval": "episodes", "episodes": 5, "dataset": "pascal5i"},
            "--where recipe.iterations=100 --interval episodes --episodes 5 --dataset pascal5i",
        ),
    ],
)
def test_the_text_is_that_of_the_command(root: Path, given: dict[str, Any], arguments: str) -> None:
    made = fsseg_bench.make_report(root=root, **given)
    for form in ("markdown", "latex", "csv", "json"):
        result = CliRunner().invoke(report, ["--results", str(root), "--format", form, *arguments.split()])
        assert result.exit_code == 0, result.output
        assert made.text(form) == result.stdout


def test_a_notebook_shows_the_tables_and_print_does(root: Path) -> None:
    made = fsseg_bench.make_report(root=root)
    assert made._repr_markdown_() == str(made) == made.text("markdown")
    assert "| panet" in str(made)
    assert made.apart == [f"not finished: {next(root.glob('toy/*/*/*')).relative_to(root)} (training)"]
    assert fsseg_bench.make_report(root=root, method="panet").notes == ("5 of 9 runs left out",)


@pytest.mark.parametrize(
    ("name", "begins"), [("t.md", "### "), ("t.tex", "%"), ("t.csv", "table,"), ("t.json", "{"), ("T.HTML", "<!")]
)
def test_the_name_of_a_file_says_what_it_holds(root: Path, tmp_path: Path, name: str, begins: str) -> None:
    fsseg_bench.make_report(root=root).save(tmp_path / name)
    assert (tmp_path / name).read_text().lower().startswith(begins)


def test_a_form_can_be_given_and_others_are_refused(root: Path, tmp_path: Path) -> None:
    made = fsseg_bench.make_report(root=root)
    made.save(tmp_path / "macros.tex", "macros")
    assert (tmp_path / "macros.tex").read_text() == made.text("macros")
    with pytest.raises(UserError, match=r"t\.docx: end the name in \.md, \.tex, \.csv, \.json, \.html"):
        made.save(tmp_path / "t.docx")
    with pytest.raises(UserError, match="columns 'printed': use one of published, measured, difference"):
        fsseg_bench.make_report(root=root, columns=["printed"])  # type: ignore[list-item]
    with pytest.raises(UserError, match="layout 'wide': use one of auto, columns, lines"):
        fsseg_bench.make_report(root=root, layout="wide")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="form 'pdf': use one of markdown, latex"):
        made.save(tmp_path / "t.pdf", "pdf")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="episodes='3' is not a whole number"):
        fsseg_bench.make_report(root=root, episodes="3")  # type: ignore[arg-type]


def test_records_of_which_none_can_be_used_are_named(root: Path) -> None:
    with pytest.raises(UserError, match=r"no usable runs; 8 skipped: .*the first 9999 were asked for; .*; 5 more"):
        fsseg_bench.make_report(root=root / "pascal5i", episodes=9999)
