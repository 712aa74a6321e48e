"""The fixed parts of the HTML report."""

from __future__ import annotations

from string import Template

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8881; }
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 75rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.25rem; margin: 2rem 0 .5rem; }
h4 { margin: 1rem 0 .25rem; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; white-space: nowrap; }
thead th { border-bottom: 1px solid var(--line); }
thead th[scope=colgroup] { text-align: center; }
tbody tr:nth-child(even) { background: var(--soft); }
th[scope=row], th.label { text-align: left; font-weight: 600; }
tbody th:first-child { position: sticky; left: 0; background: Canvas; }
small { opacity: .75; }
.caption, .notes, figcaption { font-size: .9rem; opacity: .85; }
.notes { list-style: none; padding: 0; }
details { border-top: 1px solid var(--line); padding: .5rem 0; }
summary { cursor: pointer; overflow-wrap: anywhere; }
figure { margin: 1rem 0; } img { height: auto; min-width: 26rem; max-width: none; width: 100%; display: block; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; }
dt { font-weight: 600; } dd { margin: 0; overflow-wrap: anywhere; }
pre { overflow-x: auto; background: var(--soft); padding: .5rem; font-size: .8rem; }
li, p { overflow-wrap: anywhere; }
"""

_METHOD = """
<ul>
<li>The protocol fixes data, folds, image size, void pixels and episodes. Episodes are drawn once, from the
protocol's seed, before any model exists; runs with equal episode digests saw the same ones.</li>
<li>Held-out classes have no training episodes, and no checkpoint is chosen on them: the last training state
is evaluated.</li>
<li>For every episode the confusion counts of its pixels are stored, at the protocol's input size and at the
image's own; void pixels count nowhere. All scores on this page are computed from these counts.</li>
<li>Mean-IoU: counts are summed over a fold's episodes, IoU = TP / (TP + FP + FN) is taken for each held-out
class and averaged over classes, background excluded. Binary-IoU: all foreground pooled, the mean of foreground
and background IoU. A mean over folds is given only where all four exist.</li>
<li>Intervals: 95 %, percentile bootstrap over episodes, resampled within the class of the query, 2,000
resamples. They say how much the number depends on the episodes drawn, not on training again.</li>
<li>Only finished runs enter a number, and only while their record is unchanged since they finished.</li>
</ul>
"""
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
<p class="caption">Made $when from the records of runs.</p>
$tables
$skipped
$pictures
<section><h2>How each number was made</h2>
{_METHOD}
</section>
<section><h2>Runs</h2>
$runs
</section>
</main>
</body>
</html>
"""
)
"""The page; its fields are HTML."""
