"""How much of the disk a run's record will take, about."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Final

from torch import Tensor

from fsseg_bench.engine.optimise import prepare
from fsseg_bench.engine.plan import Plan
from fsseg_bench.engine.remembered import Remembered, settings_key
from fsseg_bench.engine.stage_plan import PlannedStage
from fsseg_bench.engine.stage_run import built_network
from fsseg_bench.method import Method
from fsseg_bench.pictures.episode import drawn_side
from fsseg_bench.recipe import Recipe
from fsseg_bench.records.kept import equal_steps

_OF_OPTIMISER: Final = {"sgd": 1, "adam": 2, "adamw": 2}
"""Numbers that an optimiser keeps of each one that is trained; of another, one is assumed."""
_RUN_FILE = 6_000
_TRAINING_LINE = 190
_PIXEL = 1.2


def record_bytes(plan: Plan, kept: Remembered) -> int:
    """The bytes of a finished record: checkpoint, kept states, logs, tables and pictures."""
    pictures = min(plan.request.panels, len(plan.table)) * _panel(plan)
    return _checkpoint(plan, kept) + _states(plan, kept) + _logs(plan) + pictures


def stage_bytes(plan: Plan, stage: PlannedStage, kept: Remembered) -> int:
    """The bytes of the finished training of a stage: checkpoint and log."""
    recipe, own = stage.stage.recipe, stage.stage.network
    key = own, plan.backbone, plan.request.backbones_path, plan.base_classes, _kind(recipe)

    def counted() -> int:
        network = built_network(
            stage.stage, plan.backbone, "none", plan.request, plan.protocol.training(plan.request.fold)
        )
        return _state_bytes(network, recipe)

    return _RUN_FILE + kept.get("stage's bytes", key, counted) + _TRAINING_LINE * recipe.iterations


def _checkpoint(plan: Plan, kept: Remembered) -> int:
    recipe = plan.recipe
    if not recipe.iterations:
        return 0
    return kept.get("checkpoint's bytes", (*_network(plan), _kind(recipe)), lambda: _state_bytes(plan.model, recipe))


def _states(plan: Plan, kept: Remembered) -> int:
    """Those that ``--keep-checkpoints`` keeps."""
    if not plan.request.keep_checkpoints or not plan.recipe.iterations:
        return 0
    count = len(equal_steps(plan.request.keep_checkpoints, plan.recipe.iterations))
    return count * kept.get("kept state's bytes", _network(plan), lambda: _bytes(plan.model.state_dict().values()))


def _network(plan: Plan) -> tuple[Hashable, ...]:
    """What decides which parameters a method has."""
    request, switches = plan.request, settings_key(plan.switches)
    return plan.cls, plan.backbone, request.backbones_path, plan.settings.weights, switches, plan.base_classes


def _kind(recipe: Recipe) -> tuple[str, ...]:
    """What decides how many numbers are trained."""
    return recipe.freeze, recipe.bn, recipe.optimizer


def _state_bytes(model: Method, recipe: Recipe) -> int:
    prepare(model, recipe)  # says what is trained
    numbers = model.state_dict().values()
    trained = (p for p in model.parameters() if p.requires_grad)
    return _bytes(numbers) + _OF_OPTIMISER.get(recipe.optimizer, 1) * _bytes(trained)


def _logs(plan: Plan) -> int:
    """Tables and logs; each number is what a line or a part of it took in records of photos and drawn images."""
    episodes, ways = len(plan.table), plan.table.ways
    images = len(plan.table.images(0))
    counts = 90 + 5 * 2 * (ways + 1) ** 2
    lengths = 40 + 4 * plan.protocol.image.size * ways
    tables = 16 * images * episodes + 145 * len(plan.evaluated.content)
    return _RUN_FILE + episodes * (counts + lengths) + tables + _TRAINING_LINE * plan.recipe.iterations


def _panel(plan: Plan) -> int:
    """A picture: a support for each way, the query, the prediction and the truth side by side, as PNG."""
    return int(_PIXEL * (plan.table.ways + 3) * drawn_side(plan.protocol.image.size) ** 2)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
