"""The folder for caches of a test session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def cache_of(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all processes of pytest-xdist, which has a folder for each in a common one."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
