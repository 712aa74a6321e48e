"""Arrays that are made once and kept while there is room."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from fsseg_bench.conventions import UInt8

_OVERHEAD = 300  # bytes of the array's and the key's objects, about


@dataclass(eq=False)
class Kept:
    """What ``make`` gave for a key, for as many keys as fit into ``limit`` bytes; the others are made each time.

    Nothing is dropped for something newer: training draws its images uniformly, so that those that are kept are as
    likely to come back as any.
    """

    limit: int
    """Bytes; 0 keeps nothing."""
    used: int = field(default=0, init=False)
    """Bytes that are taken."""
    _arrays: dict[Hashable, UInt8] = field(default_factory=dict, init=False)

    def get(self, key: Hashable, make: Callable[[], UInt8]) -> UInt8:
        """The array of ``key``, which holds everything that it depends on. Others read it too: do not write into it."""
        found = self._arrays.get(key)
        if found is None:
            found = make()
            size = found.nbytes + _OVERHEAD
            if self.used + size <= self.limit:
                self._arrays[key] = found if found.base is None else found.copy()  # no view that keeps more alive
                self.used += size
        return found
