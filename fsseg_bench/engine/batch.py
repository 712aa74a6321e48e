"""The runs of one command: planned, everything that can go wrong found before the first step of any, and measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from fsseg_bench.engine.device import backend_of, check_arithmetic, resolve_device, use_threads
from fsseg_bench.engine.distributed import check_batch
from fsseg_bench.engine.estimate import Speed, different_images, measure
from fsseg_bench.engine.left import Left, left_of, threads_words
from fsseg_bench.engine.outline import outline
from fsseg_bench.engine.plan import Plan, make_plan
from fsseg_bench.engine.ready import check_ready, few, remarks, without_part
from fsseg_bench.engine.remembered import FORGETFUL, Remembered
from fsseg_bench.engine.request_checks import stage_files
from fsseg_bench.engine.share import Jobs
from fsseg_bench.engine.slots import ONE_SLOT, Slots, slots_for
from fsseg_bench.engine.stage_plan import stage_notes, stages_left, title_of
from fsseg_bench.engine.training_data import OpenSources
from fsseg_bench.errors import NotHereError, UserError, last_words
from fsseg_bench.method import Method, Stage
from fsseg_bench.nn.weights import WeightsInfo
from fsseg_bench.protocol.lists import list_path
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.table import EpisodeTable
from fsseg_bench.recipe import Recipe
from fsseg_bench.records.request import RunRequest
from fsseg_bench.records.settings import OF_A_FOLD, RunSettings, ShownSettings, canonical_json, settings_shown

_UNCOUNTED = "the number of episodes, which the data decide (episodes.count = 0): their time is not in the estimate"
_WORTH_MEASURING = 100
"""Steps and episodes; of fewer the first ones are a good part."""


@dataclass(frozen=True)
class Planned:
    """A request that can be run."""

    request: RunRequest
    settings: RunSettings
    """The identity of the run."""
    shown: ShownSettings
    """The same as tables show them: an evaluated checkpoint has the recipe of its training."""
    label: str
    """Of the protocol."""
    episodes: int
    """How many there are."""
    left: Left
    """What is left to do. Steps of a stage that several runs of a command need are the first one's."""
    images: int | None = None
    """Different images that the evaluation encodes; None where the data are not here."""
    lacking: tuple[str, ...] = ()
    """The data and weights that are not here, in words: the settings then have no digests, and the run no identity."""
    stages: Mapping[str, int] = field(default_factory=dict)
    """Steps of each training that comes before, by title, whether it is done or not."""
    speed: Speed | None = None
    """What was measured, if anything was."""
    _plan: Plan | None = field(default=None, repr=False)

    @property
    def kind(self) -> str:
        """Runs of one kind differ in fold and seed, and cost the same."""
        return canonical_json(self.settings.without(*OF_A_FOLD, "seed"))

    @property
    def speeds(self) -> dict[str, float]:
        """Seconds a step of each stage, a training step and an episode, as far as they are known."""
        if self.speed is None:
            return {}
        own = {"train": self.speed.step, "evaluate": self.speed.evaluation(self.episodes, self.images)}
        return {title: one.step for title, one in self.speed.stages.items()} | own

    def memory(self, side_by_side: int = 1) -> int:
        """Bytes at the most when so many runs are made at a time; 0 where it was not measured."""
        if self.speed is None:
            return 0
        shared = side_by_side if self.request.cache_gib is None else 1
        return self.speed.memory(self.episodes, self.images, shared)

    def plan(self, opened: OpenSources) -> Plan:
        """The plan, made again unless it is the only one: the models of many runs would fill the memory."""
        return self._plan or make_plan(self.request, opened)


@dataclass(frozen=True)
class Batch:
    """The runs of one command, planned."""

    runs: tuple[Planned, ...]
    notes: tuple[str, ...]
    """What runs once though it was asked for twice, and what has no part in a run."""
    details: tuple[str, ...] = ()
    """What the notes of the tables will say, too: where images or episodes are few."""
    slots: Slots = ONE_SLOT
    """How many of the runs are made at a time."""


def plan_all(
    requests: Iterable[RunRequest],
    opened: OpenSources,
    *,
    here: bool = True,
    measuring: Callable[[str], None] | None = None,
    jobs: Jobs = 1,
) -> Batch:
    """Plans every run and finds what would stop it before its first step: nothing is written.

    Models are dropped again, unless there is one run only.

    Args:
        requests: what is asked for.
        opened: filled with the data sets that are opened.
        here: the runs are to be made on this machine, so that it must have device, data and weights. Otherwise a run
            whose data or weights are not here is planned as far as it can be.
        measuring: is told the name of each method before its speed is measured, where more than a hundred steps or
            episodes are left; None: nothing is measured.
        jobs: how many runs are to be made at a time; see :func:`fsseg_bench.engine.slots.slots_for`.

    Raises:
        UserError: all that is wrong, a line for each different message.
    """
    wanted = list(requests)
    slots = _first_slots(jobs, wanted)
    runs: dict[str, Planned] = {}
    failed: list[tuple[RunRequest, UserError]] = []
    planner = Planner(opened, here, measuring)
    for request in wanted:
        try:
            planned = planner.plan(request, slots, keep=len(wanted) == 1)
        except UserError as error:
            failed.append((request, error))
            continue
        identity = planned.settings.identity
        if identity in runs:
            planner.notes.append(f"{request.method} fold {request.fold}: asked for twice; it is run once")
        else:
            runs[identity] = planned
    if failed:
        raise _joined(failed, len(wanted))
    speeds = planner.speeds
    made = [replace(run, speed=speeds.get(run.kind)) for run in runs.values()]
    if jobs != 1:
        if wanted[0].threads is None:  # those of a slot were for planning and measuring; the next share is of all
            use_threads(None)
        as_asked = [replace(run, request=replace(run.request, threads=wanted[0].threads)) for run in made]
        left = [run for run in as_asked if run.left.steps]
        slots = slots_for(jobs, [run.request for run in left], lambda count: _fitting(left, count))
        made = [replace(run, request=slots.given(run.request, run.left.threads)) for run in as_asked]
        planner.notes += [slots.note] if slots.note else []
    notes, details = (tuple(dict.fromkeys(lines)) for lines in (planner.notes, planner.details))
    return Batch(tuple(made), notes, details, slots)


def _first_slots(jobs: Jobs, requests: Sequence[RunRequest]) -> Slots:
    """The slots if no run is done yet, for whose threads speeds are measured."""
    try:
        return slots_for(jobs, requests)
    except UserError:  # planning says so, together with whatever else is wrong
        return ONE_SLOT


def _fitting(runs: Sequence[Planned], count: int) -> int:
    """How many of ``count`` runs at a time the free memory is enough for, as far as it was measured."""
    host = torch.device("cpu")
    free = backend_of(host).free_memory(host)
    while count > 1 and count * max((run.memory(count) for run in runs), default=0) > free:
        count -= 1
    return count


class Planner:
    """Plans runs one by one; remembers what was tried and measured for earlier ones.

    With what is ``kept``, runs are planned that are not made in this process.
    """

    def __init__(
        self,
        opened: OpenSources,
        here: bool,
        measuring: Callable[[str], None] | None,
        kept: Remembered = FORGETFUL,
    ) -> None:
        self._opened, self._here, self._measuring, self._kept = opened, here, measuring, kept
        self._tried: set[str] = set()
        self._counted: set[str] = set()
        """The stages whose steps are in what is left of an earlier run."""
        self._weights: dict[tuple[str, str, str], tuple[WeightsInfo, tuple[str, ...]]] = {}
        self.speeds: dict[str, Speed | None] = {}
        """By the kind of run."""
        self.notes: list[str] = []
        self.details: list[str] = []

    def plan(
        self,
        request: RunRequest,
        slots: Slots = ONE_SLOT,
        *,
        keep: bool = False,
        coming: RunSettings | None = None,
    ) -> Planned:
        """A request planned for the threads of a slot, with its model if it is to be kept.

        ``coming`` is as in :func:`make_plan`.

        Raises:
            UserError: something is wrong with it.
        """
        try:
            if self._here:
                check_arithmetic(resolve_device(request.device), request)
            plan = make_plan(request, self._opened, self._kept, coming)
        except NotHereError as error:
            if self._here:
                raise
            return self._outlined(slots.given(request), (str(error),))
        check_batch(plan.recipe)
        left = left_of(plan.settings, request, len(plan.table), self._new_steps(plan))
        if request.threads is None and (words := threads_words(left)):
            self.notes.append(words)
        request = slots.given(request, left.threads)
        use_threads(request.threads)
        check_ready(plan, self._tried)
        drawn = plan.index, request.fold, plan.table.digest
        masked = plan.model.mask_enters_encoder
        self.notes += [*without_part(plan), *remarks(plan, self._kept), *stage_notes(plan.stages, request.out)]
        self.details += self._kept.get("few", drawn, lambda: few(plan))
        planned = Planned(
            request=request,
            settings=plan.settings,
            shown=settings_shown(plan.settings, plan.trained),
            label=plan.protocol.label,
            episodes=len(plan.table),
            left=left,
            images=self._kept.get(
                "images",
                (drawn, plan.model.unlabelled_images, request.scales, masked),
                lambda: different_images(plan.table, plan.further, request.scales, masked=masked),
            ),
            stages={one.title: one.stage.recipe.iterations for one in plan.to_train},
            _plan=replace(plan, request=replace(plan.request, threads=request.threads)) if keep else None,
        )
        self._measure(planned, plan.model, plan.protocol, plan.recipe, [one.stage for one in plan.to_train])
        return planned

    def _new_steps(self, plan: Plan) -> dict[str, int]:
        """What is left of a plan's stages, but for those that an earlier run trains."""
        new = tuple(one for one in plan.to_train if one.key.identity not in self._counted)
        self._counted |= {one.key.identity for one in new}
        return stages_left(new, plan.request.out)

    def _outlined(self, request: RunRequest, lacking: tuple[str, ...]) -> Planned:
        """A request without its data, and perhaps without its weights, in whose place are random numbers."""
        found = outline(request)
        use_threads(request.threads)
        key = request.method, found.backbone, found.weights
        if key not in self._weights:  # a model is needed to measure, and says what its weights are
            base = len(found.protocol.training(request.fold).base)
            missing: tuple[str, ...] = ()
            try:
                model, info = found.built(base)
            except NotHereError as error:
                missing = (str(error),)
                model, _ = replace(found, weights="none").built(base)
                info = WeightsInfo(model.backbone.facts.weights or found.weights, "")
            self._weights[key] = info, missing
        else:
            model = None
        info, missing = self._weights[key]
        lacking = (*dict.fromkeys([*lacking, *missing]),)
        unknown = dict.fromkeys(("data_fingerprint", "episode_digest", "method_digest"), "")
        settings = found.settings(request, found.protocol, info, unknown)
        spec = found.protocol.episodes
        episodes = spec.count_of(request.fold) * len(spec.seeds)
        if request.episode_list:
            episodes = len(EpisodeTable.from_csv(list_path(request.episode_list, request.fold)))
        elif not episodes:
            lacking = (*lacking, _UNCOUNTED)
        trained = [stage for stage in found.stages if stage.name not in stage_files(request)]
        stages = {title_of(stage): stage.recipe.iterations for stage in trained}
        planned = Planned(
            request=request,
            settings=settings,
            shown=settings_shown(settings, None),
            label=found.protocol.label,
            episodes=episodes,
            left=Left({**stages, "train": found.recipe.iterations, "evaluate": episodes}),
            lacking=lacking,
            stages=stages,
        )
        if model is not None:
            self._measure(planned, model, found.protocol, found.recipe, trained)
        return planned

    def _measure(
        self, planned: Planned, model: Method, protocol: Protocol, recipe: Recipe, stages: Sequence[Stage]
    ) -> None:
        """Measures the first run of each kind that is worth it."""
        worth = sum(planned.left.steps.values()) >= _WORTH_MEASURING
        if self._measuring is None or not worth or planned.kind in self.speeds:
            return
        name = planned.request.method
        self._measuring(name)
        self.speeds[planned.kind] = None
        try:
            device = resolve_device(planned.request.device)
            backbone = planned.settings.backbone
            self.speeds[planned.kind] = measure(model, planned.request, protocol, recipe, device, stages, backbone)
        except Exception as error:  # noqa: BLE001 - a run is made all the same, and says what is wrong
            self.notes.append(f"{name}: no estimate of its time ({last_words(error)})")


def _joined(failed: Sequence[tuple[RunRequest, UserError]], wanted: int) -> UserError:
    """All that is wrong: the only message as it is, several as a list with the runs that each concerns."""
    messages: dict[str, list[RunRequest]] = {}
    for request, error in failed:
        messages.setdefault(str(error), []).append(request)
    if len(messages) == 1:
        return failed[0][1]
    lines = [f"{len(failed)} of {wanted} runs cannot be made; nothing was started"]
    for message, requests in messages.items():
        methods: dict[str, list[int]] = {}
        for request in requests:
            methods.setdefault(request.method, []).append(request.fold)
        whose = "; ".join(f"{name} fold {','.join(map(str, folds))}" for name, folds in methods.items())
        lines.append(f"  {whose}: {(message.splitlines() or [''])[0]}")
    return UserError("\n".join(lines))
