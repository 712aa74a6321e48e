"""Whether a record counts as many pixels as its images have, as far as can be told without them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isqrt

from fsseg_bench.protocol.side import Side
from fsseg_bench.protocol.spec import RESOLUTIONS, Resolution
from fsseg_bench.records.read import RecordError, StoredRun


def totals(run: StoredRun) -> dict[Resolution, list[int]]:
    """The pixels of each episode at both sizes: those that were counted, and void ones where the record has them.

    Raises:
        RecordError: as :meth:`StoredRun.counts` and :meth:`StoredRun.void_counts`.
    """
    counts, void = run.counts(), run.void_counts()
    found: dict[Resolution, list[int]] = {}
    for resolution in RESOLUTIONS:
        counted = getattr(counts, resolution).sum(axis=(1, 2))
        found[resolution] = (counted if void is None else counted + getattr(void, resolution).sum(axis=1)).tolist()
    return found


def square_pixels(run: StoredRun) -> list[int] | None:
    """The pixels of each episode's square input; None where padding or void ones may be missing in the counts."""
    known = run.settings.pad_multiple is None and run.void_counts() is not None
    return totals(run)["input"] if known else None


def check_pixels(run: StoredRun) -> None:
    """Compares the episodes of a finished run with each other: an image has one size, and so has a squashed input.

    Records without counts of void pixels are passed over: what is void depends on the classes.

    Raises:
        RecordError: the same image has several sizes, or inputs that are squashed to one square have.
    """
    table = run.table()
    if run.void_counts() is None:
        return
    found = totals(run)
    for resolution, pixels in found.items():
        for episode, other in _other_sizes(table.queries if table else (), pixels):
            raise RecordError(
                f"episode {episode} counts {pixels[episode]:,} pixels at {resolution} size, and episode {other}, of "
                f"the same image, {pixels[other]:,}"
            )
    if run.settings.pad_multiple is None:
        first = found["input"][0]
        if isqrt(first) ** 2 != first:
            raise RecordError(f"episode 0 counts {first:,} pixels at input size, which are no square")
        check_side(run, Side(isqrt(first)))


def check_side(run: StoredRun, side: Side) -> None:
    """Compares the pixels at the input size with the square that they belong to.

    They are all of its pixels where images are squashed to it and void ones were counted, else at most those.

    Raises:
        RecordError: an episode has more, or others; names it.
    """
    exact = not side.pads and run.void_counts() is not None
    for episode, pixels in enumerate(totals(run)["input"]):
        if pixels > side * side or (exact and pixels != side * side):
            raise RecordError(
                f"episode {episode} counts {pixels:,} pixels at input size; its square has {int(side)} x {int(side)}"
            )


def _other_sizes(queries: Sequence[str], pixels: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Episodes whose query has other pixels than in an earlier one, and the earlier one."""
    first: dict[str, int] = {}
    for episode, (query, found) in enumerate(zip(queries, pixels, strict=False)):
        if pixels[first.setdefault(query, episode)] != found:
            yield episode, first[query]
