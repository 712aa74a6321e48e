"""Which published numbers a released file claims."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Numbers in print that files of one kind are said to give, by the columns of a ``numbers.csv``."""

    protocol: str
    shots: tuple[int, ...]
    ways: tuple[int, ...] = (1,)
    method: str = ""
    """As printed; empty: whatever is printed under the ``--method`` name."""
    source: str = ""
    """Whose numbers go before those of other sources; empty: the surest kind of source."""
