"""Objects beside the tensors of a checkpoint that may be passed over: known by name, and never made.

Training scripts save their options (``argparse.Namespace``) and scores (scalars of numpy) with the parameters. For each
name of the list the unpickler gets a stand-in that keeps nothing and does nothing, so that neither numpy nor anything
else is called with what a file says. Every other name is refused as before.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch

NAMES = (
    "argparse.Namespace",
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
)
"""Whatever else a file names is refused, beside what ``torch.load(weights_only=True)`` itself allows."""


class Passed:
    """Takes the place of an object that is passed over; its arguments and its state are forgotten."""

    def __new__(cls, *_: Any) -> Passed:
        """Takes whatever the object would be made of."""
        return super().__new__(cls)

    def __init__(self, *_: Any) -> None:
        """Keeps nothing."""

    def __setstate__(self, state: Any) -> None:
        """Keeps nothing."""


def passing() -> AbstractContextManager[None]:
    """While it lasts, ``torch.load(weights_only=True)`` takes the objects of :data:`NAMES` for :class:`Passed`."""
    allowed: AbstractContextManager[None] = torch.serialization.safe_globals([(Passed, name) for name in NAMES])
    return allowed
