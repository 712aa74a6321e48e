"""The published number that a released file claims, by the rows that its record names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.claim import Claim
from fsseg_bench.protocol.statistics import Metric
from fsseg_bench.report.published import FoldOrMean, PublishedNumber
from fsseg_bench.report.words import plain
from fsseg_bench.schema import parse

KINDS = (
    "paper table",
    "paper table, quoted by BiOpt",
    "official README",
    "official log",
    "mean computed here from official log",
    "author comment",
    "README image",
    "paper abstract",
    "issue quoting paper",
    "aggregator record",
    "aggregator record (shot not given)",
    "third-party notes",
    "recalled",
)
"""Of sources, from the surest, as results/published/README.md ranks them."""
EARLIER = "an earlier version read the file and noted no published row; evaluate it again with --fresh"
NOTHING = "no published row is claimed of such files"


class Place(NamedTuple):
    """Which number is meant."""

    protocol: str
    way: int
    shot: int
    fold: FoldOrMean
    metric: Metric


class Found(NamedTuple):
    """A published number, or why there is none."""

    number: PublishedNumber | None
    words: str
    """Where it was read and what else is in print; or the reason."""


def claims_of(released: Mapping[str, Any], where: Path) -> tuple[Claim, ...] | None:
    """The rows that a record names; None where an earlier version made it.

    Raises:
        UserError: the record's words are not those of a claim.
    """
    rows = released.get("rows")
    if rows is None:
        return None
    if not isinstance(rows, (list, tuple)):
        raise UserError(f"{where}: trained.released.rows is no list; the record was edited")
    return tuple(parse(Claim, row, where) for row in rows)


def claimed(
    claims: Sequence[Claim] | None, method: str, backbone: str, place: Place, numbers: Sequence[PublishedNumber]
) -> Found:
    """The surest published number at a place.

    Args:
        claims: as :func:`claims_of`.
        method: as of ``--method``.
        backbone: as of ``--backbone``; what stands after its first hyphen is not in print.
        place: which number.
        numbers: all that are known.
    """
    if reason := not_claimed(claims, place):
        return Found(None, reason)
    claim = next(c for c in claims or () if _covers(c, place))
    names = {plain(backbone), plain(backbone.partition("-")[0])}
    found = [
        n
        for n in numbers
        if (n.method == claim.method if claim.method else n.name == method)
        and plain(n.backbone) in names
        and (n.protocol, n.way, n.shot or 0, n.fold, n.metric) == place
    ]
    if not found:
        of = "mean" if place.fold == "mean" else f"fold {place.fold}"
        return Found(None, f"no {place.metric}-IoU of this {of} is among the published numbers")
    found.sort(key=lambda n: (bool(claim.source) and n.source != claim.source, _rank(n.source_kind)))
    first, others = found[0], [n for n in found[1:] if n.value != found[0].value]
    also = [f"another source: {n.text}, {n.source} ({n.source_kind})" for n in others]
    return Found(first, "; ".join(filter(None, (f"{first.source} ({first.source_kind})", first.note, *also))))


def not_claimed(claims: Sequence[Claim] | None, place: Place) -> str:
    """Why no claim is about a place, whichever fold; empty where one is."""
    if claims is None:
        return EARLIER
    if not claims:
        return NOTHING
    here = [c for c in claims if c.protocol == place.protocol]
    if not here:
        protocols = " and ".join(dict.fromkeys(c.protocol for c in claims))
        return f"such files claim rows of {protocols}: another data set or other folds"
    if not any(_covers(c, place) for c in here):
        kinds = dict.fromkeys(f"{way}-way {shot}-shot" for c in here for way in c.ways for shot in c.shots)
        return f"such files claim {', '.join(kinds)} rows of {place.protocol}"
    return ""


def _covers(claim: Claim, place: Place) -> bool:
    return claim.protocol == place.protocol and place.shot in claim.shots and place.way in claim.ways


def _rank(kind: str) -> int:
    return KINDS.index(kind) if kind in KINDS else len(KINDS)
