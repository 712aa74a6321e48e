"""How this process asks the system for memory: what was freed is kept for the next step, not given back and cleared."""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import Any

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # numbers of malloc.h


@functools.cache
def keep_memory() -> bool:
    """From now on large blocks come from the heap, and what is freed stays there; whether the system can do so.

    The C library of Linux (glibc) maps every block of more than 32 MiB anew and unmaps it when it is freed: each layer
    of a network then pays for pages that the system must find and clear. Results do not depend on it, and the peak of
    memory does only by the gaps between blocks. Elsewhere nothing is changed.
    """
    library = _glibc()
    if library is None:
        return False
    library.mallopt(_MMAP_MAX, 0)
    library.mallopt(_TRIM_THRESHOLD, -1)
    return True


def give_back() -> None:
    """Gives memory that was freed back to the system, between two kinds of work; nothing where it is not kept."""
    if (library := _glibc()) is not None:
        library.malloc_trim(0)


def _glibc() -> Any:
    """The C library of this process where it is glibc; other libraries have other numbers, or none."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt") else None
