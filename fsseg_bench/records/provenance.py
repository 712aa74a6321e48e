"""Which software made a record: versions, interpreter, machine, and the state of the source."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fsseg_bench.machine.here import here
from fsseg_bench.version import __version__

_PACKAGES = ("torch", "torchvision", "numpy", "pandas", "Pillow", "pycocotools", "safetensors", "timm")
_CHECKOUT = Path(__file__).resolve().parents[2]
_GIT_SECONDS = 10
_MODULE = Path(__file__).parents[1] / "__main__.py"


@dataclass(frozen=True)
class Provenance:
    """The software and the machine that made a record, as far as the record says; see :func:`provenance`."""

    fsseg_bench: str | None = None
    python: str | None = None
    platform: str | None = None
    packages: Mapping[str, str | None] = field(default_factory=dict)
    decoders: Mapping[str, str | None] = field(default_factory=dict)
    git: Mapping[str, Any] | None = None
    command: str | tuple[str, ...] | None = None
    """That repeats the run from any folder; of version 0.1.0 the one that was typed."""
    typed: str | None = None
    threads: int | None = None
    """That computed on the CPU."""
    processes: int | None = None
    """That trained together; None: one."""
    host: str | None = None
    """Where it was begun."""
    process: int | None = None
    job: str | None = None
    """Of a batch system."""
    device: str | None = None
    """The model of what computed."""


def other_software(then: Provenance) -> list[str]:
    """What of the software and the machine is not as it was, as ``name: then / now``, as far as it was noted."""
    now = provenance()
    same = ("fsseg_bench", "python", "platform", "packages", "decoders")
    pairs = [(key, getattr(then, key), now[key]) for key in same]
    pairs = [
        *((key, old, new) for key, old, new in pairs if not isinstance(old, Mapping)),
        *((name, old[name], new.get(name)) for _, old, new in pairs if isinstance(old, Mapping) for name in old),
    ]
    return [f"{name}: {old} / {new}" for name, old, new in pairs if old is not None and old != new]


def provenance() -> dict[str, Any]:
    """JSON-able facts about the software and the machine; what cannot be told is None.

    Keys: ``fsseg_bench`` (version), ``packages`` (name to version), ``decoders`` (Pillow's image libraries),
    ``python``, ``platform``, ``cpu_count``, ``git`` (commit and dirty flag of the checkout that the package
    runs from, None for an installed package), ``typed`` (the command as it was given; None outside the command line),
    ``host``, ``process``, ``job`` (see :class:`fsseg_bench.machine.here.Here`).
    """
    place = here()
    return {
        "fsseg_bench": __version__,
        "packages": {name: _version(name) for name in _PACKAGES},
        "decoders": _decoders(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "git": git_state(_CHECKOUT),
        "typed": _command(),
        "host": place.host,
        "process": place.process,
        "job": place.job,
    }


def git_state(checkout: Path) -> dict[str, Any] | None:
    """``commit`` and ``dirty`` of the repository whose top folder is ``checkout``; None when it is not one.

    A package that lies in somebody else's repository (a virtual environment inside a project) has no state.
    """
    top = _git(checkout, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != checkout.resolve():
        return None
    commit, changes = _git(checkout, "rev-parse", "HEAD"), _git(checkout, "status", "--porcelain")
    if commit is None or changes is None:
        return None
    return {"commit": commit, "dirty": bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    """The output of a git command, or None when git or the repository is missing."""
    # Inside a hook, git's own variables would point at another repository.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            env=environment,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _decoders() -> dict[str, str | None]:
    """The libraries behind Pillow: the pixels of a JPEG depend on them."""
    from PIL import features

    turbo = features.version_feature("libjpeg_turbo")
    jpeg = f"libjpeg-turbo {turbo}" if turbo else features.version_codec("jpg")
    return {"jpeg": jpeg, "png": features.version_codec("zlib")}


def _command() -> str | None:
    program = Path(sys.argv[0] if sys.argv else "")
    ours = program.name.startswith("fsseg-bench") or program == _MODULE  # python -m fsseg_bench
    return shlex.join(["fsseg-bench", *sys.argv[1:]]) if ours else None
