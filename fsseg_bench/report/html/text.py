"""Text, links and names of the page."""

from __future__ import annotations

import hashlib
from html import escape as escape_html

from fsseg_bench.report.model import printable


def escape(text: object) -> str:
    """``text`` in one line, as HTML text or attribute value."""
    return escape_html(printable(str(text)), quote=True)


def escape_lines(text: str) -> str:
    """``text`` as HTML, its lines kept."""
    return "\n".join(map(escape, text.split("\n")))


def anchor(path: str) -> str:
    """The fragment of a run's part of the page: different for different paths, whatever characters they have."""
    return f"run-{hashlib.sha256(path.encode()).hexdigest()[:12]}"


def section(name: str, title: str, body: str) -> str:
    """A part of the page with its heading; nothing where there is nothing to show.

    Args:
        name: the fragment that links use.
        title: plain text.
        body: HTML.
    """
    return f'<section id="{name}"><h2>{escape(title)}</h2>\n{body}\n</section>' if body else ""


def folded(summary: str, body: str, *, opened: bool = False, name: str = "") -> str:
    """A part that opens at a tap.

    Args:
        summary: HTML that is always seen.
        body: HTML.
        opened: whether it is open at first.
        name: the fragment that links use.
    """
    attributes = (f' id="{name}"' if name else "") + (" open" if opened else "")
    return f"<details{attributes}><summary>{summary}</summary>\n{body}\n</details>"
