"""What a method may give back, worded alike for ``check-method`` and a run; and what contract tests are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fsseg_bench.errors import UserError
from fsseg_bench.method import Episode, Prediction

TOLERANCE = 1e-4  # relative to the largest number: batching may change the order of sums, nothing more


class ContractError(UserError):
    """A method breaks its contract; the message says how."""


def checked_prediction(result: Any, episode: Episode) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits (B, N+1, h, w) and diagnostics of what ``predict`` gave.

    Raises:
        ContractError: neither a tensor nor a Prediction, of another shape, or no floating-point numbers.
    """
    logits, diagnostics = (result.logits, result.diagnostics) if isinstance(result, Prediction) else (result, {})
    if not isinstance(logits, Tensor):
        found = type(logits).__name__
        raise ContractError(f"predict gave {found}; it must give logits (B, N+1, h, w) or a Prediction")
    if logits.ndim != 4 or tuple(logits.shape[:2]) != (episode.batch, episode.ways + 1):
        count = f"{episode.batch} episode{'s' if episode.batch > 1 else ''}"
        raise ContractError(
            f"{episode.ways}-way {episode.shots}-shot, {count}: predict gave {tuple(logits.shape)}, not "
            f"({episode.batch}, {episode.ways + 1}, h, w): logits of background, then of each way"
        )
    if not logits.is_floating_point():
        raise ContractError(f"predict gave {logits.dtype}; it must give logits, not the labels that they decide")
    for name, values in diagnostics.items():
        if values.ndim == 0 or values.shape[0] != episode.batch:
            raise ContractError(f"diagnostic {name!r} must have one row an episode")
    return logits, diagnostics


def checked_losses(parts: Any) -> dict[str, Tensor]:
    """The named scalars that ``loss`` gave.

    Raises:
        ContractError: no mapping, nothing in it, or something that is no scalar.
    """
    if not isinstance(parts, Mapping):
        raise ContractError(f"loss gave {type(parts).__name__}; it must give named scalars, as {{'query': value}}")
    if not parts:
        raise ContractError("loss gave no parts; it must give at least one named scalar")
    for name, value in parts.items():
        if not isinstance(value, Tensor) or value.ndim:
            found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"type {type(value).__name__}"
            raise ContractError(f"loss {name!r} has {found}; it must be a scalar tensor")
    return dict(parts)


@dataclass(frozen=True)
class Check:
    """The outcome of one contract test."""

    name: str
    passed: bool
    detail: str
    """What was found; for a failure, what to mend."""


def outcomes(tests: Mapping[str, Callable[[], str]]) -> list[Check]:
    """Runs tests by name, each under the same seed.

    A test that raises counts as failed, with the exception as its detail: a third party's code may raise anything.
    """
    return [_outcome(name, test) for name, test in tests.items()]


def _outcome(name: str, test: Callable[[], str]) -> Check:
    torch.manual_seed(0)
    try:
        return Check(name, True, test())
    except ContractError as error:
        return Check(name, False, str(error))
    except Exception as error:  # noqa: BLE001 - whatever a plug-in raises is a finding
        return Check(name, False, f"{type(error).__name__}: {error}")


def require(condition: bool, message: str) -> None:
    """Raises a ContractError with ``message`` unless ``condition`` holds."""
    if not condition:
        raise ContractError(message)


def difference(a: Tensor, b: Tensor) -> float:
    """Largest absolute difference relative to the largest magnitude."""
    return float((a - b).abs().max() / b.abs().max().clamp_min(1e-12))
