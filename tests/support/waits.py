"""A record of the calls that make the host wait for a pretended device, each with the line that makes it."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import torch

_PACKAGES = ("/fsseg_bench/", "/fsseg_methods/")


@dataclass(frozen=True)
class Wait:
    """A call that makes the host wait for the device."""

    call: str
    """The operation."""
    line: str
    """``file.py:123``, the innermost line of the package or of a method; of a backward pass, its node."""


_logs: list[list[Wait]] = []
_here = threading.local()


@contextlib.contextmanager
def watched() -> Iterator[list[Wait]]:
    """Lists the waits of all threads inside the block."""
    log: list[Wait] = []
    _logs.append(log)
    try:
        yield log
    finally:
        _logs[:] = [other for other in _logs if other is not log]


@contextlib.contextmanager
def uncounted() -> Iterator[None]:
    """Inside, this thread's waits are not listed: a backend lists its own."""
    before = getattr(_here, "uncounted", False)
    _here.uncounted = True
    try:
        yield
    finally:
        _here.uncounted = before


def wait(call: str) -> None:
    """Lists one."""
    if _logs and not getattr(_here, "uncounted", False):
        told = Wait(call, line())
        for log in _logs:
            log.append(told)


def line() -> str:
    """The innermost line of the package or of a method that runs now."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename.replace("\\", "/")
        if any(package in name for package in _PACKAGES):
            return f"{name.rpartition('/')[2]}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    node = torch._C._current_autograd_node()
    return "outside the package" if node is None else f"backward of {node.name()}"
