"""What a plan says before it is run: what the run would find out late, and what a user should know."""

from __future__ import annotations

import copy

import torch

from fsseg_bench.engine.build import geometry_note
from fsseg_bench.engine.checks import ContractError, checked_prediction
from fsseg_bench.engine.made_up import evaluation_episode
from fsseg_bench.engine.plan import Plan
from fsseg_bench.engine.remembered import FORGETFUL, Remembered
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.images import EpisodeImages, few_images
from fsseg_bench.records.info import RUN_FILE
from fsseg_bench.records.settings import canonical_json


def check_ready(plan: Plan, tried: set[str]) -> None:
    """Finds what a run would find out at its start, or after its training; ``tried`` is what earlier plans have tried.

    Raises:
        UserError: the checkpoint does not fit, or the method predicts something else than the contract says.
    """
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
            episode = evaluation_episode(model, batch=1, way=request.train_way, shot=request.shot)
            checked_prediction(model.predict(episode), episode)
    except ContractError as error:
        advice = f"'fsseg-bench check-method {request.method}' says more"
        raise ContractError(f"{request.method}: {error}; {advice}") from None
    except UserError:
        raise
    except Exception:  # noqa: BLE001 - see above
        pass


def without_part(plan: Plan) -> list[str]:
    """Options that change nothing where a checkpoint is evaluated."""
    if plan.trained is None or plan.request.seed == 0:
        return []
    return [f"--seed {plan.request.seed} has no part in the evaluation of a checkpoint: all its parameters are stored"]


def remarks(plan: Plan, kept: Remembered = FORGETFUL) -> list[str]:
    """Where strides are not the method's, a licence, what it says of such episodes, and what the data lack."""
    layout, backbone = plan.cls.layout, (plan.backbone, plan.request.backbones_path)
    method = plan.request.method, plan.cls
    note = kept.get("geometry", (method, backbone), lambda: geometry_note(method[0], layout, *backbone))
    data = [f"data: {text.partition(';')[0]}" for text in plan.data_remarks[:1]]
    if len(plan.data_remarks) > 1:
        data[0] += f" (and {len(plan.data_remarks) - 1} remarks more: {RUN_FILE}, data verify)"
    said = [f"{method[0]}: {text}" for text in plan.method_remarks]
    licence = plan.model.backbone.facts.licence if plan.weights.source != "none" else None
    terms = f"{plan.backbone}: its published weights are under {licence}, which has terms of its own"
    chosen = [plan.validation.words] if plan.validation else []
    shared = [f"warning: {text}" for text in plan.shared]
    return [*([note] if note else []), *([terms] if licence else []), *said, *trained_on(plan), *chosen, *shared, *data]


def trained_on(plan: Plan) -> list[str]:
    """What is trained on, where that is another protocol's."""
    training = plan.training
    if training is None or not training.elsewhere:
        return []
    images = {image for shown in training.index.train_pairs(training.fold).values() for image in shown}
    return [f"training data: {training.rules.words}, {len(training.rules.base)} classes, {len(images):,} images"]


def few(plan: Plan) -> list[str]:
    """Where images or episodes are too few for trustworthy intervals."""
    names = dict(enumerate(plan.protocol.classes, start=1))
    where = f"warning: {plan.protocol.label} fold {plan.request.fold}"
    return [f"{where}: {text}" for text in few_images(EpisodeImages.of(plan.table), names)]
