"""What several plans of one command have in common, made once: by everything that it depends on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

_FEW = 2
"""Models kept at a time: of many kinds they would fill the memory."""


class Remembered:
    """Keeps what was made for a key. What raises is made again each time."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, Hashable], Any] = {}
        self._large: OrderedDict[tuple[str, Hashable], Any] = OrderedDict()

    def get(self, kind: str, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` gave for the key, which holds everything that it depends on; do not change it."""
        place = kind, key
        if place not in self._kept:
            self._kept[place] = make()
        found: T = self._kept[place]
        return found

    def latest(self, kind: str, key: Hashable, make: Callable[[], T]) -> T:
        """As :meth:`get`, for what is large: only the last few are kept."""
        place = kind, key
        if place not in self._large:
            self._large[place] = make()
            while len(self._large) > _FEW:
                self._large.popitem(last=False)
        self._large.move_to_end(place)
        found: T = self._large[place]
        return found


class Forgetful(Remembered):
    """Makes everything anew: for plans that are run, each of which needs a model of its own."""

    def get(self, kind: str, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` gives."""
        return make()

    latest = get


FORGETFUL = Forgetful()


def settings_key(settings: Mapping[str, Any]) -> str:
    """Of settings as users give them, text or Python values: 1, ``True`` and ``"1"`` are three."""
    return repr(sorted(settings.items()))
