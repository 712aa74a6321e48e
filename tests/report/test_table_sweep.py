"""The sweep that fills a paper's table has its rows, all of them and no other."""

from __future__ import annotations

import csv
import tomllib
from pathlib import Path

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.nn.catalogue import backbone_names
from fsseg_bench.paths import folder
from fsseg_bench.protocol.find import builtin_protocols
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.registry import method_names
from fsseg_bench.report.commands import Installation
from fsseg_bench.report.find_papers import papers
from fsseg_bench.report.table_sweep import table_sweep
from fsseg_bench.sweeps.expand import expand
from fsseg_bench.sweeps.spec import parse_spec, read_spec

HERE = Installation(method_names(), backbone_names())
TABLES = [(paper.name, table.name) for paper in papers() for table in paper.tables]

Key = tuple[str, str, str, int]
"""Protocol, method, backbone, shot."""


def printed(paper: str, table: str) -> set[Key]:
    """The rows of a table that can be made, read from its files by a reader of its own."""
    home = folder("results/published") / paper
    said = tomllib.loads((home / "table.toml").read_text(encoding="utf-8"))["tables"][table]
    known = {name.replace("-", ""): name for name in HERE.backbones}
    found = set()
    with (home / "numbers.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            backbone = known.get(row["backbone"].lower().replace("-", ""))
            fits = (
                row.get("table", "") in {"", table}
                and row["protocol"] in said["protocols"]
                and row["metric"] == said["metric"]
                and row.get("way", "1") == "1"
                and row["shot"].isdecimal()
                and int(row["shot"]) in said["shots"]
                and (said.get("folds", True) or row["fold"] == "mean")
            )
            if fits and row["name"] in HERE.methods and backbone and row["protocol"] in builtin_protocols():
                found.add((row["protocol"], row["name"], backbone, int(row["shot"])))
    return found


MADE = [pair for pair in TABLES if printed(*pair)]
"""Tables of which something can be made here."""


@pytest.mark.parametrize(("paper", "table"), MADE)
def test_the_cells_are_the_printed_rows(paper: str, table: str) -> None:
    text = table_sweep(paper, table, HERE)
    spec = parse_spec(tomllib.loads(text), f"{paper}-{table}.toml")
    expanded = expand(spec)
    keys = [
        (cell.options["dataset"], cell.options["method"], cell.options["backbone"], cell.options["shot"])
        for cell in expanded.cells
    ]
    wanted = printed(paper, table)
    assert set(keys) == wanted
    assert expanded.notes == ()
    variants = 2 if (paper, table) == ("biopt", "5") else 1  # each row at one query scale and at several
    assert len(keys) == variants * sum(len(load_protocol(key[0]).folds) for key in wanted)
    assert f"# {len(keys)} cells for each training seed" in text


def test_a_table_by_hand() -> None:
    """BiOpt's ablation: three rows of one shot; BiOpt itself is seen at several scales, as in its other tables."""
    spec = parse_spec(tomllib.loads(table_sweep("biopt", "4", HERE)))
    assert spec.name == "biopt-4"
    common = {"dataset": ("pascal5i",), "backbone": ("resnet50",), "shot": (1,)}
    assert spec.also == (
        {**common, "method": ("baseline", "inopt-dagger")},
        {**common, "method": ("biopt",), "scales": ((0.7, 1.0, 1.3),)},
    )


def test_all_tables_of_the_paper_can_be_made() -> None:
    assert {*(("biopt", n) for n in "12345"), ("later", "mean"), ("later", "binary")} <= {*MADE}


@pytest.mark.parametrize(("paper", "table"), [pair for pair in TABLES if pair not in MADE])
def test_a_table_of_which_nothing_can_be_made(paper: str, table: str) -> None:
    with pytest.raises(UserError, match=f"{paper}:{table}: none of its rows can be made here; it has "):
        table_sweep(paper, table, HERE)


def test_what_cannot_be_made_is_named(tmp_path: Path) -> None:
    text = table_sweep("biopt", "2", Installation(("panet", "biopt"), ("vgg16", "resnet50")))
    comment = " ".join(line.removeprefix("# ") for line in text.partition("\nname")[0].splitlines())
    told = comment.partition("Not made, since there is no such method, backbone or protocol here: ")[2].rstrip(".")
    assert set(told.split(", ")) == {
        *("PPNet (ResNet-50)", "BiOpt (ResNet-101)", "FWB (VGG-16)", "RPMMs (ResNet-50)", "FWB (ResNet-101)"),
    }
    assert "data_root" in text
    path = tmp_path / "any.toml"
    path.write_text(text, encoding="utf-8")
    spec = read_spec(path)
    assert {method for lists in spec.also for method in lists["method"]} == {"panet", "biopt"}
    # what is commented out is understood, too
    whole = "\n".join(
        line.removeprefix("# ") if " = " in line or line.startswith("# [") else line for line in text.splitlines()
    )
    path.write_text(whole, encoding="utf-8")
    spec = read_spec(path)
    assert (spec.cell.gpus, spec.cell.retries, spec.slurm["at_once"]) == (1, 2, 16)
    assert spec.common == {"data_root": "...", "seed": 0}


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(UserError, match="unknown table 'biopt:9'"):
        table_sweep("biopt", "9", HERE)
