"""The episode log's rows: one reader for reports, for a run that goes on, and for a run that is to be called done."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fsseg_bench.records.info import RecordError
from fsseg_bench.records.lines import Inspect, Row, parse_lines
from fsseg_bench.storage.json_text import distinct_keys

if TYPE_CHECKING:
    from fsseg_bench.conventions import Int64
    from fsseg_bench.protocol.table import EpisodeTable

_NOTED = re.compile(rb',"(?:input_void|diagnostics|check)":.*')  # what the engine writes behind the counts of a line
_BUT_DIGITS = bytes(code if chr(code) in "0123456789" else ord(" ") for code in range(256))
_MOST_PIXELS = 2**48  # sums of counts below this stay within int64
_VOID = ("input_void", "native_void")
_BOUNDARY = ("input_boundary", "native_boundary")
_KEYS = {"episode", "classes", "input", "native", *_VOID, *_BOUNDARY, "diagnostics"}


class BoundaryCounts(NamedTuple):
    """Pixels of the bands along outlines, in E episodes of N ways: in both bands, in the predicted one alone, in the
    true one alone."""

    input: Int64
    """(E, N, 3) pixels at the protocol's input size."""
    native: Int64
    """(E, N, 3) pixels at the query's native size."""


class EpisodeCounts(NamedTuple):
    """The counts of a run's E episodes, N ways; rows are labels, columns predictions, void is left out."""

    classes: Int64
    """(E, N) label values; the first way is the query's class."""
    input: Int64
    """(E, N+1, N+1) pixels at the protocol's input size."""
    native: Int64
    """(E, N+1, N+1) pixels at the query's native size."""
    boundary: BoundaryCounts | None = None
    """Where the protocol counts bands along outlines."""

    def of(self, episodes: Int64) -> EpisodeCounts:
        """Those of some episodes, by number."""
        bands = None if self.boundary is None else BoundaryCounts(*(part[episodes] for part in self.boundary))
        return EpisodeCounts(self.classes[episodes], self.input[episodes], self.native[episodes], bands)


class VoidCounts(NamedTuple):
    """What a run predicted at void pixels, in E episodes of N ways; column 0 is background."""

    input: Int64
    """(E, N+1) pixels at the protocol's input size."""
    native: Int64
    """(E, N+1) pixels at the query's native size."""


def parse_void(data: bytes, way: int, path: Path) -> VoidCounts | None:
    """The counts of void pixels in an episode log's content; None where it was written by a version without them.

    Raises:
        RecordError: some rows have them and others do not; LinesError: a line is damaged. Names ``path``.
    """
    found = _parsed(data, way, path, _VOID, "counts of void pixels")
    return None if found is None else VoidCounts(*(part.reshape(-1, way + 1) for part in found))


def parse_boundary(data: bytes, way: int, path: Path) -> BoundaryCounts:
    """The counts of bands along outlines in an episode log's content.

    Raises:
        RecordError: some rows have none; LinesError: a line is damaged. Names ``path``.
    """
    found = _parsed(data, way, path, _BOUNDARY, "counts of outlines")
    if found is None:
        raise RecordError(f"{path}: the episodes have no counts of outlines (scoring.boundary)")
    return BoundaryCounts(*(part.reshape(-1, way, 3) for part in found))


def _parsed(data: bytes, way: int, path: Path, keys: Sequence[str], what: str) -> list[Int64] | None:
    """(E, ...) numbers of each of ``keys``; None where no row has them."""
    import numpy as np

    rows = parse_lines(data, path, inspect=lambda _, row: _wrong(row, way))
    known = [row for row in rows if keys[0] in row]
    if not known:
        return None
    if len(known) < len(rows):
        raise RecordError(f"{path}: {len(rows) - len(known)} of {len(rows)} episodes have no {what}")
    return [np.array([row[key] for row in rows], np.int64) for key in keys]


def parse_counts(data: bytes, way: int, novel: set[int], path: Path) -> EpisodeCounts:
    """The counts of an episode log's content.

    Raises:
        RecordError: a row is wrong; LinesError: a line is damaged. Names ``path``.
    """
    import numpy as np

    table = _numbers(data, way, path)
    if not np.array_equal(table[:, 0], np.arange(len(table))):
        raise RecordError(f"{path}: the episodes are not numbered 0, 1, 2, ...")
    if table.max(initial=0) >= _MOST_PIXELS:
        raise RecordError(f"{path}: a count is {_MOST_PIXELS} or more")
    cells = (way + 1) ** 2
    classes, entered, native = np.split(table[:, 1:], [way, way + cells], axis=1)
    if not set(np.unique(classes).tolist()) <= novel:
        raise RecordError(f"{path}: an episode has a class that is not held out in the run's fold")
    square = (len(table), way + 1, way + 1)
    return EpisodeCounts(classes, entered.reshape(square), native.reshape(square))


def row_inspector(
    way: int,
    novel: Sequence[int],
    table: EpisodeTable | None = None,
    pixels: Callable[[int], Mapping[str, int]] | None = None,
) -> Inspect:
    """What :func:`parse_counts` would refuse, and what the episodes themselves say, row by row.

    A row has the classes of the run's episodes in ``table``, and counts no more than the pixels that the query of
    episode i has as ``input`` and as ``native``.
    """
    first: list[Any] = []

    def inspect(i: int, row: Row) -> str | None:
        if reason := _wrong(row, way):
            return reason
        if row["episode"] != i:
            return f"it is episode {row['episode']}"
        if not set(row["classes"]) <= set(novel):
            return f"its classes {row['classes']} are not held out in the run's fold"
        if table is not None and (i >= len(table) or tuple(row["classes"]) != table.classes[i]):
            return "its classes are not those of the run's episode"
        if unknown := sorted(row.keys() - _KEYS):
            return f"it has the unknown key {unknown[0]!r}"
        recorded = row.get("diagnostics", {})
        shape = _shape(recorded) if isinstance(recorded, dict) else None
        if shape is None or shape != (first[0] if first else shape):
            return "its diagnostics are not numbers like those of the first row"
        first[:] = first or [shape]
        if pixels is not None:
            for key, limit in pixels(i).items():
                counted = sum(row[key]) + sum(row.get(f"{key}_void", ()))
                if counted > limit:
                    return f"{key} counts {counted} pixels; the query has {limit}"
                bands = row.get(f"{key}_boundary", ())
                if any(sum(bands[start : start + 3]) > limit for start in range(0, len(bands), 3)):
                    return f"{key}_boundary counts more pixels than the query has, {limit}"
        return None

    return inspect


def _wrong(row: Row, way: int) -> str | None:
    """What is wrong with a row's numbers."""
    if not _countable(row.get("episode")):
        return "'episode' must be a whole number"
    cells = (way + 1) ** 2
    for key, width in (("classes", way), ("input", cells), ("native", cells)):
        values = row.get(key)
        if not (isinstance(values, list) and len(values) == width and all(map(_countable, values))):
            return f"{key!r} must hold {width} whole numbers of at least 0"
    for keys, width in ((_VOID, way + 1), (_BOUNDARY, 3 * way)):
        for key in keys if any(key in row for key in keys) else ():
            values = row.get(key)
            if not (isinstance(values, list) and len(values) == width and all(map(_countable, values))):
                return f"{key!r} must hold {width} whole numbers of at least 0"
    return None


def _shape(value: Any) -> Any:
    """What two rows' diagnostics must share to be averaged; None for what cannot be."""
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return ()
    if isinstance(value, list):
        shapes = [_shape(one) for one in value]
        return None if None in shapes or len(set(shapes)) > 1 else (len(value), *shapes[:1])
    if isinstance(value, dict):
        pairs = tuple(sorted((key, _shape(one)) for key, one in value.items()))
        return None if any(shape is None for _, shape in pairs) else pairs
    return None


def _numbers(data: bytes, way: int, path: Path) -> Int64:
    """(E, 1 + N + 2 (N+1)^2) the numbers of each line.

    Raises:
        RecordError: a line is damaged or lacks numbers; names it.
    """
    counted = _NOTED.sub(b"}", data)
    if _lines_as_written(way).fullmatch(counted):
        return _only_numbers(counted).reshape(-1, 1 + way + 2 * (way + 1) ** 2)
    try:
        # In one go and without what a method noted, ten times as fast as line by line. That leaves the checks out: a
        # finished run's log has a SHA-256 as a whole.
        rows = json.loads(b"[%s]" % counted.rstrip(b"\n").replace(b"\n", b","), object_pairs_hook=distinct_keys)
        if len(rows) == data.count(b"\n"):
            return _table(rows, way)
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        pass
    return _table(parse_lines(data, path, inspect=lambda _, row: _wrong(row, way)), way)


@cache
def _lines_as_written(way: int) -> re.Pattern[bytes]:
    """Lines as the engine writes them, with N classes and twice (N+1)^2 whole numbers below 10^15."""
    number = rb"(?:0|[1-9][0-9]{0,14}+)"
    classes, counts = (rb"\[%s\]" % b",".join([number] * width) for width in (way, (way + 1) ** 2))
    return re.compile(
        rb'(?:\{"episode":%s,"classes":%s,"input":%s,"native":%s\}\n)*+' % (number, classes, counts, counts)
    )


def _only_numbers(text: bytes) -> Int64:
    """The whole numbers in a text; faster than JSON's parser, which makes an object of each line and number."""
    import numpy as np

    return np.fromstring(text.translate(_BUT_DIGITS).decode("ascii"), np.int64, sep=" ")


def _table(rows: Sequence[Row], way: int) -> Int64:
    """The rows' numbers.

    Raises:
        ValueError, LookupError, TypeError, OverflowError: a row has not N classes and twice (N+1)^2 whole numbers.
    """
    import numpy as np

    cells = (way + 1) ** 2
    numbers = [[row["episode"], *row["classes"], *row["input"], *row["native"]] for row in rows]
    table = np.array(numbers, np.int64).reshape(len(rows), 1 + way + 2 * cells)
    widths = {(len(row["classes"]), len(row["input"]), len(row["native"])) for row in rows}
    if not widths <= {(way, cells, cells)} or set(map(type, chain.from_iterable(numbers))) - {int} or (table < 0).any():
        raise ValueError("a row has other numbers")
    return table


def _countable(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MOST_PIXELS
