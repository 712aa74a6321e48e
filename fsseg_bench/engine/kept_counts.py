"""The states that a training kept are evaluated on the run's own test episodes.

Which of them is best there chooses on held-out classes. It is counted to tell what that choice is worth, and nothing
else reads it.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fsseg_bench.engine.cache import default_budget
from fsseg_bench.engine.checkpoint import fill
from fsseg_bench.engine.device import describe, resolve_device
from fsseg_bench.engine.inference import InferenceModel
from fsseg_bench.engine.kept_states import load_kept
from fsseg_bench.engine.memory import keep_memory
from fsseg_bench.engine.open_run import OpenRun, RunPlaces, open_run
from fsseg_bench.engine.optimise import trunks
from fsseg_bench.engine.rerun import rounded_words
from fsseg_bench.engine.results import EpisodeResult
from fsseg_bench.engine.run_evaluation import build_evaluator
from fsseg_bench.engine.training_data import OpenSources
from fsseg_bench.method import Method
from fsseg_bench.nn.weight_files import file_hash
from fsseg_bench.progress import Progress
from fsseg_bench.protocol.spec import RESOLUTIONS
from fsseg_bench.records.kept import counts_path, kept_header, kept_steps, same_state, state_path
from fsseg_bench.records.lines import Chain, LineLog, LinesError, read_lines
from fsseg_bench.records.provenance import provenance
from fsseg_bench.records.read import StoredRun, read_run
from fsseg_bench.storage.files import free_aside
from fsseg_bench.storage.lock import FolderLock


class _Counted(NamedTuple):
    """A state whose episodes are counted."""

    method: Method
    log: LineLog | None
    """None: the run's own, whose counts are known and must come out again."""

    @property
    def start(self) -> int:
        """The first episode that is not counted."""
        return self.log.rows - 1 if self.log else 0


def count_kept(
    folder: Path,
    places: RunPlaces | None = None,
    progress: Progress | None = None,
    opened: OpenSources | None = None,
) -> None:
    """Writes the counts of each state that a finished run kept, or what is missing of them.

    Raises:
        UserError: as :func:`fsseg_bench.engine.open_run.open_run`; a state is damaged or another run's; code has
            changed and the run's counts do not come out again; the folder is in use.
        Stopped: the process was told to end; the same call goes on from there.
    """
    run, progress = read_run(folder), progress or Progress()
    if not _lacking(run):
        return
    found = open_run(folder, places, opened)
    with FolderLock(folder):
        _count(found, _lacking(run, progress), progress)


def _lacking(run: StoredRun, progress: Progress | None = None) -> list[int]:
    """The steps whose states are not counted to the end; with ``progress``, what cannot be gone on with is moved."""
    return [step for step in kept_steps(run.folder) if not _is_counted(run, step, progress)]


def _is_counted(run: StoredRun, step: int, progress: Progress | None) -> bool:
    path = counts_path(run.folder, step)
    wanted = kept_header(run, step, file_hash(state_path(run.folder, step)))
    why = f"{path}: of another state of the run"
    try:
        rows = read_lines(path, _chain(run))
    except LinesError as error:
        rows, why = [{}], str(error)
    if not rows or same_state(rows[0], wanted):
        return len(rows) == len(run.counts().classes) + 1
    if progress is not None:
        progress.say(f"{why}; it is moved aside and made again")
        path.rename(free_aside(path))
    return False


def _chain(run: StoredRun) -> Chain:
    return Chain(run.info.identity, required=True)


def _count(opened: OpenRun, steps: Sequence[int], progress: Progress) -> None:
    plan, run = opened.plan, opened.run
    device = resolve_device(plan.request.device)
    keep_memory()
    for group in _groups(opened, steps):
        with ExitStack() as stack:
            counted = []
            for step in group:
                log = None if step is None else stack.enter_context(LineLog(counts_path(run.folder, step), _chain(run)))
                if step is not None and log is not None and log.rows == 0:
                    header = kept_header(run, step, file_hash(state_path(run.folder, step)))
                    log.append({**header, "device": describe(device), "provenance": provenance()})
                counted.append(_Counted(_method(opened, step), log))
            if moved := _evaluate(opened, counted, device, progress):
                progress.say(rounded_words(run.folder, moved))


def _evaluate(opened: OpenRun, counted: Sequence[_Counted], device: torch.device, progress: Progress) -> int:
    """Counts the episodes for states of equal encoders; by how many pixels the run's own moved at the most."""
    plan = opened.plan
    base = InferenceModel.of(plan.request, counted[0].method.to(device), device)
    heads = [base, *(base.with_head(one.method) for one in counted[1:])]
    moved = 0

    def sink(results: tuple[EpisodeResult, ...]) -> None:
        nonlocal moved
        for one, result in zip(counted, results, strict=True):
            if one.log is None:
                counts = {"input": result.input, "native": result.native}
                moved = max(moved, opened.check_counts(device, result.episode, **counts))
            elif one.start == result.episode:  # else it is counted already
                one.log.append(_row(result))

    evaluator = build_evaluator(
        plan, base, default_budget(device, plan.request.cache_gib), opened.run.info.timings.head_batch
    )
    evaluator.run_heads(heads, sink, start=min(one.start for one in counted), progress=progress)
    return moved


def _row(result: EpisodeResult) -> dict[str, Any]:
    counts: dict[str, Any] = {key: getattr(result, key).flatten().tolist() for key in RESOLUTIONS}
    return {"episode": result.episode, **counts}


def _groups(opened: OpenRun, steps: Sequence[int]) -> list[list[int | None]]:
    """Steps whose states encode images alike, and so read the same features; None is the run's own state."""
    groups: dict[str, list[int | None]] = {}
    for step in [*steps, *([None] if opened.changed_code else [])]:
        groups.setdefault(_encoder(_method(opened, step)), []).append(step)
    return list(groups.values())


def _method(opened: OpenRun, step: int | None) -> Method:
    """The method with the parameters after ``step`` steps; None: with those of the run's checkpoint."""
    method, run = copy.deepcopy(opened.plan.model), opened.run
    if step is not None:
        fill(method, load_kept(run.folder, step, run.info.identity), state_path(run.folder, step))
    return method


def _encoder(method: Method) -> str:
    """A digest of all that features depend on: backbones, or every number where the method encodes in its own way."""
    own = any(
        getattr(type(method), name) is not getattr(Method, name)
        for name in ("encode", "encode_support", "encode_unlabelled")
    )
    parts: dict[str, Tensor] = {}
    for i, module in enumerate([method] if own else trunks(method)):
        parts |= {f"{i}.{key}": value for key, value in module.state_dict().items()}
    digest = hashlib.sha256()
    for key, value in sorted(parts.items()):
        content = value.detach().cpu().contiguous()
        digest.update(f"{key} {content.dtype} {tuple(content.shape)} ".encode())
        digest.update(content.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
