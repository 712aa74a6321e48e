"""The contract tests of a backbone, for built-in and third-party ones alike."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torchvision
from torch import Tensor, nn

from fsseg_bench.engine.checks import TOLERANCE, Check, ContractError, difference, outcomes, require
from fsseg_bench.nn.backbones import Backbone, folded, for_shapes

_SIZES = ((129, 97), (64, 96))  # pixels: no multiple of a stride, and a multiple of 32
_FOLDED = 1e-3  # as TOLERANCE; folding rounds each weight once more


def check_backbone(build: Callable[[str], Backbone]) -> list[Check]:
    """Runs every contract test, with random weights.

    The argument of ``build`` is ``""`` for the whole network, or the name of a stage to cut it after.
    """
    made: list[Backbone] = []
    (built,) = outcomes({"it can be built": lambda: _built(build, made)})
    if not built.passed:
        return [built]
    tests: dict[str, Callable[[Backbone], str]] = {
        "channels and strides are those declared": _shapes,
        "each parameter belongs to one stage": _belonging,
        "evaluation is deterministic": _deterministic,
        "features depend on the image alone": _alone,
        "later stages leave earlier outputs as they were": _untouched,
        "gradient reaches the parameters": _gradient,
        "freezing by stage": _freezing,
        "made ready for evaluation": _folding,
        "bfloat16": _bfloat16,
        "published weights": _weights,
        "parameters are counted": lambda _: _counted(build),
        "cut after each stage": lambda whole: _cuts(whole, build),
    }
    # each on a copy: to draw millions of numbers anew takes longer
    return [built, *outcomes({name: partial(_on_a_copy, test, made[0]) for name, test in tests.items()})]


def _on_a_copy(test: Callable[[Backbone], str], backbone: Backbone) -> str:
    return test(copy.deepcopy(backbone))


def _built(build: Callable[[str], Backbone], made: list[Backbone]) -> str:
    made.append(backbone := build(""))
    return f"{type(backbone).__name__}, stages {', '.join(backbone.stages)}"


def _shapes(backbone: Backbone) -> str:
    for size in _SIZES:
        for stage, level in zip(backbone.facts.stages, _levels(backbone, _images(1, size)), strict=True):
            where = f"{stage.name} of {size[0]}x{size[1]} pixels"
            require(level.ndim == 4, f"{where}: an output of shape {tuple(level.shape)}, not (M, C, h, w)")
            found = level.shape[1]
            require(found == stage.channels, f"{where}: {found} channels, declared are {stage.channels}")
            for cells, pixels in zip(level.shape[2:], size, strict=True):
                least = max(pixels // stage.stride, 1)
                require(
                    least <= cells <= -(-pixels // stage.stride) + 1,
                    f"{where}: {cells} cells for {pixels} pixels, stride {pixels / cells:.1f}, declared {stage.stride}",
                )
            require(bool(level.isfinite().all()), f"{where}: the output is not finite")
    return ", ".join(f"{s.name} {s.channels} at {s.stride}" for s in backbone.facts.stages)


def _belonging(backbone: Backbone) -> str:
    modules = [(stage, backbone.stage_modules(stage)) for stage in backbone.stages]
    places: dict[int, str] = {}
    for place, group in [*modules, ("further_modules", backbone.further_modules())]:
        for parameter in {id(p): p for module in group for p in module.parameters()}:
            other = places.setdefault(parameter, place)
            require(other == place, f"a parameter belongs to {other} and to {place}; see stage_modules")
    outside = [name for name, p in backbone.named_parameters() if id(p) not in places]
    require(
        not outside,
        f"{', '.join(outside[:3])}{', ...' if len(outside) > 3 else ''}: in no stage; return the module from "
        "stage_modules (or further_modules), or leave it out of a network that is cut",
    )
    return f"{sum(p.numel() for p in backbone.parameters()):,} numbers"


def _counted(build: Callable[[str], Backbone]) -> str:
    """As ``list backbones`` counts them."""
    backbone = for_shapes(lambda: build(""))
    return ", ".join(f"{stage} {backbone.parameters_of(stage):,}" for stage in backbone.stages)


def _deterministic(backbone: Backbone) -> str:
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(_levels(backbone, _images(2)))
    same = [torch.equal(*pair) for pair in zip(*found, strict=True)]
    require(all(same), f"two passes differ in {_first(backbone, same)}; in evaluation nothing may be drawn")
    return "equal under two global seeds"


def _alone(backbone: Backbone) -> str:
    images = _images(3)
    together = _levels(backbone, images)
    alone = [torch.cat(parts) for parts in zip(*(_levels(backbone, image[None]) for image in images), strict=True)]
    worst = [difference(*pair) for pair in zip(together, alone, strict=True)]
    require(
        max(worst) <= TOLERANCE,
        f"{_first(backbone, [w <= TOLERANCE for w in worst])}: an image has other features in a batch than alone (by "
        f"{max(worst):.2g}); the engine keeps features per image, so no statistics of a batch in evaluation",
    )
    return f"largest relative difference {max(worst):.1g}"


def _untouched(backbone: Backbone) -> str:
    images = _images(1)
    given = images.clone()
    together = _levels(backbone, images)
    alone = [_levels(backbone, images, (stage,))[0] for stage in backbone.stages]
    same = [torch.equal(*pair) for pair in zip(together, alone, strict=True)]
    require(all(same), f"the output of {_first(backbone, same)} is changed by the stage after it; work out of place")
    require(torch.equal(images, given), "the images are changed in place")
    return "equal with and without them"


def _gradient(backbone: Backbone) -> str:
    # what begins at zero, as the last norms of residual blocks do in some networks, would hide what lies before it
    for parameter in backbone.parameters():
        if not bool(parameter.any()):
            nn.init.normal_(parameter, std=0.1)
    # in evaluation mode: what is dropped at random in training would hide parameters
    backbone.eval()(_images(2)).square().mean().backward()
    trained = {n: p for stage in backbone.stages for n, p in _named(backbone, stage)}
    without = [name for name, p in trained.items() if p.grad is None or not bool(p.grad.any())]
    require(not without, f"no gradient reaches {', '.join(without[:3])}{', ...' if len(without) > 3 else ''}")
    finite = all(p.grad is None or bool(p.grad.isfinite().all()) for p in trained.values())
    require(finite, "gradients are not finite")
    return f"{len(trained)} tensors"


def _freezing(backbone: Backbone) -> str:
    for place, through in enumerate(("none", *backbone.stages)):
        backbone.freeze(through)
        backbone.train()
        for number, stage in enumerate(backbone.stages, start=1):
            wrong = [name for name, p in _named(backbone, stage) if p.requires_grad == (number <= place)]
            state = "frozen" if number > place else "trained"
            require(not wrong, f"recipe.freeze={through}: {wrong[0] if wrong else ''} of {stage} is {state}")
    return f"recipe.freeze takes none, {', '.join(backbone.stages)}, all"


def _cuts(whole: Backbone, build: Callable[[str], Backbone]) -> str:
    state = whole.state_dict()
    levels = _levels(whole, _images(1))
    for stage, level in list(zip(whole.stages, levels, strict=True))[:-1]:
        cut = build(stage)
        more = sorted(cut.state_dict().keys() - state.keys())
        require(not more, f"cut after {stage}, it has {', '.join(more[:3])}, which the whole network has not")
        cut.load_state_dict({key: state[key] for key in cut.state_dict()})
        (found,) = _levels(cut, _images(1), (stage,))
        worst = difference(found.relu(), level.relu())  # a last stage may leave its ReLU out
        require(worst <= TOLERANCE, f"cut after {stage}, its features are not those of that stage (by {worst:.2g})")
        _belonging(cut)
    return ", ".join(whole.stages[:-1]) or "there is one stage"


def _folding(backbone: Backbone) -> str:
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:  # as they begin, a batch-norm does next to nothing
        for values, low, high in ((norm.weight, 0.5, 1.5), (norm.bias, -0.5, 0.5), (norm.running_var, 0.5, 2.0)):
            if isinstance(values, Tensor):
                nn.init.uniform_(values, low, high)
    expected, found = _levels(backbone, _images(1)), _levels(folded(backbone), _images(1))
    worst = max(difference(*pair) for pair in zip(found, expected, strict=True))
    require(
        worst <= _FOLDED,
        f"the copy for evaluation has other features (by {worst:.2g}): a batch-norm that is registered right after a "
        "convolution is folded into it, so it must be applied right after it",
    )
    return f"{len(norms)} batch-norms, largest relative difference {worst:.1g}"


def _bfloat16(backbone: Backbone) -> str:
    plain = _levels(backbone, _images(1))
    with torch.autocast("cpu", torch.bfloat16):
        found = _levels(backbone, _images(1))
    fine = [bool(a.isfinite().all()) and a.shape == b.shape for a, b in zip(found, plain, strict=True)]
    require(all(fine), f"under --precision bf16 the output of {_first(backbone, fine)} is not finite")
    return "finite"


def _weights(backbone: Backbone) -> str:
    name = backbone.facts.weights
    if name is None:
        return "none: --weights takes none or a file"
    if type(backbone).published_file is not Backbone.published_file:
        return f"{name}: names and shapes are compared when its file is read"
    if (url := backbone.facts.weights_url) is not None:
        return f"{name}: names and shapes are compared when {url} is read"
    try:
        weights = torchvision.models.get_weight(name)
    except ValueError as error:
        raise ContractError(f"facts.weights: torchvision has no {name} ({error})") from None
    settings = weights.transforms()
    for key in ("mean", "std"):
        published, own = tuple(getattr(settings, key)), getattr(backbone, key)
        require(published == own, f"facts.{key} is {own}, and that of {name} is {published}")
    models = torchvision.models
    network = next(network for network in models.list_models() if models.get_model_weights(network) is type(weights))
    published_state = for_shapes(lambda: models.get_model(network)).state_dict()
    for key, tensor in backbone.state_dict().items():
        found = published_state.get(key)
        require(found is not None, f"{name} has no tensor {key}; keep torchvision's names")
        require(found is not None and found.shape == tensor.shape, f"{name}: {key} has another shape there")
    return f"{name} fits by names and shapes"


def _images(count: int, size: tuple[int, int] = (97, 65)) -> Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


def _levels(backbone: Backbone, images: Tensor, stages: Sequence[str] | None = None) -> tuple[Tensor, ...]:
    backbone.eval()
    with torch.no_grad():
        return backbone.levels(images, backbone.stages if stages is None else stages)


def _named(backbone: Backbone, stage: str) -> list[tuple[str, nn.Parameter]]:
    inside = {id(p) for module in backbone.stage_modules(stage) for p in module.parameters()}
    return [(name, p) for name, p in backbone.named_parameters() if id(p) in inside]


def _first(backbone: Backbone, passed: Sequence[bool]) -> str:
    """The first stage that did not pass."""
    return next((stage for stage, fine in zip(backbone.stages, passed, strict=True) if not fine), "")
