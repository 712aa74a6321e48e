"""Functions that a setting names, such as the optimisers of a recipe; any module can add one by a decorator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from fsseg_bench.errors import UserError, unknown

F = TypeVar("F", bound=Callable[..., Any])


class Choice(NamedTuple, Generic[F]):
    """One function of :class:`Choices`."""

    call: F
    reads: frozenset[str]
    """The keys beside its name that change what it does."""

    @property
    def origin(self) -> tuple[str, str]:
        """Its module and its name there."""
        return self.call.__module__, self.call.__qualname__


class Choices(Generic[F]):
    """The functions that one setting can name."""

    def __init__(self, setting: str, former: Mapping[str, str] | None = None) -> None:
        """An empty set for ``setting`` (``recipe.schedule``); ``former`` has earlier names and those of today."""
        self._setting = setting
        self._former = dict(former or {})
        self._known: dict[str, Choice[F]] = {}

    def add(self, name: str, reads: tuple[str, ...] = ()) -> Callable[[F], F]:
        """A decorator that makes a function the choice ``name``.

        Args:
            name: what users write; in records it says what was done, so it must not change its meaning.
            reads: the keys of the recipe that the function looks at.

        Raises:
            UserError: another function has the name.
        """

        def added(function: F) -> F:
            choice = Choice(function, frozenset(reads))
            other = self._known.get(name, choice)
            if other.origin != choice.origin or name in self._former:
                raise UserError(
                    f"{self._setting}: two functions are called {name!r}, in {other.origin[0]} and {choice.origin[0]}; "
                    "rename one"
                )
            self._known[name] = choice
            return function

        return added

    def current(self, name: str) -> str:
        """``name``, or what a choice of this earlier name is called now."""
        return self._former.get(name, name)

    def find(self, name: str) -> Choice[F]:
        """The choice of a name.

        Raises:
            UserError: there is none; names near matches and all that there are.
        """
        if name not in self._known:
            raise unknown(self._setting, name, self._known)
        return self._known[name]
