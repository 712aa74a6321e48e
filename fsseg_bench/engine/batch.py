"""The runs of one command: which they are, and everything that can go wrong found before the first step of any."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from fsseg_bench.engine.build import LIGHT_BACKBONE, default_backbone, geometry_note
from fsseg_bench.engine.checks import ContractError, checked_prediction
from fsseg_bench.engine.device import resolve_device
from fsseg_bench.engine.made_up import evaluation_episode
from fsseg_bench.engine.plan import PUBLISHED, OpenSources, Plan, make_plan
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.images import EpisodeImages, few_images
from fsseg_bench.records.info import RUN_FILE
from fsseg_bench.records.request import RunRequest, protocol_of
from fsseg_bench.records.settings import RunSettings, ShownSettings, canonical_json, settings_shown
from fsseg_bench.registry import find_method

COMMON_BACKBONE = "resnet50"
"""What several methods of one command share where none is named and the protocol has no light one."""


@dataclass(frozen=True)
class Requests:
    """What one command asks for."""

    requests: tuple[RunRequest, ...]
    notes: tuple[str, ...]
    """What was chosen for the user, and what was given twice."""


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
    _plan: Plan | None = field(default=None, repr=False)

    def plan(self, opened: OpenSources) -> Plan:
        """The plan, made again unless it is the only one: the models of many runs would fill the memory."""
        return self._plan or make_plan(self.request, opened)


@dataclass(frozen=True)
class Batch:
    """The runs of one command, planned."""

    runs: tuple[Planned, ...]
    notes: tuple[str, ...]
    """What runs once though it was asked for twice, and what has no part in a run."""


def requests_for(methods: Sequence[str], folds: Sequence[int] | None, **options: Any) -> Requests:
    """A request for each method and fold, each once.

    Several methods share one backbone unless one is named: the light one for the embedded images, else ResNet-50. A
    single method gets its own, and so does each with ``backbone="published"``. ``folds`` of None are all there are;
    ``options`` are the other fields of :class:`fsseg_bench.records.request.RunRequest`.
    """
    names = list(dict.fromkeys(methods))
    if folds is None:
        try:
            folds = tuple(protocol_of(RunRequest(method=names[0], **options)).folds)
        except UserError:  # planning says so, together with whatever else is wrong
            folds = (1,)
    numbers = list(dict.fromkeys(folds))
    notes = [f"--method {name} is given twice; it is run once" for name in names if list(methods).count(name) > 1]
    notes += [f"--fold {fold} is given twice; it is run once" for fold in numbers if list(folds).count(fold) > 1]
    requests = [RunRequest(method=name, fold=fold, **options) for name in names for fold in numbers]
    if requests and requests[0].backbone in {None, PUBLISHED}:
        try:
            backbone, note = _chosen_backbone(requests[0], names)
        except UserError:  # planning says so, together with whatever else is wrong
            return Requests(tuple(requests), tuple(notes))
        notes.append(note)
        requests = [replace(request, backbone=backbone) for request in requests]
    return Requests(tuple(requests), tuple(notes))


def _chosen_backbone(request: RunRequest, names: Sequence[str]) -> tuple[str | None, str]:
    """The backbone to ask for where none is named, and a line that says so."""
    protocol = protocol_of(request)
    classes = {name: find_method(name, request.methods_path) for name in names}
    published = ", ".join(f"{name} {cls.default_backbone}" for name, cls in classes.items())
    if request.backbone == PUBLISHED:
        return PUBLISHED, f"backbone: each method's published one ({published})"
    defaults = [default_backbone(cls, protocol) for cls in classes.values()]  # those that the methods would have alone
    own, weights = {name for name, _ in defaults}, defaults[0][1]
    if len(names) > 1:
        common = LIGHT_BACKBONE if own == {LIGHT_BACKBONE} else COMMON_BACKBONE
        return common, (
            f"backbone: {common} for all methods, weights {request.weights or weights} (published: {published}; "
            f"--backbone {PUBLISHED} gives each its own)"
        )
    (chosen,), cls = own, classes[names[0]]
    if chosen == cls.default_backbone:
        return None, f"backbone: {chosen}, {names[0]}'s own"
    return None, f"backbone: {chosen}, the light one for embedded images ({names[0]}'s own: {cls.default_backbone})"


def plan_all(requests: Iterable[RunRequest], opened: OpenSources, *, here: bool = True) -> Batch:
    """Plans every run and finds what would stop it before its first step: nothing is written.

    Models are dropped again, unless there is one run only. With ``here`` the runs are to be made on this machine, so
    that it must have the device.

    Raises:
        UserError: all that is wrong, a line for each different message.
    """
    wanted = list(requests)
    runs: dict[str, Planned] = {}
    failed: list[tuple[RunRequest, UserError]] = []
    notes: list[str] = []
    tried: set[str] = set()
    for request in wanted:
        try:
            if here:
                resolve_device(request.device)
            plan = make_plan(request, opened)
            _check_ready(plan, tried)
        except UserError as error:
            failed.append((request, error))
            continue
        identity = plan.settings.identity
        if identity in runs:
            notes.append(f"{request.method} fold {request.fold}: asked for twice; it is run once")
            continue
        notes += [*_without_part(plan), *_remarks(plan)]
        shown = settings_shown(plan.settings, plan.trained)
        kept = plan if len(wanted) == 1 else None
        runs[identity] = Planned(request, plan.settings, shown, plan.protocol.label, len(plan.table), kept)
    if failed:
        raise _joined(failed, len(wanted))
    return Batch(tuple(runs.values()), tuple(dict.fromkeys(notes)))


def _check_ready(plan: Plan, tried: set[str]) -> None:
    """What a run would find out at its start, or after its training; ``tried`` is what earlier plans have tried."""
    if plan.checkpoint is not None:
        plan.checkpoint.fill(plan.model)
    key = canonical_json({k: getattr(plan.settings, k) for k in ("method", "backbone", "switches", "way", "shot")})
    if key not in tried:
        _check_shape(plan)
        tried.add(key)


def _check_shape(plan: Plan) -> None:
    """One prediction of a small made-up episode: a wrong shape is found before hours of training.

    What else a method raises there may be about the small images; the first real episode tells.
    """
    request = plan.request
    model = copy.deepcopy(plan.model).eval()  # whatever a method keeps must not reach the run
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            episode = evaluation_episode(model, batch=1, way=request.way, shot=request.shot)
            checked_prediction(model.predict(episode), episode)
    except ContractError as error:
        advice = f"'fsseg-bench check-method {request.method}' says more"
        raise ContractError(f"{request.method}: {error}; {advice}") from None
    except UserError:
        raise
    except Exception:  # noqa: BLE001 - see above
        pass


def _without_part(plan: Plan) -> list[str]:
    """Options that change nothing where a checkpoint is evaluated."""
    if plan.trained is None or plan.request.seed == 0:
        return []
    return [f"--seed {plan.request.seed} has no part in the evaluation of a checkpoint: all its parameters are stored"]


def _remarks(plan: Plan) -> list[str]:
    """Where strides are not the method's, where images or episodes are too few for trustworthy intervals, and what was
    left out of the data."""
    note = geometry_note(plan.request.method, plan.cls.layout, plan.backbone, plan.request.backbones_path)
    names = dict(enumerate(plan.protocol.classes, start=1))
    where = f"warning: {plan.protocol.label} fold {plan.request.fold}"
    few = [f"{where}: {text}" for text in few_images(EpisodeImages.of(plan.table), names)]
    data = [f"data: {text.partition(';')[0]}" for text in plan.remarks[:1]]
    if len(plan.remarks) > 1:
        data[0] += f" (and {len(plan.remarks) - 1} remarks more: {RUN_FILE}, data verify)"
    return [*([note] if note else []), *few, *data]


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
