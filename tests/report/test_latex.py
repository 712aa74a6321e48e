from pathlib import Path

import pytest

from fsseg_bench.report.blocks import Measured
from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.latex import escape, to_latex, to_macros
from fsseg_bench.report.model import Cell, Column, Layout, Table, arranged
from fsseg_bench.report.paper import paper_table
from tests.report.test_text import HOSTILE
from tests.support.latex import compiled
from tests.support.paper import BIOPT, NOTHING, TABLES, paper_runs

COLUMNS = (
    Column(("", "method")),
    Column(("", "backbone")),
    *(Column((f"{shot}-shot", head)) for shot in (1, 5) for head in ("fold 1", "mean")),
)


def table(*names: str) -> Table:
    cells = (Cell("58.33 ± 1.20", 58.33, 57.0, 59.4), Cell("-", note="1 of 4 folds"), Cell("-"), Cell("-", note="a_b%"))
    return Table(
        "runs-a_b[c=1]", "T_1", "Percent: 95 %.", COLUMNS, 2, tuple((Cell(n), Cell("r18"), *cells) for n in names)
    )


def test_the_whole_text():
    assert (
        to_latex(table("panet"))
        == r"""% needs \usepackage{booktabs}
\begin{table}
\centering
\caption{T\_1. Percent: 95 \%.}
\label{tab:runs-a-b-c-1-}\par\smallskip
\small\setlength{\tabcolsep}{3pt}
\begin{tabular}{@{}llrrrr@{}}
\toprule
\multicolumn{2}{c}{} & \multicolumn{2}{c}{1-shot} & \multicolumn{2}{c}{5-shot} \\
\cmidrule(lr){3-4} \cmidrule(lr){5-6}
method & backbone & fold 1 & mean & fold 1 & mean \\
\midrule
panet & r18 & 58.33\,{\scriptsize$\pm$1.20} & -\textsuperscript{a} & - & -\textsuperscript{b} \\
\bottomrule
\end{tabular}
\par\medskip
\begin{minipage}{\linewidth}\footnotesize\raggedright
\textsuperscript{a}\,1 of 4 folds; \textsuperscript{b}\,a\_b\%\par
\end{minipage}
\end{table}
"""
    )


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a_b%", r"a\_b\%"),
        ("$&#{}", r"\$\&\#\{\}"),
        ("~^\\", r"\textasciitilde{}\textasciicircum{}\textbackslash{}"),
        ("<script>", r"\textless{}script\textgreater{}"),
        ("[x]*", "{[}x]{*}"),
        ("\\input{/etc/passwd}", r"\textbackslash{}input\{/etc/passwd\}"),
        ("a\nb\x1b", "a b?"),
    ],
)
def test_escapes(text: str, written: str):
    assert escape(text) == written


def test_one_level_of_headings_needs_no_rules():
    text = to_latex(Table("t", "T", "C", (Column(("a",)), Column(("b",))), 2, ((Cell("1"), Cell("2")),)))
    assert "multicolumn" not in text
    assert "cmidrule" not in text
    assert "\\toprule\na & b \\\\\n\\midrule\n" in text


def merged() -> Table:
    columns = (Column(("split",), merge=True), Column(("backbone",), merge=True), Column(("m",)), Column(("x",)))
    rows = ("A V p", "A V q", "A R p", "B R p", "B R q")
    numbers = (Cell("1.00 ± 0.10", 1.0, rank=1), Cell("0.50", 0.5, rank=2), *(Cell("-", note="n") for _ in range(3)))
    cells = tuple((*map(Cell, row.split()), number) for row, number in zip(rows, numbers, strict=True))
    return Table("t", "T", "C.", columns, 3, cells, remarks=("All & any.",))


def test_equal_headings_are_one_cell_and_ranks_are_marked():
    lines = to_latex(merged()).splitlines()
    start = lines.index(r"\midrule") + 1
    assert lines[start : lines.index(r"\bottomrule")] == [
        r"\multirow{3}{*}{A} & \multirow{2}{*}{V} & p & \textbf{1.00}\,{\scriptsize$\pm$0.10} \\",
        r" &  & q & \underline{0.50} \\",
        r"\addlinespace[2pt]",
        r" & R & p & -\textsuperscript{a} \\",
        r"\midrule",
        r"\multirow{2}{*}{B} & \multirow{2}{*}{R} & p & -\textsuperscript{a} \\",
        r" &  & q & -\textsuperscript{a} \\",
    ]
    assert r"\caption{T. C. Bold: best of column and backbone, underlined: second; no significance" in "\n".join(lines)
    assert r"\providecommand{\multirow}[3]{#3}" in lines
    assert lines[-4:-2] == [r"All \& any.\par", r"\textsuperscript{a}\,n\par"]


def test_headings_are_shared_under_one_heading_only():
    """The mean of 1-shot and the mean of 5-shot are neighbours, and two things."""
    heads = [("1-shot", "mean", "p"), ("1-shot", "mean", "m"), ("5-shot", "mean", "p"), ("5-shot", "mean", "m")]
    lines = to_latex(Table("t", "T", "C", tuple(map(Column, heads)), 0, ())).splitlines()
    assert r"\multicolumn{2}{c}{mean} & \multicolumn{2}{c}{mean} \\" in lines
    assert lines.count(r"\cmidrule(lr){1-2} \cmidrule(lr){3-4}") == 2


def test_headings_of_three_levels_get_rules_between_the_first_two():
    columns = (*(Column((name,), merge=True) for name in "abc"), Column(("x",)))
    rows = tuple(tuple(map(Cell, row.split())) for row in ("A V p 1", "A R p 1", "A R p 2", "A R q 1", "B R q 1"))
    lines = to_latex(Table("t", "T", "C.", columns, 3, rows)).splitlines()
    assert [line for line in lines if "rule" in line or "space" in line][2:-1] == [
        r"\cmidrule(l){2-4}", r"\addlinespace[2pt]", r"\midrule",
    ]  # fmt: skip


@pytest.mark.slow
def test_hostile_names_compile(tmp_path: Path):
    output = compiled(tmp_path, [to_latex(table(*HOSTILE, "InOpt†", "*", "[1]")), to_latex(merged())])
    assert "Overfull" not in output


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["columns", "lines"])
def test_the_paper_s_tables_compile_and_fit(tmp_path: Path, layout: Layout):
    paper_runs(tmp_path / "runs", 40, method="panet", backbone="vgg16")
    found = find_runs(tmp_path / "runs")
    tables = [paper_table(t, found, Measured(found)) for t in TABLES.values()]
    output = compiled(tmp_path, [to_latex(arranged(t, layout)) for t in tables])
    assert "Overfull" not in output


def numbers(*names: str) -> Table:
    columns = (Column(("", "method")), Column(("1-shot", "mean")))
    return Table("t", "T", "C", columns, 1, tuple((Cell(name), Cell("58.33 ± 1.20", 58.33)) for name in names))


def test_one_macro_a_number() -> None:
    lines = to_macros([numbers("InOpt†", "a b\\{%", "PANet*")]).splitlines()
    assert lines[4:-1] == [
        r"\@namedef{fsseg@t/InOpt+/1-shot/mean}{58.33 $\pm$ 1.20}",
        r"\@namedef{fsseg@t/a-b---/1-shot/mean}{58.33 $\pm$ 1.20}",
        r"\@namedef{fsseg@t/PANet-/1-shot/mean}{58.33 $\pm$ 1.20}",
    ]
    assert lines[1] == r"\makeatletter"
    assert lines[-1] == r"\makeatother"


def test_macros_have_a_minus_for_negative_numbers() -> None:
    row = (
        Cell("a-1"),
        Cell("-0.02 to +0.07", low=-0.02, high=0.07),
        Cell("-5.30", -5.3),
        Cell("<0.001", 0.0),
        Cell("-"),
    )
    columns = tuple(Column((name,)) for name in ("method", "interval", "difference", "p", "mean"))
    lines = to_macros([Table("t", "T", "C", columns, 1, (row,))]).splitlines()[4:-1]
    assert lines == [
        r"\@namedef{fsseg@t/a-1/interval}{$-$0.02 to +0.07}",
        r"\@namedef{fsseg@t/a-1/difference}{$-$5.30}",
        r"\@namedef{fsseg@t/a-1/p}{$<$0.001}",
        r"\@namedef{fsseg@t/a-1/mean}{-}",
    ]


def test_equal_names_are_numbered() -> None:
    lines = to_macros([numbers("a", "a"), numbers("a")]).splitlines()[4:-1]
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
    macros = to_macros([paper_table(BIOPT["1"], NOTHING, Measured(NOTHING)), numbers("x±y")])
    (tmp_path / "numbers.tex").write_text(macros, encoding="utf-8")
    log = r"\typeout{VALUE \fsseg{table-1/ResNet-50/BiOpt/1-shot/mean/published}}"
    said = compiled(tmp_path, [rf"{log} \fsseg{{t/x-y/1-shot/mean}}"], "\\input{numbers}\n")
    assert "VALUE 56.85" in said
    with pytest.raises(AssertionError, match="unknown number t/other"):
        compiled(tmp_path, [r"\fsseg{t/other}"], "\\input{numbers}\n")
