"""Contract tests of void pixels, label 255: neither a loss nor a prediction may learn or read anything there."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.engine.checks import ContractError, checked_losses, difference
from fsseg_bench.engine.inference import levels_of, map_levels
from fsseg_bench.engine.made_up import evaluation_episode, predicted, training_episode
from fsseg_bench.engine.optimise import trunks
from fsseg_bench.method import VOID, ClassLabels, Episode, Features, Method

_SIDE = 129  # pixels: room for void cells that no interpolation joins to labelled ones
_PATCH = 24  # side of the labelled patches
_MARGIN = 2  # cells between them and what is looked at
_TOLERANCE = 1e-4  # relative to the largest logit
_SHARE = 0.1  # of what labelled pixels do: a head may carry a little from afar, not as much as from a labelled pixel
_NAMES = {0: "background", 1: "foreground"}


def check_loss(method: Method) -> str:
    """Void labels of the query, and of the classes shown, teach nothing.

    Every part of the loss that depends on these labels must be finite and without a gradient when all of them are
    void; with some of them void it must not be what it is when they are foreground, or background.
    """
    _begun(method.train())
    for trunk in trunks(method):
        trunk.set_batch_norm("eval")
    episode = _detached(training_episode(method))
    labels = episode.query_labels
    if labels is None:
        raise ContractError("the training episode has no labels")
    own = _values(method, _labelled(episode, labels))
    flipped = _values(method, _labelled(episode, torch.where(labels == VOID, labels, 1 - labels)))
    void = _parts(method, _labelled(episode, torch.full_like(labels, VOID)))
    if wrong := [name for name, value in void.items() if not bool(value.isfinite())]:
        raise ContractError(f"a query that is void everywhere gives a loss that is not finite ({', '.join(wrong)})")
    learning = [name for name in own if name in flipped and not _same(own[name], flipped[name])]
    half = labels.clone()
    half[:, : half.shape[1] // 2] = VOID
    partly = _values(method, _labelled(episode, half))
    for value, word in _NAMES.items():
        filled = _values(method, _labelled(episode, half.masked_fill(half == VOID, value)))
        for name in learning:
            if _same(partly.get(name, own[name]), filled.get(name, own[name])):
                raise ContractError(_counted(name, word))
    for name in learning:
        if name in void and _has_gradient(method, episode, void[name]):
            raise ContractError(_counted(name, "something"))
    return f"{', '.join(learning) or 'no part depends on labels'}: no gradient when all is void"


def _begun(method: Method) -> None:
    """Moves parameters that begin at 0: behind a last layer of zeros nothing depends on anything."""
    generator = torch.Generator().manual_seed(0)
    for parameter in method.parameters():
        if not bool(parameter.any()):
            parameter.data.normal_(0, 0.01, generator=generator)


def _counted(name: str, word: str) -> str:
    return (
        f"loss {name!r} counts void pixels as {word}: with labels of 255 it is not as if they were left out; leave "
        "them out (cross-entropy: ignore_index=255; fsseg_bench.nn.losses does)"
    )


def check_supports(method: Method) -> str:
    """Void pixels of supports are neither foreground nor background.

    The labelled patches of a support lie in one corner, and the rest is void. Exchanging the features there, a few
    cells away, must change nothing like what it changes where these pixels are labelled. Where masks enter the encoder
    the rest is only compared with foreground: a network may see the whole image as context.
    """
    _begun(method.eval())
    masks = {name: _corner(value) for name, value in (("void", VOID), ("background", 0), ("foreground", 1))}
    episodes = {name: evaluation_episode(method, masks=mask) for name, mask in masks.items()}
    found = {name: predicted(method, episode) for name, episode in episodes.items()}
    if wrong := [name for name, logits in found.items() if not bool(logits.isfinite().all())]:
        raise ContractError(f"logits are not finite where most of a support is {wrong[0]}")
    if _alike(found["void"], found["foreground"]) and not _alike(found["foreground"], found["background"]):
        raise ContractError(_acts("foreground"))
    if method.mask_enters_encoder:
        return "not taken for foreground (masks enter the encoder)"
    other = levels_of(evaluation_episode(method, masks=masks["void"], supports="other").support)
    effects = {}
    for name, episode in episodes.items():
        changed = dataclasses.replace(episode, support=_exchanged(episode, other, masks["void"]))
        effects[name] = float((predicted(method, changed) - found[name]).abs().max())
    scale = float(found["void"].abs().max().clamp_min(1e-12))
    if effects["void"] > max(_TOLERANCE * scale, _SHARE * max(effects["foreground"], effects["background"])):
        same = _alike(found["void"], found["background"])
        raise ContractError(_acts("background" if same else "labelled pixels"))
    return "what stands there changes nothing" if effects["void"] <= _TOLERANCE * scale else "seen as context only"


def _acts(word: str) -> str:
    return (
        f"void pixels of supports act as {word}; a mask has 1 for the class, 0 for background and 255 for neither: "
        "compare with == 1 and == 0, and take no number from 255"
    )


def _detached(episode: Episode) -> Episode:
    """The episode with features that are leaves: gradients reach them and the head, not the trunk."""
    leaves = partial(map_levels, lambda level: level.detach().requires_grad_())
    return dataclasses.replace(episode, support=leaves(episode.support), query=leaves(episode.query))


def _labelled(episode: Episode, labels: Tensor) -> Episode:
    """The episode with other labels of the query; where classes are shown, of query and supports."""
    classes = None
    if episode.class_labels is not None:
        supports = episode.class_labels.support
        shown = labels[:, None, None].expand_as(supports) if supports.shape[-2:] == labels.shape[-2:] else supports
        classes = ClassLabels(shown.contiguous(), labels)
    return dataclasses.replace(episode, query_labels=labels, class_labels=classes)


def _parts(method: Method, episode: Episode) -> dict[str, Tensor]:
    torch.manual_seed(0)  # dropout, the same each time
    return checked_losses(method.loss(episode))


def _values(method: Method, episode: Episode) -> dict[str, float]:
    return {name: float(value.detach()) for name, value in _parts(method, episode).items()}


def _has_gradient(method: Method, episode: Episode, part: Tensor) -> bool:
    if not part.requires_grad:
        return False
    wanted: list[Any] = [*levels_of(episode.support), *levels_of(episode.query)]
    wanted += [p for p in method.parameters() if p.requires_grad]
    found = torch.autograd.grad(part, wanted, retain_graph=True, allow_unused=True)
    return any(g is not None and bool(g.any()) for g in found)


def _same(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-6 * max(abs(a), abs(b), 1e-6)


def _alike(a: Tensor, b: Tensor) -> bool:
    return difference(a, b) <= 1e-6


def _corner(rest: int) -> Tensor:
    """(1, S, S): a patch of foreground and one of background in the upper left corner, ``rest`` elsewhere."""
    mask = torch.full((1, _SIDE, _SIDE), rest, dtype=torch.uint8)
    mask[:, :_PATCH, :_PATCH] = 1
    mask[:, :_PATCH, _PATCH : 2 * _PATCH] = 0
    return mask


def _exchanged(episode: Episode, other: tuple[Tensor, ...], mask: Tensor) -> Features:
    """The supports' features, with those of another image where all is void, a margin away from what is not."""
    levels = []
    for level, theirs in zip(levels_of(episode.support), other, strict=True):
        if level.ndim != 6:  # no map: it has no place that could be void
            levels.append(level)
            continue
        near = F.adaptive_max_pool2d((mask != VOID).float(), (level.shape[4], level.shape[5]))
        near = F.max_pool2d(near, 2 * _MARGIN + 1, stride=1, padding=_MARGIN)
        levels.append(torch.where(near.bool(), level, theirs))
    return levels[0] if isinstance(episode.support, Tensor) else tuple(levels)
