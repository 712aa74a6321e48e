"""Finished runs predict their queries again with other supports: what a method does with its support."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fsseg_bench.engine.cache import FeatureCache, default_budget
from fsseg_bench.engine.device import describe, resolve_device
from fsseg_bench.engine.evaluate import Evaluator
from fsseg_bench.engine.inference import InferenceModel
from fsseg_bench.engine.memory import keep_memory
from fsseg_bench.engine.open_run import OpenRun, RunPlaces, open_run
from fsseg_bench.engine.plan import Plan
from fsseg_bench.engine.results import EpisodeResult, NotFiniteError
from fsseg_bench.engine.run_evaluation import build_evaluator
from fsseg_bench.engine.training_data import OpenSources
from fsseg_bench.errors import UserError
from fsseg_bench.progress import Progress
from fsseg_bench.protocol.controls import DRAWS, Control, make_controls
from fsseg_bench.protocol.table import further_of_table
from fsseg_bench.records.controls import CONTROLS_FILE, controls_header, is_complete, rows_by_control, same_controls
from fsseg_bench.records.lines import Chain, LineLog, LinesError, read_lines
from fsseg_bench.records.privacy import without_machine
from fsseg_bench.records.provenance import provenance
from fsseg_bench.storage.files import free_aside
from fsseg_bench.storage.json_text import plain
from fsseg_bench.storage.lock import FolderLock

_MASKLESS = (ValueError, IndexError, ZeroDivisionError)  # what a method may answer to a mask of no pixel


def measure_controls(
    folder: Path,
    draws: int = DRAWS,
    places: RunPlaces | None = None,
    progress: Progress | None = None,
    opened: OpenSources | None = None,
) -> Path:
    """Writes ``controls.jsonl`` into a finished run's folder, or what is missing of it; returns the file.

    All controls share one cache of features, so that an image is encoded once for all of them; only where the
    support's mask enters the encoder is it encoded once for each mask. Controls of other draws that are already there
    are moved aside.

    Raises:
        UserError: as :func:`fsseg_bench.engine.open_run.open_run` and
            :func:`fsseg_bench.protocol.controls.make_controls`; code has changed and the run's counts do not come out
            again; the folder is in use.
    """
    found = open_run(folder, places, opened)
    try:
        controls = controls_of(found.plan, draws)
    except UserError as error:
        raise UserError(f"{folder}: {error}") from None
    with FolderLock(folder, "measuring controls", "wait for it: what it has measured is not measured again"):
        return _measure(found, controls, draws, progress or Progress())


def controls_of(plan: Plan, draws: int) -> tuple[Control, ...]:
    """The controls of a plan's episodes; errors as :func:`fsseg_bench.protocol.controls.make_controls`."""
    frame, queries = plan.index.frame, set(plan.table.queries)
    rows = frame[frame["image"].isin(queries)]
    shown = {str(image): frozenset(own) for image, own in rows.groupby("image")["class"]}
    return make_controls(plan.table, plan.index.test_pairs(plan.request.fold), shown, plan.index.copies, draws)


def _measure(found: OpenRun, controls: Sequence[Control], draws: int, progress: Progress) -> Path:
    run = found.run
    path, chain = run.folder / CONTROLS_FILE, Chain(run.info.identity, required=True)
    header = plain(controls_header(run, controls, draws))
    existing = _existing(path, chain, header, progress)
    done = rows_by_control(header, existing[1:])
    if existing and all(is_complete(len(one.table), done[one.name]) for one in controls):
        return path
    own = _Measured(found)
    if found.changed_code:
        own.check(progress)
    with LineLog(path, chain) as log:
        if log.rows == 0:
            # without paths and hosts, so that a pack may hold the file as it is
            made = {"device": describe(own.model.device), "provenance": provenance()}
            log.append({**header, **without_machine(made)})
        for number, control in enumerate(controls, start=1):
            if not is_complete(len(control.table), done[control.name]):
                title = f"{control.name} ({number} of {len(controls)})"
                own.measure(control, log, len(done[control.name]), progress, title)
    return path


def _existing(path: Path, chain: Chain, header: dict[str, Any], progress: Progress) -> list[dict[str, Any]]:
    """What is there already of these controls; anything else is moved aside."""
    try:
        existing = read_lines(path, chain)
        if existing and same_controls(existing[0], header):
            rows_by_control(header, existing[1:])
            return existing
    except (LinesError, ValueError) as error:
        told = str(error) if isinstance(error, LinesError) else f"{path}: {error}"
        progress.say(f"{told}; it is moved aside and made again")
        existing = [{}]
    if existing:
        path.rename(free_aside(path))
    return []


class _Measured:
    """One model and one cache for all controls."""

    def __init__(self, found: OpenRun) -> None:
        plan = found.plan
        device = resolve_device(plan.request.device)
        keep_memory()
        self._found = found
        self.model = InferenceModel.of(plan.request, plan.model.to(device), device)
        budget = default_budget(device, plan.request.cache_gib)
        self._own = build_evaluator(plan, self.model, budget, found.run.info.timings.head_batch)
        self._cache: FeatureCache = self._own.cache

    def check(self, progress: Progress) -> None:
        """Whether the run's own episodes still have their counts.

        Raises:
            UserError: they have not.
        """

        def sink(result: EpisodeResult) -> None:
            moved = self._found.check_counts(
                self.model.device, result.episode, input=result.input, native=result.native
            )
            if moved:
                progress.say(f"episode {result.episode}: {moved:,} pixel(s) decided otherwise, by a GPU's rounding")

        self._own.run(sink, progress=progress)

    def measure(self, control: Control, log: LineLog, start: int, progress: Progress, title: str) -> None:
        """Counts what is missing of a control, from its episode ``start`` on; progress is told by the ``title``."""
        evaluator = self._evaluator(control)
        refused = (NotFiniteError, *(_MASKLESS if control.mask == "empty" else ()))
        try:
            evaluator.run(lambda result: log.append(_row(control, result)), start, progress, title)
        except refused as error:
            progress.say(f"{control.name}: left out, {error}")
            log.append({"control": control.name, "refused": f"{type(error).__name__}: {error}"})

    def _evaluator(self, control: Control) -> Evaluator:
        plan, headline = self._found.plan, self._found.run.settings.headline
        count = plan.model.unlabelled_images
        pairs, copies = plan.index.test_pairs(plan.request.fold), plan.index.copies
        further = further_of_table(control.table, pairs, count, copies) if count else ()
        setting = replace(self._own.setting, head_batch=self._own.head_batch, counted=(headline,), boundary=0.0)
        return Evaluator(
            self.model, plan.source, control.table, setting, self._cache, further, control.truth, control.mask
        )


def _row(control: Control, result: EpisodeResult) -> dict[str, Any]:
    i = result.episode
    table = control.table
    (counted,) = result.at.values()
    return {
        "control": control.name,
        "episode": control.episodes[i],
        "query": table.queries[i],
        "class": table.classes[i][0],
        "supports": list(table.supports[i][0]),
        "counts": counted.pixels.flatten().tolist(),
    }
