"""How Sphinx builds the documentation; ``make docs`` treats each warning as an error."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

import fsseg_bench

project = "fsseg-bench"
author = "The fsseg-bench authors"
copyright = author
version = release = fsseg_bench.__version__

extensions = [
    "myst_nb",  # Markdown, and the notebooks as they were executed by the tests
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinx_design",
]
html_theme = "furo"
html_title = f"fsseg-bench {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
exclude_patterns = ["_build", "jupyter_execute"]

nb_execution_mode = "off"
nb_render_markdown_format = "gfm"
myst_enable_extensions = ["colon_fence"]
myst_fence_as_directive = ["math"]  # ```math as on GitHub
myst_heading_anchors = 3  # links like page.md#heading lead somewhere
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
copybutton_exclude = ".linenos, .gp, .go"


def _escape(_app: object, _ctx: object, lines: list[str]) -> None:
    """Patterns like ``photos/**/*.jpg`` and ``instances_*.json`` in the help of a command are no markup."""
    lines[:] = [re.sub(r"(?<=\w)_(?=\W)|\*", r"\\\g<0>", line) for line in lines]


def setup(app: Sphinx) -> None:
    """Lets :func:`_escape` see each part of a command's help."""
    for part in ("description", "usage", "options", "arguments", "epilog"):
        app.connect(f"sphinx-click-process-{part}", _escape)
