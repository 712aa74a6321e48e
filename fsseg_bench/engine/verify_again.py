"""Some episodes of a recorded run predicted again and counted, where data and parameters are there."""

from __future__ import annotations

import random
from dataclasses import replace

import torch

from fsseg_bench.data.loading import query_label
from fsseg_bench.engine.cache import Budget
from fsseg_bench.engine.counts import confusion
from fsseg_bench.engine.device import describe, resolve_device, use_threads
from fsseg_bench.engine.inference import InferenceModel
from fsseg_bench.engine.memory import keep_memory
from fsseg_bench.engine.open_run import ChangedError, OpenRun, RunPlaces, open_run
from fsseg_bench.engine.run_evaluation import build_evaluator
from fsseg_bench.engine.same_counts import moved_pixels
from fsseg_bench.engine.training_data import OpenSources
from fsseg_bench.engine.verify_protocol import UnableError
from fsseg_bench.errors import UserError
from fsseg_bench.records.info import CHECKPOINT_FILE
from fsseg_bench.records.provenance import other_software
from fsseg_bench.records.read import RecordError, StoredRun, same_classes

_KEEP_NOTHING = Budget(0, 0)
_SHARE = 0.001  # of an episode's pixels, which another machine or version may decide otherwise
_FOLDERS = ("methods_path", "backbones_path", "sources_path")


class EpisodesAgain:
    """Predicts random episodes of runs again, for :func:`fsseg_bench.engine.verify.verify`."""

    def __init__(self, count: int, places: RunPlaces | None = None, seed: int | None = None) -> None:
        """``count`` episodes of each run, drawn with ``seed`` (None: other ones each time)."""
        self._count, self._places = count, places or RunPlaces()
        self._random = random.Random(seed)
        self._opened: OpenSources = {}

    def __call__(self, run: StoredRun) -> str:
        """Says which episodes came out as recorded.

        No code is run that the record alone names: folders of further methods, backbones and sources must be given.

        Raises:
            RecordError: an episode has other counts at the input size; with another machine, or other versions, in over
                a thousandth of its pixels.
            ChangedError: what the run depends on is not what the record states.
            UnableError: data, parameters or code are not here.
        """
        # with other threads, sums would be rounded otherwise
        use_threads(run.info.cpu_threads)
        try:
            return self._again(run, self._open(run))
        finally:
            use_threads(None)

    def _again(self, run: StoredRun, opened: OpenRun) -> str:
        counts = run.counts()
        drawn = sorted(self._random.sample(range(len(counts.input)), min(self._count, len(counts.input))))
        device = resolve_device(opened.plan.request.device)
        keep_memory()
        model = InferenceModel.of(opened.plan.request, opened.plan.model.to(device), device)
        evaluator = build_evaluator(opened.plan, model, _KEEP_NOTHING, run.info.timings.head_batch)
        most = 0.0 if describe(device) == run.info.device and not other_software(run.info.provenance) else _SHARE
        if not same_classes(counts, opened.plan.table):
            raise RecordError("its lines have other classes than the episodes")
        table, size, moved = opened.plan.table, opened.plan.protocol.image.side, 0
        for episode in drawn:
            truth = query_label(opened.plan.source, table.queries[episode], table.classes[episode], size)
            found = confusion(evaluator.predict(episode)[None], torch.from_numpy(truth)[None], table.ways)
            recorded = counts.input[episode : episode + 1]
            other = int(moved_pixels(recorded, found.numpy())[0])
            if recorded.sum() != int(found.sum()) or other > most * int(recorded.sum()):
                raise RecordError(
                    f"episode {episode} comes out otherwise: at least {other:,} of {int(recorded.sum()):,} pixels at "
                    f"the input size; 'fsseg-bench reproduce' compares all, with code and versions{_code(opened)}"
                )
            moved = max(moved, other)
        rounding = (
            f", but for {moved:,} pixels at most, which another machine or version rounds otherwise" if moved else ""
        )
        return f"{', '.join(map(str, drawn))} predicted again with the recorded counts{rounding}"

    def _open(self, run: StoredRun) -> OpenRun:
        passed = run.info.passed
        for name in _FOLDERS:
            if getattr(passed, name) and getattr(self._places, name) is None:
                option = name.replace("_", "-")
                raise UnableError(f"code of {getattr(passed, name)} is not run unseen; name it with --{option}")
        if run.info.settings.has_checkpoint and not (run.folder / CHECKPOINT_FILE).is_file():
            raise UnableError(f"its {CHECKPOINT_FILE} is not here; name records that have it with --checkpoints")
        try:
            return open_run(run.folder, replace(self._places, workers=0), self._opened)
        except ChangedError:
            raise
        except UserError as error:
            raise UnableError(str(error)) from None


def _code(opened: OpenRun) -> str:
    return " (the code has changed since)" if opened.changed_code else ""
