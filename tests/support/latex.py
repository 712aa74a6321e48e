"""Compiles LaTeX where an engine is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from fsseg_bench.report.latex import PACKAGES


def compiled(folder: Path, bodies: Sequence[str], preamble: str = "") -> str:
    """What the engine says of a document with ``bodies``, a page for each float; fails when it does not compile."""
    engine = shutil.which("pdflatex") or shutil.which("lualatex") or shutil.which("xelatex")
    if engine is None:
        pytest.skip("no LaTeX engine is installed")
    packages = "".join(f"\\usepackage{{{name}}}\n" for name in PACKAGES)
    text = re.sub(r"\\end\{table\*?\}", r"\g<0>\\clearpage", "\n\\clearpage\n".join(bodies))
    document = f"\\documentclass{{article}}\n{packages}{preamble}\\begin{{document}}\n{text}\\end{{document}}\n"
    (folder / "t.tex").write_text(document, encoding="utf-8")
    done = subprocess.run(
        [engine, "-interaction=nonstopmode", "-halt-on-error", "t.tex"],
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout
