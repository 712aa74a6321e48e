"""Training state on disk: written whole or not at all, read without unpickling code."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from fsseg_bench.errors import UserError
from fsseg_bench.method import Method
from fsseg_bench.nn.weight_files import DAMAGED, FOREIGN_OBJECT
from fsseg_bench.records.files import atomic_writer


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


def save_state(path: Path, state: TrainingState) -> None:
    """Writes ``state`` to ``path`` atomically.

    Raises:
        UserError: the disk is full or the folder cannot be written; an earlier checkpoint is untouched.
    """
    with atomic_writer(path) as file:
        torch.save({"format": "fsseg-bench checkpoint 1", **vars(state)}, file)


def load_state(path: Path) -> TrainingState:
    """The state in ``path``.

    Raises:
        UserError: no checkpoint of this package, damaged, or a pickle that would run code.
    """
    content = _read(path)
    if not isinstance(content, dict) or not {"iteration", "model", "optimizer", "rng"} <= content.keys():
        raise UserError(f"{path}: not a training checkpoint of fsseg-bench; remove it, or start again with --fresh")
    return TrainingState(
        content["iteration"], content["model"], content["optimizer"], content["rng"], content.get("history", {})
    )


def load_trained(method: Method, path: Path) -> None:
    """Fills ``method`` with the parameters of a checkpoint, a state dict (.pth, .safetensors) or a run folder.

    Raises:
        UserError: the file is missing or damaged, or its parameters are not those of the method.
    """
    file = path / "checkpoint.pt" if path.is_dir() else path
    content = _read(file)
    state = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(state, Mapping) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()
    ):
        raise UserError(f"{file}: holds no parameters; give a run folder, its checkpoint.pt, or a state dict")
    own = method.state_dict()
    missing = sorted(own.keys() - state.keys())
    unexpected = sorted(state.keys() - own.keys())
    shapes = sorted(k for k in own.keys() & state.keys() if own[k].shape != state[k].shape)
    if missing or unexpected or shapes:
        parts = [("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)]
        told = "; ".join(
            f"{len(k)} {word} ({', '.join(k[:3])}{', ...' if len(k) > 3 else ''})" for word, k in parts if k
        )
        raise UserError(f"{file}: does not fit this method and backbone: {told}; check --method, --backbone and --set")
    method.load_state_dict(dict(state))


def _read(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, *DAMAGED, safetensors.SafetensorError) as error:
        if isinstance(error, pickle.UnpicklingError) and (found := FOREIGN_OBJECT.search(str(error))):
            raise UserError(
                f"{path}: refused: it holds more than tensors ({found[1]}), and loading it could run code; "
                "convert it to a state dict of plain tensors or to .safetensors"
            ) from None
        raise UserError(f"{path}: damaged or not a checkpoint ({_first_line(error)})") from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
