"""A run's queries counted with other supports: ``controls.jsonl`` beside ``episodes.jsonl``.

The first line says what follows: ``{"controls": {name: {"episodes": n, "digest": ...}, ...}, "draws": D, "resolution":
the protocol's headline, "identity": the run's, ...}``. Then, control by control, one line an episode: ``{"control":
name, "episode": i, "query": id, "class": the supports', "supports": [ids], "counts": [4 numbers]}``, pixels at that
resolution, row-major, rows labels; or, where the method can do nothing with such supports, one line ``{"control": name,
"refused": why}`` that ends it. See :mod:`fsseg_bench.protocol.controls`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsseg_bench.records.lines import Chain, LinesError, parse_lines, read_lines
from fsseg_bench.records.read import RecordError, StoredRun

if TYPE_CHECKING:
    from fsseg_bench.conventions import Int64
    from fsseg_bench.protocol.controls import Control
    from fsseg_bench.protocol.table import EpisodeTable

CONTROLS_FILE = "controls.jsonl"
_HEAD = ("controls", "draws", "resolution", "identity")


@dataclass(frozen=True, eq=False)
class ControlCounts:
    """What was counted of one control; E of the run's episodes."""

    name: str
    episodes: Int64
    """(E,) their numbers, ascending."""
    classes: Int64
    """(E,) the class that the supports are of."""
    queries: tuple[str, ...]
    """E image ids."""
    supports: tuple[tuple[str, ...], ...]
    """E x K image ids."""
    counts: Int64
    """(E, 2, 2) pixels at the protocol's headline resolution: rows are labels, columns predictions."""
    refused: str = ""
    """Why there is nothing; empty where there is."""


@dataclass(frozen=True, eq=False)
class StoredControls:
    """All controls of a run."""

    draws: int
    """How often supports were drawn again."""
    by_name: Mapping[str, ControlCounts]

    @property
    def drawn(self) -> list[ControlCounts]:
        """Those with other supports of the query's own class."""
        return [one for name, one in self.by_name.items() if name.startswith("draw-")]


def controls_header(run: StoredRun, controls: Sequence[Control], draws: int) -> dict[str, Any]:
    """The first line; what else it may hold (versions, device) does not matter."""
    stated = {one.name: {"episodes": len(one.table), "digest": one.digest} for one in controls}
    return {
        "controls": stated,
        "draws": draws,
        "resolution": run.settings.headline,
        "identity": run.info.identity,
    }


def same_controls(header: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two first lines announce the same counts."""
    return all(header.get(key) == other.get(key) for key in _HEAD)


def rows_by_control(header: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The rows of each control of the header, in its order; a control is complete once it has all or is refused.

    Raises:
        ValueError: a row is not where it belongs.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    left = list(rows)
    for name, stated in header["controls"].items():
        found[name] = []
        while left and not is_complete(stated["episodes"], found[name]):
            if left[0].get("control") != name:
                raise ValueError(f"a row of {left[0].get('control')!r} where one of {name!r} belongs")
            found[name].append(left.pop(0))
    if left:
        raise ValueError(f"{len(left)} rows more than the first line says")
    return found


def is_complete(episodes: int, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether these are all rows of a control."""
    return len(rows) >= episodes or (bool(rows) and "refused" in rows[-1])


def find_controls(run: StoredRun) -> StoredControls | None:
    """The run's controls; None where there are none or not all of them.

    Raises:
        RecordError: the run is not done; the file is damaged, was edited, or belongs to another run.
    """
    path = run.folder / CONTROLS_FILE
    try:
        header, *rows = read_lines(path, Chain(run.info.identity, required=True)) or [{}]
    except LinesError as error:
        raise RecordError(f"{error}; 'fsseg-bench controls {run.folder}' moves it aside and measures again") from error
    return _counts(run, path, header, rows) if header else None


def check_controls(run: StoredRun, data: bytes) -> int:
    """How many rows a file of controls with this content has.

    Raises:
        RecordError: as :func:`find_controls`.
    """
    path = run.folder / CONTROLS_FILE
    header, *rows = parse_lines(data, path, Chain(run.info.identity, required=True)) or [{}]
    _counts(run, path, header, rows)
    return len(rows)


def _counts(
    run: StoredRun, path: Path, header: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> StoredControls | None:
    if header.get("identity") != run.info.identity:
        raise RecordError(f"{path}: belongs to another run; remove it and give 'fsseg-bench controls' again")
    if header.get("resolution") != run.settings.headline:  # a version before the first release counted at both
        return None
    try:
        grouped = rows_by_control(header, rows)
        if not all(is_complete(header["controls"][name]["episodes"], own) for name, own in grouped.items()):
            return None
        found = {name: _control(name, own) for name, own in grouped.items()}
        _check(run, found)
        draws = int(header["draws"])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise RecordError(f"{path}: is no record of this run's controls ({error}); remove it") from None
    return StoredControls(draws, found)


def _control(name: str, rows: Sequence[Mapping[str, Any]]) -> ControlCounts:
    import numpy as np

    refused = next((str(row["refused"]) for row in rows if "refused" in row), "")
    rows = [] if refused else rows
    return ControlCounts(
        name,
        np.array([row["episode"] for row in rows], np.int64),
        np.array([row["class"] for row in rows], np.int64),
        tuple(str(row["query"]) for row in rows),
        tuple(tuple(map(str, row["supports"])) for row in rows),
        np.array([row["counts"] for row in rows], np.int64).reshape(-1, 2, 2),
        refused,
    )


def _check(run: StoredRun, found: Mapping[str, ControlCounts]) -> None:
    """Whether these are the controls of this run's episodes, all that every run has among them.

    Raises:
        ValueError: they are not.
    """
    from fsseg_bench.protocol.controls import MASKS

    everywhere = ("wrong", *MASKS)
    if lacking := [name for name in everywhere if name not in found]:
        raise ValueError(f"it lacks {', '.join(lacking)}")
    recorded, table = run.counts(), run.table()
    for name, one in found.items():
        if one.refused:
            continue
        count = len(recorded.classes)
        _check_numbers(one, count, whole=name in everywhere)
        _check_classes(one, recorded.classes[one.episodes, 0], run.novel)
        _check_labels(one, getattr(recorded, run.settings.headline)[one.episodes])
        if table is not None:
            _check_images(one, table, run.settings.shot, own=name in MASKS)


def _check_numbers(one: ControlCounts, count: int, *, whole: bool) -> None:
    numbers = one.episodes.tolist()
    wrong = sorted(set(numbers)) != numbers or numbers[:1] < [0] or numbers[-1:] >= [count]
    if wrong or (whole and len(numbers) != count):
        raise ValueError(f"the episodes of {one.name!r} are not numbered as the run's")


def _check_classes(one: ControlCounts, own: Int64, novel: Sequence[int]) -> None:
    """Supports of ``wrong`` and ``absent`` are of another class of the fold, all others of the episode's own."""
    same = one.classes == own
    if (same.any() if one.name in {"wrong", "absent"} else not same.all()) or not {*one.classes.tolist()} <= {*novel}:
        raise ValueError(f"the supports of {one.name!r} are of classes that they cannot be of")


def _check_labels(one: ControlCounts, own: Int64) -> None:
    """Labels are those that the run counted, or none at all."""
    labels = one.counts.sum(axis=2)
    absent = (labels[:, 1] != 0) | (labels[:, 0] == 0)
    wrong = absent if one.name == "absent" else (labels != own.sum(axis=2)).any(axis=1)
    if (one.counts < 0).any() or wrong.any():
        raise ValueError(f"{one.name!r} does not count the labels of the run's episodes")


def _check_images(one: ControlCounts, table: EpisodeTable, shots: int, *, own: bool) -> None:
    for i, query, supports in zip(one.episodes.tolist(), one.queries, one.supports, strict=True):
        if query != table.queries[i] or len(supports) != shots or (own and supports != table.supports[i][0]):
            raise ValueError(f"episode {i} of {one.name!r} has not the run's query, or other supports than it can have")
