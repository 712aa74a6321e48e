"""What the page says first: which method is better, and whether that is certain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fsseg_bench.protocol.statistics import Metric
from fsseg_bench.report.collect import Collection
from fsseg_bench.report.html.dots import Mark, Palette, Scale, axis, row, sign
from fsseg_bench.report.html.page import escape, folded
from fsseg_bench.report.html.pairs import Pair
from fsseg_bench.report.html.printed import Printed
from fsseg_bench.report.html.sentences import about, certainty, sentence
from fsseg_bench.report.html.standing import Contest
from fsseg_bench.report.html.words import number, to
from fsseg_bench.report.intervals import image_remarks
from fsseg_bench.report.seen import differences, seen_of_row
from fsseg_bench.report.table import training_remarks
from fsseg_bench.report.words import METRIC_NAMES

_MOST = 8  # differences in sight; the others are behind a line that says how many
_FEW = 3  # other pairs that are in sight at once
_STATES = {
    "shown": ("yes", "shown"),
    "corrected": ("part", "not after correction"),
    "open": ("no", "not shown"),
}


def verdict_html(
    contest: Contest,
    collection: Collection,
    title: str,
    metric: Metric,
    printed: Mapping[int, Sequence[Printed]],
    palette: Palette,
    *,
    folds: bool = False,
    opened: bool = True,
) -> str:
    """One contest: the answer, the ranking, the differences from the best, and what else must be known.

    Args:
        contest: what is ranked.
        collection: the runs that it is among.
        title: plain text.
        metric: of the scores.
        printed: by place the published numbers of an entrant.
        palette: the page's colours.
        folds: whether the contest is behind its title.
        opened: whether it is open then.
    """
    head = f"<h3>{escape(title)}</h3>"
    body = [
        _answer(contest, metric),
        '<div class="two">',
        _ranking(contest, metric, printed, palette),
        _differences(contest),
        "</div>",
        f'<p class="caption">{escape(about(contest))}</p>',
        _every_pair(contest),
        _remarks(contest, collection),
    ]
    text = "".join(body)
    return folded(f"{head} {_short(contest)}", text, opened=opened) if folds else head + text


def _short(contest: Contest) -> str:
    """The answer beside a title, HTML."""
    if len(contest.standings) == 1:
        return ""
    sure, _ = certainty(contest)
    words = {"yes": "certain", "part": "certain in part", "no": "not certain"}[sure]
    return f'<span class="short {sure}">{escape(contest.name(0))} <span class="badge">{words}</span></span>'


def _answer(contest: Contest, metric: Metric) -> str:
    best = f"<strong>{escape(contest.name(0))}</strong>"
    score = f"{number(contest.standings[0].value)} % {METRIC_NAMES[metric]}"
    if len(contest.standings) == 1:
        return f'<p class="lead">Only {best} was measured here: {score}. There is nothing to compare it with.</p>'
    sure, words = certainty(contest)
    highest = "" if sure == "yes" else " is highest"
    return (
        f'<p class="lead"><span>Which is better?</span> {best}{highest}, with {score}.</p>'
        f'<p class="lead"><span>Is that certain?</span> <strong class="{sure}">{words}</p>'
    )


def _ranking(contest: Contest, metric: Metric, printed: Mapping[int, Sequence[Printed]], palette: Palette) -> str:
    scale = Scale.around(
        value
        for i, s in enumerate(contest.standings)
        for value in (s.value, s.low, s.high, *s.trainings, *(own.value for own in printed.get(i, ())))
        if value is not None
    )
    items = "".join(_place(contest, i, scale, printed.get(i, ()), palette) for i in range(len(contest.standings)))
    unit = f"{METRIC_NAMES[metric]}, percent"
    notes = [own.words for i in range(len(contest.standings)) for own in printed.get(i, ())]
    key = f'<p class="caption"><span class="ticked"></span> published: {escape("; ".join(notes))}</p>' if notes else ""
    return (
        f'<section class="half"><h4>Ranking</h4><ol class="rank">{items}'
        f'<li class="scale"><span class="plot">{axis(scale, unit)}</span></li></ol>{key}</section>'
    )


def _place(contest: Contest, i: int, scale: Scale, printed: Sequence[Printed], palette: Palette) -> str:
    standing = contest.standings[i]
    entrant = standing.entrant
    series = palette.series(entrant.method, entrant.variant)
    interval = "" if standing.low is None or standing.high is None else f" {to(standing.low, standing.high)}"
    several = standing.trainings if len(standing.trainings) > 1 else ()
    seeds = f" <small>{len(several)} trainings, {to(min(several), max(several))}</small>" if several else ""
    drawn = row(
        scale,
        [Mark(standing.value, standing.low, standing.high, series)],
        ticks=[own.value for own in printed],
        small=several,
    )
    published = (
        f' <small class="pub">published {escape(", ".join(own.text for own in printed))}</small>' if printed else ""
    )
    return (
        f'<li><span class="name">{sign(series)} {escape(contest.name(i))}</span><span class="plot">{drawn}</span>'
        f'<span class="num"><b>{number(standing.value)}</b>{interval}{published}{seeds}</span></li>'
    )


def _differences(contest: Contest) -> str:
    pairs = [contest.pairs[0, i] for i in range(1, len(contest.standings)) if (0, i) in contest.pairs]
    if len(contest.standings) == 1:
        return ""
    if not pairs:
        return (
            '<section class="half"><h4>Differences</h4><p>The numbers of training seeds differ, so that nothing can be '
            "paired over episodes alone.</p></section>"
        )
    found = [pair.found.difference for pair in pairs]
    scale = Scale.around([100 * v for d in found for v in (d.value, d.low, d.high) if v is not None], zero=True)
    items = [_difference(contest, pair, scale) for pair in pairs]
    more = f'<ul class="diffs">{"".join(items[_MOST:])}</ul>' if items[_MOST:] else ""
    return (
        f'<section class="half"><h4>Differences from the best</h4><ul class="diffs">{"".join(items[:_MOST])}</ul>'
        f'<div class="scale">{axis(scale, f"points by which {contest.name(0)} is above")}</div>'
        f"{folded(f'{len(items) - _MOST} more', more) if more else ''}</section>"
    )


def _difference(contest: Contest, pair: Pair, scale: Scale) -> str:
    style, words = _STATES[pair.state]
    found = pair.found.difference
    low, high = (None if end is None else 100 * end for end in (found.low, found.high))
    drawn = row(scale, [Mark(100 * found.value, low, high, 0)])
    return (
        f'<li class="{style}"><span class="said">{sentence(contest, pair)}</span> '
        f'<span class="badge">{words}</span><span class="plot">{drawn}</span></li>'
    )


def _every_pair(contest: Contest) -> str:
    """What the list of differences from the best leaves out."""
    rest = [pair for (a, _), pair in contest.pairs.items() if a > 0]
    if not rest:
        return ""
    items = "".join(f'<li class="{_STATES[p.state][0]}">{sentence(contest, p)}</li>' for p in rest)
    some = "" if len(contest.pairs) == contest.family else "; of the rest, each with the next"
    return folded(f"The other pairs ({len(rest)}{some})", f'<ul class="plain">{items}</ul>', opened=len(rest) <= _FEW)


def _remarks(contest: Contest, collection: Collection) -> str:
    """In what the trainings differ, what was seen, and what must be known of the images."""
    rows = [standing.entrant.rows[0] for standing in contest.standings]
    seen = differences((contest.name(i), seen_of_row(row)) for i, row in enumerate(rows))
    lines = [*(training_remarks(rows) if len(rows) > 1 else []), *seen, *image_remarks(contest.runs, collection)]
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return folded("What else must be known", f"<ul>{items}</ul>") if items else ""
