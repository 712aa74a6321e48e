"""A sweep planned: each cell with its identity, command, folder and cost; nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from fsseg_bench.engine.batch import Planned, Planner
from fsseg_bench.engine.device import backend_of, check_arithmetic, resolve_device, use_threads
from fsseg_bench.engine.plan import Plan as EnginePlan
from fsseg_bench.engine.remembered import Remembered, settings_key
from fsseg_bench.engine.stage_plan import PlannedStage
from fsseg_bench.engine.sweep_requests import Asked, asked_cells, with_device
from fsseg_bench.engine.sweep_size import record_bytes, stage_bytes
from fsseg_bench.engine.training_data import OpenSources
from fsseg_bench.errors import UserError
from fsseg_bench.progress import Progress
from fsseg_bench.records.command import run_words, self_contained
from fsseg_bench.records.info import run_folder
from fsseg_bench.records.request import RunRequest
from fsseg_bench.records.settings import RunSettings
from fsseg_bench.storage.json_text import plain
from fsseg_bench.sweeps.code_state import code_state
from fsseg_bench.sweeps.labels import stage_label
from fsseg_bench.sweeps.options import keys_named
from fsseg_bench.sweeps.plan import FORMAT, Cell, Plan
from fsseg_bench.sweeps.spec import Spec

DEFAULT_THREADS = 1
"""That compute on the CPU where ``[cell]`` does not say: any machine has as many, so that a cell can go on anywhere."""
_MOST_NAMED = 3
_NOT_PRINTED = ("--quiet", "--no-estimate")
"""Of a cell's command: its log is read by its last line, and how long it takes is told from its record."""


def plan_sweep(spec: Spec, root: Path, progress: Progress | None = None) -> Plan:
    """Plans all cells of a sweep whose records are to be in ``root``; ``progress`` is told what was chosen.

    Data and weights must be here: they are a part of each run's identity. The device need not.

    Raises:
        UserError: whatever any of the cells would refuse, all of it with the cells that it concerns; or data or weights
            are not here.
    """
    progress = progress or Progress()
    kept, opened = Remembered(), OpenSources()
    asked = asked_cells(spec, kept)
    wanted, gpus, device = with_device(spec, asked.cells)
    work = _Work(Planner(opened, here=False, measuring=None, kept=kept), opened, kept, spec, root.absolute())
    threads = torch.get_num_threads()
    try:
        with progress.meter("plan", len(wanted)) as meter:
            for cell in _in_order(wanted):
                work.plan(cell)
                meter.advance(1)
    finally:
        use_threads(threads)  # planning took those of the cells
    work.check(len(wanted))
    cells, twice = work.cells(wanted)
    few = _few([*dict.fromkeys(work.planner.details)], "warnings about few test images or episodes")
    notes = [*dict.fromkeys([*asked.notes, *twice, *work.planner.notes, *few, *device, *_threads_note(spec)])]
    for note in [*notes, *filter(None, [keys_named(notes)])]:
        progress.say(note)
    return Plan(
        format=FORMAT,
        name=spec.name,
        spec=spec.digest,
        code=code_state(spec, root),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        needs=replace(spec.cell, gpus=gpus),
        slurm=spec.slurm,
        ray=spec.ray,
        cells=tuple(cells),
    )


@dataclass
class _Work:
    """Cells planned one by one, in an order in which models and trainings are there for the next ones."""

    planner: Planner
    opened: OpenSources
    kept: Remembered
    spec: Spec
    root: Path
    settings: dict[str, RunSettings] = field(default_factory=dict)
    made: dict[str, Cell] = field(default_factory=dict)
    stages: dict[str, list[Cell]] = field(default_factory=dict)
    """By label of a cell those that would train what comes before its method, if others need it, too."""
    failed: dict[str, list[str]] = field(default_factory=dict)
    """By message the cells that it concerns."""
    lacking: dict[str, list[str]] = field(default_factory=dict)
    """By what is not here the cells that need it."""

    def plan(self, asked: Asked) -> None:
        """Plans a cell; one whose training cannot be planned is left out, since that is told already."""
        coming = self.settings.get(asked.trains or "")
        if asked.trains is not None and coming is None:
            return
        threads, workers = self.spec.cell.threads or DEFAULT_THREADS, self.spec.cell.workers
        request = replace(asked.request, threads=threads, workers=workers, out=str(self.root))
        if coming is not None:
            request = _evaluating(request, self.root / run_folder(Path(), coming))
        try:
            _check_device(request)
            planned = self.planner.plan(request, keep=True, coming=coming)
        except UserError as error:
            self.failed.setdefault(str(error), []).append(asked.label)
            return
        for what in planned.lacking:
            self.lacking.setdefault(what, []).append(asked.label)
        if not planned.lacking:
            self.settings[asked.label] = planned.settings
            plan = planned.plan(self.opened)
            self.made[asked.label] = self._cell(asked, planned, plan)
            self.stages[asked.label] = [self._stage(self.made[asked.label], plan, one) for one in plan.to_train]

    def check(self, wanted: int) -> None:
        """Says all that is wrong.

        Raises:
            UserError: something is.
        """
        if self.failed:
            count = sum(map(len, self.failed.values()))
            lines = [f"{self.spec.where}: {count} of {wanted} cells cannot be made; nothing was written"]
            keys = keys_named(self.failed)
            raise UserError("\n".join([*lines, *_listed(self.failed), *([f"  ({keys})"] if keys else [])]))
        if self.lacking:
            lines = [
                f"{self.spec.where}: a sweep is planned where its data and weights are, since they are a part of each "
                "run's identity: on this machine, or in a folder that it shares with those that make the cells. "
                "Nothing was written. Not here:"
            ]
            raise UserError("\n".join([*lines, *_listed(self.lacking)]))

    def cells(self, asked: Sequence[Asked]) -> tuple[list[Cell], list[str]]:
        """The cells in the order in which they are asked for, each run once; and what to say of equal ones."""
        first: dict[tuple[str, str | None], str] = {}
        same: dict[str, str] = {}
        found, notes = [], []
        for label in (one.label for one in asked):
            cell = self.made[label]
            waits = same.get(cell.waits_for, cell.waits_for) if cell.waits_for else None
            same[label] = first.setdefault((cell.identity, waits), label)
            if same[label] == label:
                found.append(replace(cell, waits_for=waits))
            else:
                notes.append(f"{label} is the same run as {same[label]}; it is made once")
        return self._with_stages(found), _few(notes, "cells are the same runs as others; each is made once")

    def _with_stages(self, cells: Sequence[Cell]) -> list[Cell]:
        """The cells, each after those that train what comes before its method and what others need, too.

        A cell waits for the last of several such, which waits for those before it.
        """
        needed = Counter(stage.identity for cell in cells for stage in self.stages[cell.label])
        label: dict[str, str] = {}
        found: list[Cell] = []
        for cell in cells:
            first = cell.waits_for
            for stage in self.stages[cell.label]:
                if needed[stage.identity] == 1:
                    continue
                if stage.identity not in label:
                    label[stage.identity] = stage.label
                    found.append(replace(stage, waits_for=first))
                first = label[stage.identity]
            found.append(replace(cell, waits_for=first))
        return found

    def _stage(self, cell: Cell, plan: EnginePlan, stage: PlannedStage) -> Cell:
        name = stage.stage.name
        return Cell(
            label=stage_label(name, cell.label),
            command=(*cell.command, "--stage", name),
            folder=stage.key.folder(Path()).as_posix(),
            identity=stage.key.identity,
            train=stage.stage.recipe.iterations,
            evaluate=0,
            bytes=stage_bytes(plan, stage, self.kept),
            options={**cell.options, "stage": name},
        )

    def _cell(self, asked: Asked, planned: Planned, plan: EnginePlan) -> Cell:
        settings = planned.settings
        words = run_words(self_contained(planned.request, settings), str(settings.fold))[1:]
        folder = run_folder(Path(), settings)
        if asked.trains is not None:  # its name ends with digits of an identity that is known when the checkpoint is
            folder = folder.with_name(f"fold{settings.fold}-checkpoint-*")
        return Cell(
            label=asked.label,
            command=(*words, *_NOT_PRINTED),
            folder=folder.as_posix(),
            identity=settings.identity,
            train=settings.iterations or 0,
            evaluate=planned.episodes,
            bytes=record_bytes(plan, self.kept),
            waits_for=asked.trains,
            options=plain(asked.shown),
        )


def _check_device(request: RunRequest) -> None:
    """What a device of this kind cannot do, as far as there is one here."""
    if request.device == "cpu" or backend_of(torch.device("cuda")).count():
        check_arithmetic(resolve_device(request.device), request)


def _evaluating(request: RunRequest, training: Path) -> RunRequest:
    """The request as one that evaluates the checkpoint of a training: without what has no part in that."""
    settings = {key: value for key, value in request.settings.items() if not key.startswith(("recipe.", "stage."))}
    nothing = {"iterations": None, "weights": None, "seed": 0}
    return replace(request, **nothing, settings=settings, eval_only=str(training))  # type: ignore[arg-type]


def _in_order(cells: Sequence[Asked]) -> list[Asked]:
    """Trainings before what evaluates them, and cells of one model one after the other: it is built once."""

    def kind(cell: Asked) -> tuple[bool, str]:
        request = cell.request
        model = request.method, request.methods_path, request.backbone, request.backbones_path, request.weights
        return cell.trains is not None, repr((model, request.dataset, settings_key(request.settings), request.fold))

    return sorted(cells, key=kind)


def _listed(told: Mapping[str, Sequence[str]]) -> list[str]:
    lines = []
    for message, labels in told.items():
        more = f" and {len(labels) - _MOST_NAMED} more" if len(labels) > _MOST_NAMED else ""
        first, *rest = message.splitlines() or [""]
        lines += [f"  {', '.join(labels[:_MOST_NAMED])}{more}: {first}", *(f"    {line}" for line in rest)]
    return lines


def _few(notes: Sequence[str], summary: str) -> list[str]:
    return list(notes) if len(notes) <= _MOST_NAMED else [*notes[:_MOST_NAMED], f"... {len(notes)} {summary}"]


def _threads_note(spec: Spec) -> list[str]:
    if spec.cell.threads is not None:
        return []
    return [
        f"threads: {DEFAULT_THREADS} a cell, on any machine ([cell] threads = N takes more; sums are rounded by it, so "
        "that it is planned)"
    ]
