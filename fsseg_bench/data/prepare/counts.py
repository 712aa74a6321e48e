"""The counts that were found, beside those that papers, their code and their users state."""

from __future__ import annotations

from collections import Counter

from tabulate import tabulate

from fsseg_bench.data.index import PairIndex
from fsseg_bench.data.prepare.sources import Dataset

_IN_FULL = 40
"""So many classes have a row each; of more, those that differ are told."""
_SHOWN = 10


def count_lines(dataset: Dataset, index: PairIndex) -> list[str]:
    """How many test images show each class, beside :attr:`Dataset.stated`.

    Nothing for a data set that is neither stated nor made.

    Of many classes, the smallest and the largest count, and the classes whose count differs from a stated one.
    """
    if not (dataset.stated or dataset.make):
        return []
    frame, protocol = index.frame, index.protocol
    large = frame[(frame["pixels"] >= protocol.data.min_object_pixels) & (frame["split"] == "test")]
    by_id = Counter(large["class"].tolist())
    found = [by_id[number] for number in range(1, len(protocol.classes) + 1)]
    if len(found) <= _IN_FULL:
        return _table(dataset, protocol.classes, found)
    lines = [f"{sum(found):,} pairs (image, class) of {len(found):,} classes, {min(found):,} to {max(found):,} each"]
    for stated in dataset.stated:
        known = stated.counts if len(stated.counts) == len(found) else ()
        wrong = [
            f"{name} {have:,} not {want:,}"
            for name, have, want in zip(protocol.classes, found, known or found, strict=True)
            if have != want
        ]
        told = f"; {len(wrong):,} classes differ: {', '.join(wrong[:_SHOWN])}" if wrong else ""
        lines.append(f"{stated.origin}: {sum(stated.counts):,}{told}{', ...' if len(wrong) > _SHOWN else ''}")
    return lines


def _table(dataset: Dataset, classes: tuple[str, ...], found: list[int]) -> list[str]:
    columns = [list(classes), [f"{count:,}" for count in found]]
    for stated in dataset.stated:
        each = [f"{count:,}" for count in stated.counts] if len(stated.counts) == len(found) else [""] * len(found)
        columns.append([*each, f"{sum(stated.counts):,}"])
    columns[0].append("all")
    columns[1].append(f"{sum(found):,}")
    headers = ("images of a class", "found", *(stated.origin for stated in dataset.stated))
    rows = list(zip(*columns, strict=True))
    align = ("left", *["right"] * (len(columns) - 1))
    return tabulate(rows, headers=headers, tablefmt="plain", colalign=align, disable_numparse=True).splitlines()
