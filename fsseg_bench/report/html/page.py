"""The frame of the HTML report, and its text, links and foldable parts."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape as escape_html
from pathlib import Path
from string import Template

from fsseg_bench.report.model import printable

METHOD = """
<ul>
<li>The protocol fixes data, folds, image size, void pixels and episodes. Episodes are drawn once, from the
protocol's seed, before any model exists; runs with equal episode digests saw the same ones.</li>
<li>Held-out classes have no training episodes, and no checkpoint is chosen on them: the last training state
is evaluated.</li>
<li>For every episode the confusion counts of its pixels are stored, at the protocol's input size and at the
image's own; void pixels count nowhere. All scores on this page are computed from these counts.</li>
<li>Mean-IoU: counts are summed over a fold's episodes, IoU = TP / (TP + FP + FN) is taken for each held-out
class and averaged over classes, background excluded. Binary-IoU: all foreground pooled, the mean of foreground
and background IoU. A mean over folds is given only where all folds of the protocol
exist.</li>
<li>Intervals: 95 %. Each table's caption says what they are over. Over images and episodes (the default): a two-way
variance, since episodes share query and support images; they say how far the number would move with other test images
of the same kind. Over episodes alone (on request, or where a record does not know its images; a note then says so): a
percentile bootstrap within the class of the query. Neither covers training again.</li>
<li>Only finished runs enter a number, and only while their record is unchanged since they finished.</li>
</ul>
"""
"""How the numbers are made, as HTML."""

_PAGE = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="$policy">
<title>$title</title>
<style>$style</style>
</head>
<body>
<header>
<h1>$title</h1>
$about
<nav aria-label="Parts of this page"><ul>$links</ul></nav>
</header>
<main>
$body
</main>
<script>$script</script>
</body>
</html>
"""
)


def page(title: str, about: str, sections: Sequence[tuple[str, str, str]], style: str = "") -> str:
    """The whole page. Its policy lets nothing in but its own style and script, by their hashes, and pictures in it.

    Args:
        title: plain text.
        about: HTML, below the title.
        sections: name for links, heading in plain text, and body in HTML; those without a body are left out.
        style: further rules of style, CSS.
    """
    shown = [(name, words, body) for name, words, body in sections if body]
    style, script = _own("page.css") + style, _own("page.js")
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    )
    return _PAGE.substitute(
        policy=policy,
        title=escape(title),
        about=about,
        links="".join(f'<li><a href="#{name}">{escape(words)}</a></li>' for name, words, _ in shown),
        body="\n".join(section(name, words, body) for name, words, body in shown),
        style=style,
        script=script,
    )


def _own(name: str) -> str:
    """A file beside this one."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def escape(text: object) -> str:
    """``text`` in one line, as HTML text or attribute value."""
    return escape_html(printable(str(text)), quote=True)


def escape_lines(text: str) -> str:
    """``text`` as HTML, its lines kept."""
    return "\n".join(map(escape, text.split("\n")))


def section(name: str, title: str, body: str) -> str:
    """A part of the page with its heading, plain text; nothing without a ``body``, HTML. Links use ``name``."""
    return f'<section id="{name}"><h2>{escape(title)}</h2>\n{body}\n</section>' if body else ""


def folded(summary: str, body: str, *, opened: bool = False, name: str = "") -> str:
    """A part that opens at a tap on its ``summary``; both are HTML. Links use ``name``."""
    attributes = (f' id="{name}"' if name else "") + (" open" if opened else "")
    return f"<details{attributes}><summary>{summary}</summary>\n{body}\n</details>"
