"""The contract tests of a method, for built-in and third-party adapters alike."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from fsseg_bench.engine.check_void import check_loss, check_supports
from fsseg_bench.engine.checks import (
    TOLERANCE,
    Check,
    ContractError,
    checked_losses,
    difference,
    outcomes,
    require,
)
from fsseg_bench.engine.inference import levels_of
from fsseg_bench.engine.made_up import evaluation_episode, images_of, predicted, training_episode
from fsseg_bench.engine.optimise import build_optimizer, clip, prepare
from fsseg_bench.engine.switches import default_switches, switch_types
from fsseg_bench.errors import UserError
from fsseg_bench.method import Episode, Method, TrainingFree
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.registry import FIDELITIES, Card
from fsseg_bench.seen import OF_METHOD, wrong
from fsseg_bench.values import checked_value, settable, type_text

_NEAR = 0.85  # of difflib: one or two letters of a name


def check_method(cls: type[Method], build: Callable[[], Method], card: Card | None = None) -> list[Check]:
    """Runs every contract test on fresh instances from ``build``.

    Where the class itself is not fit to be built, only what concerns the class is tested. A card of None is not tested.
    """
    about_class: dict[str, Callable[[], str]] = {
        "it defines what every method does": lambda: check_members(cls),
        "names of the contract": lambda: check_names(cls),
        "switches have a type and a default": lambda: check_switches(cls),
    }
    if card is not None:
        about_class["card"] = lambda: check_card(card)
    checks = outcomes(about_class)
    if not (checks[0].passed and checks[2].passed):
        return checks
    (built,) = outcomes({"it can be built": lambda: type(build()).__name__})
    if not built.passed:
        return [*checks, built]
    basic = outcomes(
        {
            "recipe": lambda: _recipe(cls),
            "logits: shape and finite, for N and K": lambda: _logits(build()),
            "evaluation is deterministic": lambda: _deterministic(build()),
        }
    )
    tests: Mapping[str, Callable[[], str]] = {
        "batch equals one by one": lambda: _batched(build()),
        "features depend on the image alone": lambda: _encode_alone(build()),
        "inputs are left as they were": lambda: _inputs_unchanged(build()),
        "empty support mask": lambda: _empty_mask(build()),
        "supports: void pixels count nowhere": lambda: check_supports(build()),
    }
    of_training: Mapping[str, Callable[[], str]] = {
        "loss: finite, gradient reaches the parameters": lambda: _gradient(cls, build()),
        "loss: void labels count nowhere": lambda: check_loss(build()),
    }
    if issubclass(cls, TrainingFree):
        of_training = {"nothing is trained": lambda: _nothing_trained(cls, build())}
    tests = {**tests, **of_training}
    if not all(one.passed for one in basic[1:]):  # what these find would follow from that, and say something else
        return [*checks, *basic, Check("what builds on these", False, f"not tested yet: {'; '.join(tests)}")]
    return [*checks, *basic, *outcomes(tests)]


def _recipe(cls: type[Method]) -> str:
    names = ("shapes5i", "pascal5i", "coco20i-a")
    for name in names:
        for shot in (1, 5):
            try:
                cls.recipe(load_protocol(name), shot).checked()
            except UserError as error:
                raise ContractError(f"recipe({name}, {shot}): {error}") from error
    return f"given for {', '.join(names)}, 1 and 5 shots"


def _logits(method: Method) -> str:
    most = min(method.max_ways or 3, 3)
    tried = [(way, shot) for way in range(1, most + 1) for shot in (1, 2, 5)]
    for way, shot in tried:
        logits = predicted(method, evaluation_episode(method, batch=2, way=way, shot=shot))
        require(bool(logits.isfinite().all()), f"{way}-way {shot}-shot: logits are not finite")
    return ", ".join(f"{way}-way {shot}-shot" for way, shot in tried)


def _deterministic(method: Method) -> str:
    episode = evaluation_episode(method, batch=2)
    torch.manual_seed(1)
    first = predicted(method, episode)
    torch.manual_seed(2)
    second = predicted(method, episode)
    require(torch.equal(first, second), "two predictions of one episode differ; draw from episode.seeds alone")
    return "equal under two global seeds"


def _batched(method: Method) -> str:
    worst = 0.0
    for way in range(1, min(method.max_ways or 2, 2) + 1):
        episode = evaluation_episode(method, batch=3, way=way, shot=2)
        together = predicted(method, episode)
        alone = torch.cat([predicted(method, episode.item(i)) for i in range(3)])
        worst = max(worst, difference(together, alone))
    require(worst <= TOLERANCE, f"three episodes together and alone differ by {worst:.2g} of the largest logit")
    return f"largest relative difference {worst:.1g}"


def _encode_alone(method: Method) -> str:
    images = images_of(3, "alone")
    method.eval()
    with torch.no_grad():
        together = levels_of(method.encode(images))
        alone = [levels_of(method.encode(image[None])) for image in images]
    worst = max(difference(level, torch.cat([one[i] for one in alone])) for i, level in enumerate(together))
    require(
        worst <= TOLERANCE,
        f"encode gives other features in a batch than alone (by {worst:.2g}); the engine caches features per image",
    )
    return f"largest relative difference {worst:.1g}"


def _inputs_unchanged(method: Method) -> str:
    episode = evaluation_episode(method, batch=2)
    tensors = [*levels_of(episode.support), *levels_of(episode.query), episode.support_masks]
    before = [tensor.clone() for tensor in tensors]
    predicted(method, episode)
    require(
        all(map(torch.equal, before, tensors)),
        "predict changed its input in place; cached features would be spoilt",
    )
    return "equal before and after"


def _empty_mask(method: Method) -> str:
    episode = evaluation_episode(method, batch=1)
    empty = dataclasses.replace(episode, support_masks=torch.zeros_like(episode.support_masks))
    require(
        bool(predicted(method, empty).isfinite().all()),
        "an empty support mask gives logits that are not finite",
    )
    return "finite"


def _nothing_trained(cls: type[Method], method: Method) -> str:
    """Whether a training-free method has neither iterations nor parameters of its own."""
    if iterations := cls.recipe(load_protocol("shapes5i"), 1).iterations:
        raise ContractError(f"{cls.__name__} is a TrainingFree method whose recipe has {iterations} iterations")
    own = {name for name, _ in method.named_parameters()}
    own -= {f"{trunk}.{name}" for trunk, part in _trunks(method) for name, _ in part.named_parameters()}
    require(not own, f"parameters that are not a backbone's would stay random: {', '.join(sorted(own)[:5])}")
    return "no iterations, and no parameters but the backbone's"


def _gradient(cls: type[Method], method: Method) -> str:
    recipe = cls.recipe(load_protocol("shapes5i"), 1)
    prepare(method, recipe)
    optimizer = build_optimizer(method, recipe)
    for shot in (1, 2):  # what weighs the shots learns from several only
        # a method that keeps every fourth cell of a support, from the first on, may see no object elsewhere
        _total(method, training_episode(method, shot, in_corner=shot > 1)).backward()
        clip(method, recipe.clip)
        optimizer.step()  # a last layer that begins at 0 hides those before it at first
    named = {id(p): name for name, p in method.named_parameters()}
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    without = sorted(named[id(p)] for p in trained if p.grad is None or not bool(p.grad.any()))
    require(not without, f"no gradient reaches {', '.join(without[:5])}{' ...' if len(without) > 5 else ''}")
    require(all(bool(p.grad.isfinite().all()) for p in trained), "gradients are not finite")
    return f"{len(trained)} trained tensors, each with a gradient"


def _trunks(method: Method) -> list[tuple[str, Backbone]]:
    return [(name, part) for name, part in method.named_children() if isinstance(part, Backbone)]


def _total(method: Method, episode: Episode) -> Tensor:
    parts = checked_losses(method.loss(episode))
    for name, value in parts.items():
        require(bool(value.isfinite()), f"loss {name!r} is {float(value.detach())}")
    return torch.stack(list(parts.values())).sum()


def check_members(cls: type[Method]) -> str:
    """Whether everything is there that every method defines."""
    if missing := sorted(getattr(cls, "__abstractmethods__", ())):
        raise ContractError(f"{cls.__name__} does not define {', '.join(missing)}")
    return "predict, loss and recipe"


def check_names(cls: type[Method]) -> str:
    """Whether a public name of the class is nearly one of the contract's: the engine would never look at it.

    Where the class has the contract's own name, too, the other one is its business.
    """
    contract = {name for name in vars(Method) if not name.startswith("_")}
    own = {name for base in cls.__mro__ if _of_a_method(base) for name in vars(base) if not name.startswith("_")}
    for name in sorted(own - contract):
        near = difflib.get_close_matches(name, sorted(contract - own), n=1, cutoff=_NEAR)
        if near:
            raise ContractError(
                f"{cls.__name__}.{name} is no part of the contract, and nothing calls or reads it. Did you mean "
                f"{near[0]!r}? (a name of your own: begin it with _, or choose another)"
            )
    return f"{len(own & contract)} of the contract's {len(contract)} names, none nearly so"


def _of_a_method(base: type) -> bool:
    return issubclass(base, Method) and base is not Method


def check_switches(cls: type[Method]) -> str:
    """Whether each switch has a type that can be set from outside and a default that it allows."""
    try:
        kinds, defaults = switch_types(cls), default_switches(cls)
        for key, kind in kinds.items():
            if not settable(kind):
                raise ContractError(
                    f"switch {key} has the type {type_text(kind)}, which --set cannot give; use bool, int, float, "
                    "str, Literal, tuple[X, ...], Mapping[str, X] or one of them | None"
                )
            fitting = checked_value(key, defaults[key], kind)
            if isinstance(defaults[key], str) and not isinstance(fitting, str):
                raise ContractError(f"the default of switch {key} is text, not {type_text(kind)}")
    except UserError as error:
        raise ContractError(str(error)) from None
    return ", ".join(kinds) or "none"


def check_card(card: Card) -> str:
    """Whether the module docstring says what the method is and how near to its original."""
    wanted = "the module docstring needs a first line and the lines Title:, Fidelity: (see docs/howto/add-method.md)"
    if not card.summary:
        raise ContractError(f"there is no card: {wanted}")
    if missing := [key for key in ("title", "fidelity") if not getattr(card, key)]:
        raise ContractError(f"the card has no {' and no '.join(f'{key.capitalize()}:' for key in missing)}; {wanted}")
    if card.fidelity not in FIDELITIES:
        near = difflib.get_close_matches(card.fidelity.lower(), FIDELITIES, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ContractError(f"Fidelity: {card.fidelity} is unknown.{hint} Known: {', '.join(FIDELITIES)}")
    for name in OF_METHOD:
        if allowed := wrong(name, getattr(card, name)):
            line = name.replace("_", " ").capitalize()
            raise ContractError(f"{line}: {getattr(card, name)} is no value of a card; use {allowed}")
    return card.fidelity
