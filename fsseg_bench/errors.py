"""The one exception for user mistakes, and messages that name near matches."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in the input or the environment that the user can mend.

    The command line prints the message without a traceback and exits with code 2. The message says what is
    wrong, where, and what to do.
    """


def unknown(kind: str, name: str, known: Iterable[str], where: str = "") -> UserError:
    """An error for a name that is not in ``known``, with near matches and the whole list.

    Args:
        kind: what is named, for example ``"method"``.
        name: the name that was given.
        known: the names that exist.
        where: an optional place, for example a file.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    listing = ", ".join(names) if names else "none"
    place = f"{where}: " if where else ""
    return UserError(f"{place}unknown {kind} {name!r}.{hint} Known: {listing}.")
