"""What the figures were measured on, and how they are summarised."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch


def describe() -> str:
    """One line: processor, threads, versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    return f"{model}, {torch.get_num_threads()} threads{gpu}, {versions}"


def spread(seconds: Sequence[float]) -> str:
    """Median and range in milliseconds."""
    return (
        f"{1e3 * statistics.median(seconds):8.2f} ms (min {1e3 * min(seconds):.2f}, max {1e3 * max(seconds):.2f}, "
        f"n {len(seconds)})"
    )
