"""The predictions of a run, kept as run lengths: any episode can be drawn, and counted again, without a model.

A row of ``predictions.jsonl`` is an episode: ``episode``, ``size`` (the side of the square input, in pixels) and
``ways``, for each way the pixels predicted as it, in COCO's compressed run lengths (``counts`` of an ``RLE`` whose
``size`` is ``[size, size]``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from fsseg_bench.conventions import VOID, Int64, UInt8
from fsseg_bench.records.info import PREDICTIONS_FILE, RecordError
from fsseg_bench.records.lines import Inspect, Row
from fsseg_bench.records.read import StoredRun
from fsseg_bench.storage.json_text import strict_json

if TYPE_CHECKING:
    from fsseg_bench.records.run import RunRecord

_KEYS = {"episode", "size", "ways"}
_FIRST, _LAST = ord("0"), ord("o")  # the 64 characters of run lengths
_WIDEST = 2**14  # the largest image.size of a protocol
_LONGEST = 13  # characters of a number; a longer one is beyond every image


def prediction_row(episode: int, labels: UInt8, ways: int) -> Row:
    """The row of an episode's predicted labels (S, S) uint8 in 0..N at the input size."""
    from pycocotools import mask as coco_mask

    maps = [coco_mask.encode(np.asfortranarray(labels == way)) for way in range(1, ways + 1)]
    return {"episode": episode, "size": len(labels), "ways": [own["counts"].decode("ascii") for own in maps]}


def row_labels(row: Mapping[str, Any], ways: int) -> UInt8:
    """The labels (S, S) uint8 in 0..N of a row.

    Raises:
        ValueError: it is not a row of predictions for so many ways; says why.
    """
    if row.keys() != _KEYS:
        raise ValueError(f"its keys are {', '.join(sorted(row))}; they must be episode, size and ways")
    size, maps = row["size"], row["ways"]
    if type(size) is not int or not 1 <= size <= _WIDEST:
        raise ValueError("'size' must be a whole number of pixels")
    if not (isinstance(maps, list) and len(maps) == ways and all(isinstance(text, str) for text in maps)):
        raise ValueError(f"'ways' must hold run lengths for {ways} ways")
    labels = np.zeros(size * size, np.uint8)
    for way, text in enumerate(maps, start=1):
        lengths = _run_lengths(text)
        if sum(lengths) != size * size or min(lengths, default=0) < 0:
            raise ValueError(f"the run lengths of way {way} are not those of {size} x {size} pixels")
        chosen = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
        if labels[chosen].any():
            raise ValueError(f"way {way} has pixels of another way")
        labels[chosen] = way
    return labels.reshape(size, size).T  # COCO counts down the columns


def prediction_labels(row: Mapping[str, Any], ways: int) -> UInt8:
    """As :func:`row_labels`, of a row whose record is being read.

    Raises:
        RecordError: the row is damaged; names the episode.
    """
    try:
        return row_labels(row, ways)
    except ValueError as error:
        raise RecordError(f"episode {row.get('episode')}: {error}") from None


def _run_lengths(text: str) -> list[int]:
    """The lengths that COCO's text holds, checked: pycocotools reads beyond its memory where they do not add up.

    Each number has five bits a character, low ones first; from the fourth on it is the difference from the one before
    the last.
    """
    lengths: list[int] = []
    value = bits = 0
    for character in text.encode():
        if not _FIRST <= character <= _LAST or bits > 5 * _LONGEST:
            raise ValueError("it holds no run lengths")
        code = character - _FIRST
        value |= (code & 31) << bits
        bits += 5
        if not code & 32:
            value -= (1 << bits) if code & 16 else 0
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = bits = 0
    if bits:
        raise ValueError("its run lengths break off")
    return lengths


def prediction_inspector(ways: int, size: int) -> Inspect:
    """What is wrong with row i of a run of N ways whose input has ``size`` pixels a side."""

    def inspect(i: int, row: Row) -> str | None:
        if row.get("episode") != i:
            return f"it is episode {row.get('episode')}"
        if row.get("size") != size:
            return f"its input has {row.get('size')} pixels a side; the run's has {size}"
        try:
            row_labels(row, ways)
        except ValueError as error:
            return str(error)
        return None

    return inspect


def stored_predictions(run: StoredRun, episodes: Sequence[int]) -> dict[int, UInt8] | None:
    """The predicted labels (S, S) uint8 in 0..N of some episodes; None where the record keeps none.

    Raises:
        RecordError: the file was changed since the run was done, or lacks an episode; names it.
    """
    try:
        lines = run.content(PREDICTIONS_FILE).split(b"\n")
    except FileNotFoundError:
        return None
    path = run.folder / PREDICTIONS_FILE
    found = {}
    for episode in episodes:
        try:
            row = strict_json(lines[episode])
            if not isinstance(row, dict) or row.pop("check", None) is None or row.get("episode") != episode:
                raise ValueError("it is not the row of this episode")
            found[episode] = row_labels(row, run.settings.way)
        except (ValueError, IndexError) as error:
            raise RecordError(f"{path}: episode {episode} cannot be read: {error}") from None
    return found


def counted(prediction: UInt8, truth: UInt8, ways: int) -> Int64:
    """Pixel counts (N+1, N+1) of an episode: rows are labels, columns predictions; void (255) is left out.

    Both are (S, S) uint8.

    Raises:
        ValueError: they have different shapes, or labels above N.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"the prediction is {prediction.shape}, the truth {truth.shape}")
    valid = truth != VOID
    side = ways + 1
    labels, predicted = truth[valid].astype(np.int64), prediction[valid].astype(np.int64)
    if max(labels.max(initial=0), predicted.max(initial=0)) > ways:
        raise ValueError(f"a label is above {ways}")
    return np.bincount(side * labels + predicted, minlength=side * side).reshape(side, side)


class EpisodeLogs(AbstractContextManager["EpisodeLogs"]):
    """The logs of a run while it is evaluated: counts and predictions of the same episodes.

    What one lacks is cut off the other, so that it is evaluated again.
    """

    def __init__(self, record: RunRecord, counts: Inspect, predictions: Inspect) -> None:
        """Opens or creates both; ``counts`` and ``predictions`` say what is wrong with a row.

        Raises:
            UserError: a file cannot be opened or written.
        """
        with ExitStack() as stack:
            self._predictions = stack.enter_context(record.prediction_log(predictions))
            self._counts = stack.enter_context(record.episode_log(counts, until=self._predictions.rows))
            logs = [self._counts, self._predictions]
            if self._predictions.rows > self._counts.rows:
                self._predictions.close()
                self._predictions = stack.enter_context(record.prediction_log(predictions, until=self._counts.rows))
            self._stack = stack.pop_all()
        self.rows = self._counts.rows
        """Episodes that both have."""
        self.damage = [f"{log.path.name}: {log.damage}" for log in logs if log.damage]
        """What was damaged and cut off."""
        if self._counts.cut and not self.damage:
            self.damage = [f"{PREDICTIONS_FILE}: ends {self._counts.cut} episodes before {self._counts.path.name}"]

    def append(self, counts: Row, prediction: Row) -> None:
        """Adds an episode.

        Raises:
            UserError: full disk; every earlier episode is kept.
        """
        self._predictions.append(prediction)
        self._counts.append(counts)

    def __exit__(self, *_: object) -> None:
        self._stack.close()
