"""Which process on which machine this is."""

from __future__ import annotations

import os
import platform
import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_PROCESSORS = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Here:
    """A process, as records and messages name it."""

    host: str
    """The machine's name, for people: several may have the same."""
    boot: str
    """Of the system's kernel, the same in all its containers; the host's name where the system does not say."""
    process: int
    job: str | None = None
    """Of a batch system that started it, as ``slurm 123_4``."""


def here() -> Here:
    """This process."""
    return Here(host(), boot(), os.getpid(), _job())


@cache
def host() -> str:
    """The name of this machine."""
    return socket.gethostname() or "unnamed"


@cache
def boot() -> str:
    """What is the same for all processes of this machine and another for those of any other."""
    with suppress(OSError):
        return _BOOT.read_text(encoding="ascii").strip()
    return host()


@cache
def processor() -> str:
    """The model of this machine's processor, or at least its kind."""
    with suppress(OSError, StopIteration):
        lines = _PROCESSORS.read_text(encoding="utf-8", errors="replace").splitlines()
        return " ".join(next(line.split(":", 1)[1] for line in lines if line.startswith("model name")).split())
    return platform.processor() or platform.machine() or "unknown"


def _job() -> str | None:
    array, task = (os.environ.get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK"))
    if array and task:
        return f"slurm {array}_{task}"
    single = os.environ.get("SLURM_JOB_ID")
    return f"slurm {single}" if single else None
