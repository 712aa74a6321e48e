"""Makes ``.venv`` with PyTorch, fsseg-bench and the development tools; ``make`` calls it when it is needed.

PyTorch's wheels for Linux on x86-64 bring CUDA along, about 5 GB of it. Without a GPU the builds for CPUs are taken
instead, from PyTorch's own index where that can be reached. TORCH_INDEX names another index; empty, pip's own.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
VARIABLE = "TORCH_INDEX"
TORCH = ("torch>=2.11", "torchvision>=0.26")  # as pyproject.toml asks
WITH_CUDA, WITHOUT = 6.1, 1.5  # GB of the whole environment; the second is an estimate


class Build(NamedTuple):
    """Which wheels of PyTorch to install."""

    url: str | None
    """The index they come from; None is the one that pip is configured for."""
    about: str
    """What they are and why, for the user."""
    gigabytes: float
    """What the environment takes on the disk, about."""


def main() -> None:
    """The three steps, each said before it begins."""
    if sys.version_info < (3, 11):  # noqa: UP036 - whatever Python the machine calls python3 runs this
        sys.exit(f"Python 3.11 or newer is needed, this is {platform.python_version()}: make demo PYTHON=python3.12")
    begin = time.monotonic()
    _say(f"[1/3] environment {ENVIRONMENT}")
    python = _environment()
    if _has_torch(python):
        _say("[2/3] PyTorch is there")
    else:
        build = choose_build(python)
        _say(f"[2/3] PyTorch: {build.about}; about {build.gigabytes:g} GB on the disk when all is done")
        _warn_of_space(build.gigabytes)
        _pip(python, "install", *_index(build.url), *TORCH)
    _say("[3/3] fsseg-bench and the tools for tests, checks and documentation")
    _pip(python, "install", "--editable", str(ROOT), "--group", f"{ROOT / 'pyproject.toml'}:dev")
    (ENVIRONMENT / ".ready").touch()
    _say(f"installed in {time.monotonic() - begin:.0f} s")


def choose_build(python: Path) -> Build:
    """The builds for this machine: those with CUDA only where a GPU is, or where no others can be had."""
    if VARIABLE in os.environ:
        index = os.environ[VARIABLE] or None
        return Build(index, f"from {index or 'the index that pip is configured for'} ({VARIABLE})", WITH_CUDA)
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return Build(None, f"the builds for {platform.system()} {platform.machine()}", WITHOUT)
    if has_gpu():
        return Build(None, "with CUDA, since this machine has an NVIDIA GPU", WITH_CUDA)
    _say(f"      no NVIDIA GPU here: looking for builds for the CPU at {CPU_INDEX}")
    if _offers(python, CPU_INDEX):
        return Build(CPU_INDEX, f"for the CPU, from {CPU_INDEX}", WITHOUT)
    return Build(
        None,
        f"with CUDA though no GPU is here, since {CPU_INDEX} cannot be reached ({VARIABLE}=URL names another index)",
        WITH_CUDA,
    )


def has_gpu() -> bool:
    """Whether the driver of an NVIDIA GPU answers."""
    if Path("/proc/driver/nvidia/version").exists():
        return True
    command = shutil.which("nvidia-smi")
    return command is not None and subprocess.run([command, "-L"], capture_output=True, check=False).returncode == 0


def _offers(python: Path, index: str) -> bool:
    """Whether ``index`` answers, and pip finds what is needed there."""
    try:
        # pip alone would not do: it may be configured to look into other places, too, and be content with these
        urllib.request.urlopen(f"{index}/torch/", timeout=10).close()
    except OSError:
        return False
    asked = (
        "install",
        "--dry-run",
        "--ignore-installed",
        "--no-deps",
        "--quiet",
        "--timeout",
        "10",
        "--retries",
        "0",
        "--index-url",
        index,
    )
    command = [str(python), "-m", "pip", *asked, *TORCH]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _environment() -> Path:
    """The Python of ``.venv``, which is made where it is not there, with a pip that knows dependency groups (25.1)."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists() and subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=False).returncode:
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        sys.exit("the environment could not be made: on Debian and Ubuntu, 'apt install python3-venv' first")
    _pip(python, "install", "--quiet", "--upgrade", "pip>=25.1")
    return python


def _has_torch(python: Path) -> bool:
    command = [str(python), "-m", "pip", "show", "--quiet", "torch", "torchvision"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _index(index: str | None) -> list[str]:
    return ["--index-url", index] if index else []


def _pip(python: Path, *arguments: str) -> None:
    """Runs pip; on a terminal it shows what it downloads and how far it is."""
    quiet = () if sys.stdout.isatty() else ("--quiet",)
    done = subprocess.run([str(python), "-m", "pip", "--disable-pip-version-check", *arguments, *quiet], check=False)
    if done.returncode:
        sys.exit(f"pip ended with code {done.returncode} (its message is above); the same command tries again")


def _warn_of_space(gigabytes: float) -> None:
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < gigabytes:
        _say(f"      warning: only {free:.1f} GB are free on the disk of {ROOT}")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
