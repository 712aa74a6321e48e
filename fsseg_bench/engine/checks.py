"""What contract tests are made of, those of methods and those of backbones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fsseg_bench.engine.outputs import ContractError

TOLERANCE = 1e-4  # relative to the largest number: batching may change the order of sums, nothing more


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
