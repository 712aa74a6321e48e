"""The fixed parts of the HTML report, and its text, links and foldable parts."""

from __future__ import annotations

from html import escape as escape_html
from string import Template

from fsseg_bench.report.model import printable

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8882; }
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
main { max-width: 75rem; margin: 0 auto; padding: 1rem 1rem 4rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.3rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1.05rem; margin: 1rem 0 .25rem; } h4 { font-size: .95rem; margin: 1rem 0 .25rem; }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .25rem 1rem; }
nav a { display: inline-block; padding: .25rem 0; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; overflow-wrap: normal; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap; vertical-align: baseline; }
thead th { border-bottom: 1px solid var(--line); vertical-align: bottom; }
thead th:not(.label) { white-space: normal; overflow-wrap: break-word; max-width: 11rem; }
thead th[scope=colgroup] { text-align: center; }
tbody tr { border-top: 1px solid var(--soft); }
tbody th { text-align: left; font-weight: 400; }
tbody th.long { white-space: normal; overflow-wrap: break-word; min-width: 12rem; max-width: 16rem; }
tbody th.stick { font-weight: 600; white-space: normal; overflow-wrap: break-word; }
th.label { text-align: left; }
th.stick { position: sticky; left: 0; z-index: 1; background: Canvas; min-width: 6rem; max-width: 40vw; }
small { opacity: .75; }
td[tabindex] { cursor: help; }
td[tabindex]:hover, td[tabindex]:focus { background: var(--soft); }
.tip { display: none; position: fixed; z-index: 9; inset: auto 0 0 0; max-height: 50vh; overflow: auto;
  padding: .75rem 1rem; text-align: left; white-space: normal; overflow-wrap: anywhere; font-size: .9rem;
  background: Canvas; color: CanvasText; border-top: 2px solid var(--line); box-shadow: 0 -4px 16px #0004; }
td:hover > .tip, td:focus > .tip, td:focus-within > .tip { display: block; }
td:hover > .tip { z-index: 10; }
.tip i { opacity: .75; font-size: .8rem; }
.caption, .notes, figcaption, .key { font-size: .9rem; opacity: .85; }
.notes, .key { list-style: none; padding: 0; }
.swatch { display: inline-block; width: 1.75rem; border-top: 3px; vertical-align: middle; margin-right: .5rem; }
details { border-top: 1px solid var(--line); padding: .5rem 0; }
details:target > summary { background: var(--soft); font-weight: 600; }
summary { cursor: pointer; padding: .25rem 0; }
figure { margin: 1rem 0; } img { height: auto; min-width: 26rem; max-width: none; width: 100%; display: block; }
svg { display: block; width: 100%; max-width: 45rem; height: auto; } svg text { font-size: 12px; fill: currentColor; }
.grid { stroke: currentColor; stroke-opacity: .2; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; } dt { font-weight: 600; }
dd { margin: 0; }
@media (max-width: 40rem) {
  dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; }
  table { font-size: .85rem; } th, td { padding: .25rem .35rem; }
  tbody th { white-space: normal; min-width: 3.2rem; max-width: 5.5rem; overflow-wrap: break-word; }
  th.stick { min-width: 4.5rem; }
}
pre { overflow-x: auto; background: var(--soft); padding: .5rem; font-size: .8rem; }
@media print { .tip { display: none !important; } .scroll { overflow: visible; } }
"""

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

PAGE = Template(
    f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>$title</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>$title</h1>
<p class="caption">$about Point at a number or tap it: its interval, episodes and settings appear below.</p>
<nav><ul>$links</ul></nav>
$body
</main>
</body>
</html>
"""
)
"""The page; its fields are HTML."""


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
