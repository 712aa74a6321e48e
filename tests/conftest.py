"""Fixtures for all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.cache import cache_of

if "PYTEST_XDIST_WORKER" in os.environ:  # one process a core: before torch is imported, and for child processes
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a script's background; child processes would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder with real images, weights and parity data; skips where it is absent."""
    value = os.environ.get("FSSEG_TEST_DATA")
    if not value or not Path(value).is_dir():
        pytest.skip("FSSEG_TEST_DATA does not name the folder with data/, weights/ and golden/")
    return Path(value)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests never read or write the user's cache, data or results."""
    monkeypatch.setenv("FSSEG_CACHE", str(cache_of(tmp_path_factory)))
    monkeypatch.delenv("FSSEG_DATA", raising=False)
    monkeypatch.delenv("FSSEG_RESULTS", raising=False)
