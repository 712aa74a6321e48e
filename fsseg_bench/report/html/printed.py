"""Published numbers of what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fsseg_bench.protocol.statistics import Metric
from fsseg_bench.report.blocks import PublishedRow, printed_scales, same_rules, several_scales
from fsseg_bench.report.html.entrants import Entrant
from fsseg_bench.report.html.standing import Contest
from fsseg_bench.report.papers import Paper
from fsseg_bench.report.words import plain


class Printed(NamedTuple):
    """A number in print."""

    value: float
    """Percent."""
    text: str
    """With the digits printed."""
    words: str
    """Whose it is, and where it stands; plain text."""


def printed_numbers(contest: Contest, metric: Metric, known: Sequence[Paper]) -> dict[int, list[Printed]]:
    """By place in the order the published means of the same method, backbone and shot under the same protocol.

    There are none where the contest is over some folds only.
    """
    if contest.folds != contest.every:
        return {}
    found = {i: _of(standing.entrant, metric, known) for i, standing in enumerate(contest.standings)}
    return {i: numbers for i, numbers in found.items() if numbers}


def _of(entrant: Entrant, metric: Metric, known: Sequence[Paper]) -> list[Printed]:
    """Those made with queries at as many scales as here, where there are any; else all, and each says its scales."""
    run = next(iter(entrant.folds.values()))[0]
    settings = run.record.settings
    wanted = settings.protocol, settings.way, entrant.shot, "mean", metric, plain(settings.method)
    made: dict[str, Printed] = {}
    alike: dict[str, Printed] = {}
    for paper in known:
        protocol = paper.protocols.get(settings.protocol)
        if protocol is None or protocol.rules is None or not same_rules(run, protocol.rules):
            continue
        here = several_scales(protocol, settings)
        for n in paper.numbers:
            own = n.protocol, n.way, n.shot, n.fold, n.metric, plain(n.name)
            if own == wanted and plain(n.backbone) == plain(settings.backbone):
                several = printed_scales(PublishedRow({(entrant.shot, "mean"): n}))
                scales = "" if several is None else ", several query scales" if several else ", one query scale"
                printed = Printed(n.value, n.text, f"{n.method} {n.text} ({n.source}{scales})")
                made.setdefault(n.text, printed)
                if several is not None and several == here:
                    alike.setdefault(n.text, printed)
    return list((alike or made).values())
