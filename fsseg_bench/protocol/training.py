"""Under which rules something is trained: those of the protocol itself, or of another one that it names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from fsseg_bench.schema import Range

if TYPE_CHECKING:
    from fsseg_bench.protocol.spec import Protocol

NOTHING_HELD_OUT = 0
"""In place of a fold: all classes of the folds are trained on."""
_NOT_OF_TRAINING = ("image", "episodes", "scoring", "checkpoint")
"""Sections that the training protocol does not decide."""


@dataclass(frozen=True)
class TrainKeys:
    """The section ``[train]``: training images and classes are those of another protocol."""

    protocol: str
    """That protocol: a built-in name, or a file relative to this one. Its data are looked up as if it were run."""
    fold: Annotated[int, Range(least=NOTHING_HELD_OUT)] = NOTHING_HELD_OUT
    """Which of its folds is held out of the training; 0: none, all its classes are trained on."""


@dataclass(frozen=True)
class TrainSpec:
    """The section ``[train]``, with the protocol that it names."""

    protocol: str
    """As the file has it."""
    fold: int
    rules: Protocol
    """With the geometry of the protocol that names it."""

    def settings(self) -> dict[str, Any]:
        """All that enters the digest: how the training protocol's file is called does not."""
        settings = self.rules.settings()
        return {"fold": self.fold, "rules": {k: v for k, v in settings.items() if k not in _NOT_OF_TRAINING}}


class TrainingRules(NamedTuple):
    """What training looks at."""

    protocol: Protocol
    fold: int
    """That is held out; :data:`NOTHING_HELD_OUT` only where another protocol is trained on."""

    @property
    def base(self) -> tuple[int, ...]:
        """Label values that are trained on, ascending."""
        return self.protocol.base_classes(self.fold)

    @property
    def words(self) -> str:
        """Which they are, for people."""
        held = f"fold {self.fold} held out" if self.fold else "no fold held out"
        return f"{self.protocol.label}, {held}"


def shared_names(protocol: Protocol, fold: int) -> tuple[str, ...]:
    """Novel classes of a fold that have the name of a class that is trained on, in label order.

    Names are compared as :func:`plain_name` has them, so that ``potted plant`` is ``pottedplant``. Two words for one
    thing (``sofa``, ``couch``) are not found.
    """
    rules = protocol.training(fold)
    trained = {plain_name(name) for name in map(rules.protocol.class_name, rules.base)}
    novel: Iterable[str] = map(protocol.class_name, protocol.novel_classes(fold))
    return tuple(name for name in novel if plain_name(name) in trained)


def plain_name(name: str) -> str:
    """A class's name without case, spaces and marks, by which two protocols' names are compared."""
    return re.sub(r"[\W_]+", "", name.casefold())
