"""Fixtures for all tests."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cache import cache_of
from tests.support.drawn import draw_once
from tests.support.forked import python_server, shell_words
from tests.support.forked_popen import Forked

if "PYTEST_XDIST_WORKER" in os.environ:  # one process a core: before torch is imported, and for child processes
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a script's background; child processes would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first where processes share the files: none is left with a long one at the end."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)


def pytest_runtest_setup() -> None:
    """Before fixtures: see there."""
    draw_once()


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder with real images, weights and parity data; skips where it is absent."""
    value = os.environ.get("FSSEG_TEST_DATA")
    if not value or not Path(value).is_dir():
        pytest.skip("FSSEG_TEST_DATA does not name the folder with data/, weights/ and golden/")
    return Path(value)


@pytest.fixture(scope="session")
def _python_server() -> Iterator[str]:
    with python_server() as address:
        yield address


@pytest.fixture(scope="session")
def forked_python(_python_server: str) -> str:
    """The start of a shell command that is Python with torch imported already; see ``tests.support.forked``."""
    return shell_words(_python_server)


@pytest.fixture(scope="module")
def forked_processes(_python_server: str) -> Iterator[None]:
    """Processes of Python that this module's tests start, and those that they start, have imported torch already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Forked, "address", _python_server)
        patch.setattr(subprocess, "Popen", Forked)
        yield


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests never read or write the user's cache, data or results."""
    monkeypatch.setenv("FSSEG_CACHE", str(cache_of(tmp_path_factory)))
    monkeypatch.delenv("FSSEG_DATA", raising=False)
    monkeypatch.delenv("FSSEG_RESULTS", raising=False)
