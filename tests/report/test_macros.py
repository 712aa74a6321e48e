from pathlib import Path

import pytest

from fsseg_bench.report.blocks import Measured
from fsseg_bench.report.collect import Collection
from fsseg_bench.report.latex import to_macros
from fsseg_bench.report.model import Cell, Column, Table
from fsseg_bench.report.paper import paper_table
from tests.support.latex import compiled
from tests.support.paper import BIOPT

NOTHING = Collection(Path(), (), (), ())


def table(*names: str) -> Table:
    columns = (Column(("", "method")), Column(("1-shot", "mean")))
    return Table("t", "T", "C", columns, 1, tuple((Cell(name), Cell("58.33 ± 1.20", 58.33)) for name in names))


def test_one_macro_a_number() -> None:
    lines = to_macros([table("InOpt†", "a b\\{%", "PANet*")]).splitlines()
    assert lines[4:-1] == [
        r"\@namedef{fsseg@t/InOpt+/1-shot/mean}{58.33 $\pm$ 1.20}",
        r"\@namedef{fsseg@t/a-b---/1-shot/mean}{58.33 $\pm$ 1.20}",
        r"\@namedef{fsseg@t/PANet-/1-shot/mean}{58.33 $\pm$ 1.20}",
    ]
    assert lines[1] == r"\makeatletter"
    assert lines[-1] == r"\makeatother"


def test_equal_names_are_numbered() -> None:
    lines = to_macros([table("a", "a"), table("a")]).splitlines()[4:-1]
    names = [line.split("@")[2].split("}")[0] for line in lines]
    assert names == ["t/a/1-shot/mean", "t/a/1-shot/mean/2", "t/a/1-shot/mean/3"]


def test_every_number_of_the_paper_has_its_own() -> None:
    tables = [paper_table(t, NOTHING, Measured(NOTHING)) for t in BIOPT.values()]
    lines = [line for line in to_macros(tables).splitlines() if line.startswith(r"\@namedef")]
    assert len(lines) == 3 * 327 == len({line.split("{")[1] for line in lines})
    assert r"\@namedef{fsseg@table-1/ResNet-50/BiOpt/1-shot/mean/published}{56.85}" in lines
    assert not [line for line in lines if line.split("}")[0].endswith("/2")]


@pytest.mark.slow
def test_prose_can_use_them_and_a_wrong_name_is_an_error(tmp_path: Path) -> None:
    macros = to_macros([paper_table(BIOPT["1"], NOTHING, Measured(NOTHING)), table("x±y")])
    (tmp_path / "numbers.tex").write_text(macros, encoding="utf-8")
    log = r"\typeout{VALUE \fsseg{table-1/ResNet-50/BiOpt/1-shot/mean/published}}"
    said = compiled(tmp_path, [rf"{log} \fsseg{{t/x-y/1-shot/mean}}"], "\\input{numbers}\n")
    assert "VALUE 56.85" in said
    with pytest.raises(AssertionError, match="unknown number t/other"):
        compiled(tmp_path, [r"\fsseg{t/other}"], "\\input{numbers}\n")
