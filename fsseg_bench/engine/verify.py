"""Whether a record is what was recorded: every check in it, and every stored number that can be computed again.

Neither torch, data nor weights are needed.
"""

from __future__ import annotations

import csv
import hashlib
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from fsseg_bench.engine.recount import Scores, check_predictions, recounted
from fsseg_bench.engine.verify_pixels import check_pixels, square_pixels
from fsseg_bench.engine.verify_protocol import UnableError, known_protocol
from fsseg_bench.errors import UserError
from fsseg_bench.nn.torch_file import state_of
from fsseg_bench.paths import regular
from fsseg_bench.protocol.scoring import binary_iou, mean_iou
from fsseg_bench.records.controls import CONTROLS_FILE, check_controls
from fsseg_bench.records.counts import row_inspector
from fsseg_bench.records.info import (
    CHECKPOINT_FILE,
    EPISODES_FILE,
    EVALUATED_FILE,
    PREDICTIONS_FILE,
    RUN_FILE,
    TABLE_FILE,
    TRAIN_FILE,
)
from fsseg_bench.records.lines import Chain, Inspect, Row, parse_lines, read_lines
from fsseg_bench.records.owner import Owner, owner_of
from fsseg_bench.records.read import LeftOutError, RecordError, StoredRun, read_run
from fsseg_bench.records.training import LossSummary, loss_row, training_summary

_CLOSE = 1e-12
_UNFIT = (ValueError, LookupError, ArithmeticError, csv.Error, MemoryError, RecursionError)
"""What content that nobody expected may raise."""


class Verdict(NamedTuple):
    """What was found of one part of a record."""

    part: str
    """A file, or ``scores``."""
    good: bool
    """False where it is wrong or, with ``done`` False, where records contradict each other and any of them may be."""
    words: str
    """What was compared, or what is wrong."""
    done: bool = True
    """False where nothing could be compared; ``words`` say why."""


class _AbsentError(Exception):
    """A part that the record need not have."""


Look = Callable[[StoredRun], str]
"""Compares something and says what; raises UserError where it is wrong, :class:`UnableError` where it cannot."""


def verify(folder: Path, further: Mapping[str, Look] | None = None) -> list[Verdict]:
    """The verdicts on the record in ``folder``, in the order of its parts.

    ``further`` is what else is compared of a finished run, by the name of its verdict: what needs the data, say.
    """
    try:
        run = read_run(folder)
        owner_of(folder)
    except UserError as error:
        return [Verdict(RUN_FILE, False, _short(error, folder, RUN_FILE))]
    parts: dict[str, Callable[[StoredRun], str]] = {
        RUN_FILE: _run,
        TABLE_FILE: _table,
        EVALUATED_FILE: _evaluated,
        EPISODES_FILE: _episodes,
        PREDICTIONS_FILE: _predictions,
        TRAIN_FILE: _training,
        CHECKPOINT_FILE: _checkpoint,
        CONTROLS_FILE: _controls,
        **{path.name: _sweep(path) for path in sorted(folder.glob("sweep-*.jsonl"))},
    }
    # a seal must not take the place of what a file of that name is asked for anyway
    parts |= {name: _sealed(name) for name in run.info.files if name not in parts}
    if run.status == "done":
        parts |= {"scores": _scores, "protocol": known_protocol, **(further or {})}
    return list(_verdicts(run, parts))


def _verdicts(run: StoredRun, parts: dict[str, Callable[[StoredRun], str]]) -> Iterator[Verdict]:
    owner = owner_of(run.folder) or Owner()
    for part, look in parts.items():
        if owner.left(part) and part in run.info.files and not (run.folder / part).exists():
            yield Verdict(part, True, "left out of the pack", done=False)
            continue
        try:
            yield Verdict(part, True, look(run))
        except _AbsentError:
            continue
        except (UnableError, LeftOutError) as error:
            yield Verdict(part, True, _short(error, run.folder, part), done=False)
        except (UserError, OSError) as error:
            yield Verdict(part, False, _short(error, run.folder, part))
        except _UNFIT as error:  # of somebody else's file: the other records are still to be looked at
            yield Verdict(part, False, f"cannot be read as what it should be: {type(error).__name__}: {error}")


def _short(error: Exception, folder: Path, part: str = "") -> str:
    """The message without the folder, and the file at its beginning, which the reader knows."""
    return str(error).replace(f"{folder}/", "").removeprefix(f"{folder}: ").removeprefix(f"{part}: ")


def _run(run: StoredRun) -> str:
    how = "as it was written" if run.info.lines == "checked" else "by an earlier version, which wrote no checks"
    state = f"{run.status}: {run.info.reason}" if run.info.reason else run.status
    return f"{how}; {state}; identity {run.info.identity[:8]}"


def _table(run: StoredRun) -> str:
    table = run.table()
    if table is None and run.settings.evaluated_digest is not None:
        raise RecordError("is missing, so that nobody can tell which images were tested")
    if table is None and run.status != "done":
        raise _AbsentError
    if table is None:
        raise UnableError("is not there, as in records of early versions: its classes and images were not compared")
    settings = run.settings
    if (table.ways, table.shots) != (settings.way, settings.shot):
        raise RecordError(
            f"its episodes have {table.ways} ways and {table.shots} shots; the run's settings say {settings.way} and "
            f"{settings.shot}"
        )
    return f"{len(table):,} episodes, those of the run's settings"


def _evaluated(run: StoredRun) -> str:
    path, stated, table = run.folder / EVALUATED_FILE, run.settings.evaluated_digest, run.table()
    if stated is None:
        raise _AbsentError
    data = regular(path).read_bytes()
    if hashlib.sha256(data).hexdigest() != stated:
        raise RecordError("its SHA-256 is not that of the run's settings")
    images = {row[0] for row in list(csv.reader(data.decode().splitlines()))[1:]}
    used = {image for i in range(len(table)) for image in table.images(i)} if table else images
    if images != used:
        raise RecordError(f"{len(images ^ used)} images are not those of the episodes")
    return f"{len(images):,} images with their labels, those of the episodes"


def _episodes(run: StoredRun) -> str:
    seal, table = run.info.episodes, run.table()
    rows = _rows(run, EPISODES_FILE, row_inspector(run.settings.way, run.novel, table))
    if run.status != "done":
        return f"{len(rows):,} episodes so far, each with its check"
    run.counts()  # the SHA-256 of the whole
    if seal is not None and seal.count != len(rows):
        raise RecordError(f"{len(rows)} episodes; {RUN_FILE} says {seal.count}")
    if len(rows) % run.runs:
        raise RecordError(f"{len(rows)} episodes are no {run.runs} runs of equal length, as the run's settings say")
    if table is not None and len(table) != len(rows):
        raise RecordError(f"{len(rows)} episodes; {TABLE_FILE} has {len(table)}")
    check_pixels(run)
    return f"{len(rows):,} episodes, as they were counted"


def _predictions(run: StoredRun) -> str:
    rows = _rows(run, PREDICTIONS_FILE)
    if run.status != "done":
        return f"{len(rows):,} episodes so far, each with its check"
    run.content(PREDICTIONS_FILE)
    check_predictions(rows, run.counts(), run.settings.way, square_pixels(run))
    return f"{len(rows):,} predictions that fit the counts"


def _training(run: StoredRun) -> str:
    if _trained_here(run) and not (run.folder / TRAIN_FILE).exists():
        steps = run.info.settings.iterations
        raise RecordError(f"is missing; the run's settings say that it trained for {steps:,} iterations")
    rows = _rows(run, TRAIN_FILE, loss_row)
    if run.status != "done":
        return f"{len(rows):,} iterations so far, each with its check"
    run.content(TRAIN_FILE)
    wanted = run.info.settings.iterations
    if wanted is not None and (not rows or rows[-1]["iteration"] + 1 != wanted):
        raise RecordError(f"it ends with iteration {rows[-1]['iteration'] if rows else 'none'} of {wanted}")
    if (stated := run.info.training) is not None and not _same_losses(stated, training_summary(rows)):
        raise RecordError(f"its last losses are not those in {RUN_FILE}: {training_summary(rows)}")
    return f"{len(rows):,} iterations, whose last losses are those in {RUN_FILE}"


def _trained_here(run: StoredRun) -> bool:
    """Whether a finished run of a version that wrote checks trained by itself, so that it has a log of it."""
    settings = run.info.settings
    done = run.status == "done" and run.info.lines == "checked"
    return done and bool(settings.iterations) and not settings.checkpoint_digest


def _same_losses(stated: LossSummary, found: LossSummary | None) -> bool:
    return found is not None and stated.steps == found.steps and math.isclose(stated.loss, found.loss, rel_tol=1e-9)


def _rows(run: StoredRun, name: str, inspect: Inspect | None = None) -> list[Row]:
    """The rows of a log whose every line has its check, from the run's identity on."""
    path = run.folder / name
    if not path.exists() and not (name in run.info.files or (name == EPISODES_FILE and run.status == "done")):
        raise _AbsentError
    chain = Chain(run.info.identity, required=run.info.lines == "checked")
    return parse_lines(regular(path).read_bytes(), path, chain, inspect)


def _checkpoint(run: StoredRun) -> str:
    path, settings = run.folder / CHECKPOINT_FILE, run.info.settings
    if not path.exists():
        if run.status == "done" and settings.has_checkpoint:
            return "is not here, so that the run can be repeated with a new training alone"
        raise _AbsentError
    state = state_of(regular(path))
    if state.damage:
        raise RecordError(f"damaged: {state.damage}")
    if not state.sealed and (run.info.lines == "checked" or not zipfile.is_zipfile(path)):
        raise RecordError("not a checkpoint that this run wrote: it has no SHA-256 of its own")
    if not state.sealed:
        return "by an earlier version: only the sums of its parts were compared"
    if not _names(path, run.info.identity):
        raise RecordError("written by another run")
    return "as it was written, by this run"


def _names(path: Path, identity: str) -> bool:
    """Whether a checkpoint holds the identity; its pickle is searched as bytes and never run."""
    with zipfile.ZipFile(path) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        return identity.encode() in archive.read(name)


def _sealed(name: str) -> Callable[[StoredRun], str]:
    def look(run: StoredRun) -> str:
        run.content(name)
        return "as it was written"

    return look


def _controls(run: StoredRun) -> str:
    path = run.folder / CONTROLS_FILE
    if not path.exists():
        raise _AbsentError
    return f"{check_controls(run, regular(path).read_bytes()):,} rows"


def _sweep(path: Path) -> Callable[[StoredRun], str]:
    def look(run: StoredRun) -> str:
        rows = read_lines(path, Chain(run.info.identity))
        return f"{max(len(rows) - 1, 0):,} episodes"

    return look


def _scores(run: StoredRun) -> str:
    """Compares what is counted again with what tables compute and with what run.json says."""
    scores = recounted(_rows(run, EPISODES_FILE), run.novel, run.settings.way, run.runs)
    counts, runs = run.counts(), run.runs
    for resolution, metrics in scores.items():
        cells = getattr(counts, resolution)
        tables = {"mean_iou": mean_iou(cells, counts.classes, run.novel, runs), "binary_iou": binary_iou(cells, runs)}
        for metric, value in metrics.items():
            table = tables[metric]
            if not math.isclose(value, table, rel_tol=_CLOSE):
                raise RecordError(
                    f"{metric} at {resolution} size is {100 * value:.4f} %, in tables {100 * table:.4f} %"
                )
            stated = run.info.scores.get(resolution, {}).get(metric)
            if stated is not None and not math.isclose(value, stated, rel_tol=_CLOSE):
                raise RecordError(
                    f"{metric} at {resolution} size is {100 * value:.4f} % by the counts; {RUN_FILE} says "
                    f"{100 * stated:.4f} %"
                )
    return _scores_words(scores, run)


def _scores_words(scores: Scores, run: StoredRun) -> str:
    head = scores[run.settings.headline]
    told = f"mean-IoU {100 * head['mean_iou']:.2f} %, binary-IoU {100 * head['binary_iou']:.2f} %"
    return (
        f"{told} ({run.settings.headline} size), counted again: as in tables{' and run.json' * bool(run.info.scores)}"
    )
