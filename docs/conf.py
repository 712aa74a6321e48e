"""How Sphinx builds the documentation; ``make docs`` treats each warning as an error."""

from __future__ import annotations

import fsseg_bench

project = "fsseg-bench"
author = "The fsseg-bench authors"
copyright = author
version = release = fsseg_bench.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = f"fsseg-bench {version}"
exclude_patterns = ["_build"]

myst_fence_as_directive = ["math"]  # ```math as on GitHub
myst_heading_anchors = 3  # links like page.md#heading lead somewhere
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
