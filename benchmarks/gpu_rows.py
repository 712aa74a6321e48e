"""One measured or checked thing, and how a list of them is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A figure, or a check that held or did not."""

    part: str
    what: str
    value: float | None
    unit: str
    passed: bool | None = None
    """Of a check; None for a figure."""
    share: float | None = None
    """The figure as a share of its limit, in [0, 1]."""
    limit: str = ""
    """What ``share`` is of, or what a check allows."""
    note: str = ""


def markdown(rows: Sequence[Row]) -> Iterator[str]:
    """The rows as a Markdown table a part, in the order in which they came."""
    for part in dict.fromkeys(row.part for row in rows):
        yield f"\n### {part}\n"
        yield "| what | figure | of its limit | |"
        yield "| --- | ---: | ---: | --- |"
        for row in (row for row in rows if row.part == part):
            share = "" if row.share is None else f"{100 * row.share:.0f} % of {row.limit}"
            allowed = f"allowed: {row.limit}" if row.passed is not None and row.limit else ""
            verdict = {None: "", True: "passed", False: "**FAILED**"}[row.passed]
            told = "; ".join(text for text in (verdict, allowed, row.note) if text)
            yield f"| {row.what} | {_figure(row)} | {share} | {told} |"


def _figure(row: Row) -> str:
    return "" if row.value is None else f"{row.value:.4g} {row.unit}".strip()
