"""Options of a command that others change."""

from __future__ import annotations

from collections.abc import Sequence

_REPEATED = {"--method", "--set"}


def changed(options: Sequence[object], *more: object) -> tuple[object, ...]:
    """``options``, each a name and a value, without those that ``more`` gives, and ``more``."""
    pairs = zip(options[::2], options[1::2], strict=True)
    return (*(part for pair in pairs if pair[0] in _REPEATED or pair[0] not in more for part in pair), *more)
