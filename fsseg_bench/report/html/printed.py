"""Published numbers of what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fsseg_bench.protocol.statistics import Metric
from fsseg_bench.report.blocks import same_rules
from fsseg_bench.report.html.standing import Contest, Entrant
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
    if not contest.whole:
        return {}
    found = {i: _of(standing.entrant, metric, known) for i, standing in enumerate(contest.standings)}
    return {i: numbers for i, numbers in found.items() if numbers}


def _of(entrant: Entrant, metric: Metric, known: Sequence[Paper]) -> list[Printed]:
    run = next(iter(entrant.folds.values()))[0]
    settings = run.record.settings
    made: dict[str, Printed] = {}
    for paper in known if settings.way == 1 else ():
        protocol = paper.protocols.get(settings.protocol)
        if protocol is None or protocol.rules is None or not same_rules(run, protocol.rules):
            continue
        for n in paper.numbers:
            same = n.protocol, n.way, n.shot, n.fold, n.metric
            if same == (settings.protocol, 1, entrant.shot, "mean", metric) and (plain(n.name), plain(n.backbone)) == (
                plain(settings.method),
                plain(settings.backbone),
            ):
                scales = ", several query scales" if n.multi_scale in {"yes", "inferred"} else ""
                words = f"{n.method} {n.text} ({n.source}{scales})"
                made.setdefault(n.text, Printed(n.value, n.text, words))
    return list(made.values())
