"""Training state on disk: written whole or not at all, read without unpickling code, and believed only when it fits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fsseg_bench.errors import TrainingError, UserError
from fsseg_bench.method import Method
from fsseg_bench.nn.torch_file import save_sealed
from fsseg_bench.nn.weight_files import SEALED, open_file
from fsseg_bench.storage.files import atomic_writer

_OF_PARAMETERS = {"momentum_buffer", "exp_avg", "exp_avg_sq"}
"""What SGD, Adam and AdamW keep of each parameter's number; other optimisers keep what they like."""
_MAYBE = {"scaler", "choice", "best"}
"""What most checkpoints have nothing of, and then do not hold."""
_ADVICE = "; remove it, or {anew}"


@dataclass(frozen=True)
class TrainingState:
    """Everything that the rest of a training depends on."""

    iteration: int
    """Steps done; the data position, since training episode i depends on the seed and i alone."""
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    rng: Tensor
    """State of torch's CPU generator. Each step seeds its own stream, so this is a record, not a need."""
    history: dict[str, Tensor] = field(default_factory=dict)
    """What the method remembers of training samples."""
    scaler: dict[str, Any] = field(default_factory=dict)
    """Of losses in fp16: the scale, and how many steps ago it changed."""
    choice: dict[str, Any] = field(default_factory=dict)
    """The scores by which a state is chosen, where that is not the last one."""
    best: dict[str, Tensor] = field(default_factory=dict)
    """The parameters of the best state so far, while the training goes on; when it is done, ``model`` is the best."""
    run: str = ""
    """The identity of the run that wrote it; empty in checkpoints of earlier versions."""


def save_state(path: Path, state: TrainingState) -> None:
    """Writes ``state`` to ``path`` atomically, with a SHA-256 over the whole file (see ``nn/torch_file.py``).

    Raises:
        UserError: the disk is full or the folder cannot be written; an earlier checkpoint is untouched.
    """
    content = {key: value for key, value in vars(state).items() if key not in _MAYBE or value}
    with atomic_writer(path) as file:
        save_sealed({"format": SEALED, **content}, file)


def load_state(path: Path, run: str = "") -> TrainingState:
    """The state in ``path``; :func:`fill` and the trainer compare it with the method and the recipe.

    ``run`` is the identity of the run in whose folder the file lies; empty where it is not known.

    Raises:
        UserError: no checkpoint of this package, damaged, edited, another run's, or a pickle that would run code; names
            the file and the key.
    """
    try:
        content = open_file(path)
    except UserError as error:
        raise TrainingError(f"{error}", _ADVICE) from None
    if not _is_state(content):
        raise TrainingError(f"{path}: not a training checkpoint of fsseg-bench", _ADVICE)
    state = TrainingState(**{f.name: content[f.name] for f in fields(TrainingState) if f.name in content})
    wrong = {
        "iteration": type(state.iteration) is not int or state.iteration < 0,
        "model": not _tensors(state.model),
        "optimizer": not isinstance(state.optimizer, dict) or state.optimizer.keys() != {"state", "param_groups"},
        "rng": not (isinstance(state.rng, Tensor) and _alike(state.rng, torch.get_rng_state())),
        "history": not _tensors(state.history) or not _maps(list(state.history.values())),
        "scaler": not isinstance(state.scaler, dict),
        "choice": not _is_choice(state.choice),
        "best": not _tensors(state.best),
        "run": not isinstance(state.run, str),
    }
    for key, is_wrong in wrong.items():
        if is_wrong:
            shown = f" ({content[key]!r})"[:60] if key == "iteration" else ""
            raise TrainingError(f"{path}: its {key!r}{shown} is nothing that a training leaves", _ADVICE)
    if run and state.run and state.run != run:
        raise TrainingError(
            f"{path}: this checkpoint was written by another run (identity {state.run[:8]}, this one's is {run[:8]})",
            "; put the right file back, remove it, or {anew}",
        )
    return state


def holds_state(path: Path) -> bool:
    """Whether a file holds the state of a training and not parameters alone.

    Raises:
        UserError: it cannot be read, or is damaged or unsafe.
    """
    return _is_state(open_file(path))


def _is_state(content: Any) -> bool:
    return isinstance(content, dict) and {"iteration", "model", "optimizer", "rng"} <= content.keys()


def _is_choice(choice: Any) -> bool:
    """Whether these are scores in [0, 1] by step."""
    if not isinstance(choice, dict) or not isinstance(scores := choice.get("scores", []), list):
        return False
    return all(
        isinstance(one, list) and [type(part) for part in one] == [int, float] and 0 <= one[1] <= 1 for one in scores
    )


def _tensors(value: Any) -> bool:
    """Whether it is a table of named tensors."""
    return isinstance(value, Mapping) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and one.layout == other.layout


def _maps(maps: list[Tensor]) -> bool:
    """Whether these are what :class:`fsseg_bench.engine.history.HistoryStore` keeps: (..., h, w) of half precision."""
    return all(m.dtype == torch.half and m.dim() >= 2 and bool(m.isfinite().all()) for m in maps) and (
        len({m.shape for m in maps}) <= 1
    )


def fill(method: Method, state: Mapping[str, Tensor], file: Path) -> None:
    """Fills ``method`` with the parameters ``state`` of ``file``.

    Raises:
        UserError: they are not those of the method: missing, unexpected, of another shape, or no dense numbers of the
            kind needed.
    """
    own = method.state_dict()
    missing = sorted(own.keys() - state.keys())
    unexpected = sorted(state.keys() - own.keys())
    common = own.keys() & state.keys()
    shapes = sorted(k for k in common if own[k].shape != state[k].shape)
    kinds = sorted(k for k in common - set(shapes) if not _same_kind(own[k], state[k]))
    if missing or unexpected or shapes or kinds:
        parts = [("missing", missing), ("unexpected", unexpected)]
        parts += [("of another shape", shapes), ("of a wrong type", kinds)]
        told = "; ".join(
            f"{len(k)} {word} ({', '.join(k[:3])}{', ...' if len(k) > 3 else ''})" for word, k in parts if k
        )
        raise UserError(f"{file}: does not fit this method and backbone: {told}; check --method, --backbone and --set")
    method.load_state_dict(dict(state))


def _same_kind(own: Tensor, given: Tensor) -> bool:
    return (
        given.layout == torch.strided
        and given.is_floating_point() == own.is_floating_point()
        and (not given.is_complex() and (given.dtype == torch.bool) == (own.dtype == torch.bool))
    )


def fill_optimizer(
    optimizer: torch.optim.Optimizer, state: Mapping[str, Any], file: Path, *, begun: bool = True
) -> None:
    """Gives ``optimizer``, which is as the recipe builds it, the state of ``file``.

    Where training has ``begun``, there must be momenta if the recipe has them.

    Raises:
        UserError: the state is of other parameters or of another recipe, or holds what no optimiser leaves.
    """
    own = optimizer.state_dict()["param_groups"]
    groups, entries = state["param_groups"], state["state"]
    shapes = dict(enumerate(p.shape for group in optimizer.param_groups for p in group["params"]))
    if not (isinstance(groups, list) and all(isinstance(group, dict) for group in groups)):
        raise TrainingError(f"{file}: its 'optimizer' has no list of parameter groups", _ADVICE)
    if [_rules(group) for group in groups] != [_rules(group) for group in own]:
        raise TrainingError(f"{file}: its 'optimizer' has other parameters or another recipe than this run", _ADVICE)
    if not isinstance(entries, dict) or not all(
        type(key) is int and key in shapes and _fits_parameter(entry, shapes[key]) for key, entry in entries.items()
    ):
        raise TrainingError(f"{file}: its 'optimizer' holds no state of this method's parameters", _ADVICE)
    if begun and not entries and any(group.get("momentum") or group.get("betas") for group in own):
        raise TrainingError(f"{file}: its 'optimizer' has lost the state of its parameters", _ADVICE)
    optimizer.load_state_dict(dict(state))


def fill_scaler(scaler: torch.amp.GradScaler, state: Mapping[str, Any], file: Path) -> None:
    """Gives ``scaler``, which is as a training begins with it, the state of ``file``; both are empty but in fp16.

    Raises:
        UserError: the state is of another precision, or holds what no scaler leaves.
    """
    own = scaler.state_dict()
    changing = {"scale", "_growth_tracker"}
    kept = {key: value for key, value in state.items() if key not in changing}
    if (
        state.keys() != own.keys()
        or any(value != own[key] for key, value in kept.items())
        or (state and not (_is_scale(state["scale"]) and type(state["_growth_tracker"]) is int))
    ):
        raise TrainingError(f"{file}: its 'scaler' is nothing that a training of this precision leaves", _ADVICE)
    scaler.load_state_dict(dict(state))


def _is_scale(value: Any) -> bool:
    return type(value) is float and 0 < value < math.inf


def _rules(group: Mapping[str, Any]) -> dict[str, Any]:
    """What the recipe decides; the rate is set at every step."""
    return {key: value for key, value in group.items() if key not in {"lr", "initial_lr"}}


def _fits_parameter(entry: Any, shape: torch.Size) -> bool:
    """Whether an optimiser can have left it for a parameter: finite numbers, and running means of its shape."""
    if not isinstance(entry, dict):
        return False
    tensors = [value for value in entry.values() if isinstance(value, Tensor)]
    means = [value for name, value in entry.items() if name in _OF_PARAMETERS and value is not None]
    return all(bool(value.isfinite().all()) for value in tensors) and all(
        isinstance(value, Tensor) and value.shape == shape and value.is_floating_point() for value in means
    )
