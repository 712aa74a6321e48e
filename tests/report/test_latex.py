import shutil
import subprocess
from pathlib import Path

import pytest

from fsseg_bench.report.latex import escape, to_latex
from fsseg_bench.report.model import Cell, Column, Table
from tests.report.test_markdown import HOSTILE

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
        == r"""% needs \usepackage{booktabs} and \usepackage{graphicx}
\begin{table}
\centering
\caption{T\_1. Percent: 95 \%.}
\label{tab:runs-a-b-c-1-}
\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%
\begin{tabular}{llrrrr}
\toprule
\multicolumn{2}{c}{} & \multicolumn{2}{c}{1-shot} & \multicolumn{2}{c}{5-shot} \\
\cmidrule(lr){3-4} \cmidrule(lr){5-6}
method & backbone & fold 1 & mean & fold 1 & mean \\
\midrule
panet & r18 & 58.33 $\pm$ 1.20 & -\textsuperscript{a} & - & -\textsuperscript{b} \\
\bottomrule
\end{tabular}}
\par\smallskip\footnotesize \textsuperscript{a}\,1 of 4 folds; \textsuperscript{b}\,a\_b\%
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


@pytest.mark.slow
def test_it_compiles(tmp_path: Path):
    engine = shutil.which("pdflatex") or shutil.which("lualatex") or shutil.which("xelatex")
    if engine is None:
        pytest.skip("no LaTeX engine is installed")
    body = to_latex(table(*HOSTILE, "InOpt†", "*", "[1]"))
    document = "\\documentclass{article}\n\\usepackage{booktabs}\n\\usepackage{graphicx}\n\\begin{document}\n"
    (tmp_path / "t.tex").write_text(document + body + "\\end{document}\n", encoding="utf-8")
    done = subprocess.run(
        [engine, "-interaction=nonstopmode", "-halt-on-error", "t.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
