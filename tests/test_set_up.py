"""The installation: which builds of PyTorch it takes, and what ``make demo`` says."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.fresh import ROOT

PYTHON = Path(sys.executable)


@pytest.fixture
def set_up(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, on a Linux PC that says nothing of an index."""
    spec = importlib.util.spec_from_file_location("set_up", ROOT / "tools" / "set_up.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.delenv("TORCH_INDEX", raising=False)
    for name in [name for name in os.environ if name.startswith("PIP_")]:  # further places where wheels may lie
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setattr(module.platform, "system", lambda: "Linux")
    monkeypatch.setattr(module.platform, "machine", lambda: "x86_64")
    return module


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """An index on this machine with small wheels of the names and versions that PyTorch's has."""
    for name, version in (("torch", "2.14.1+cpu"), ("torchvision", "0.29.1+cpu")):
        wheel = tmp_path / "simple" / name / f"{name}-{version}-py3-none-any.whl"
        wheel.parent.mkdir(parents=True)
        info = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
    handler = partial(_Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/simple"
        server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.mark.parametrize(
    ("gpu", "offered", "index", "words"),
    [
        (True, True, None, "has an NVIDIA GPU"),
        (False, True, "https://download.pytorch.org/whl/cpu", "for the CPU"),
        (False, False, None, "cannot be reached"),
    ],
)
def test_the_builds_fit_the_machine(
    set_up: ModuleType, monkeypatch: pytest.MonkeyPatch, gpu: bool, offered: bool, index: str | None, words: str
) -> None:
    monkeypatch.setattr(set_up, "has_gpu", lambda: gpu)
    monkeypatch.setattr(set_up, "_offers", lambda *_: offered)
    build = set_up.choose_build(PYTHON)
    assert build.url == index
    assert words in build.about
    assert build.gigabytes == (set_up.WITHOUT if index else set_up.WITH_CUDA)


@pytest.mark.parametrize("system", [("Darwin", "arm64"), ("Linux", "aarch64")])
def test_other_machines_have_small_builds_in_pips_own_index(
    set_up: ModuleType, monkeypatch: pytest.MonkeyPatch, system: tuple[str, str]
) -> None:
    monkeypatch.setattr(set_up.platform, "system", lambda: system[0])
    monkeypatch.setattr(set_up.platform, "machine", lambda: system[1])
    build = set_up.choose_build(PYTHON)
    assert (build.url, build.gigabytes) == (None, set_up.WITHOUT)


@pytest.mark.parametrize("value", ["https://example.org/whl/cu130", ""])
def test_the_variable_names_the_index(set_up: ModuleType, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TORCH_INDEX", value)
    build = set_up.choose_build(PYTHON)
    assert build.url == (value or None)
    assert "TORCH_INDEX" in build.about


@pytest.mark.slow
def test_an_index_is_asked_for_both_packages(set_up: ModuleType, index: str, tmp_path: Path) -> None:
    assert set_up._offers(PYTHON, index)
    (wheel,) = (tmp_path / "simple" / "torchvision").iterdir()
    wheel.unlink()
    assert not set_up._offers(PYTHON, index)
    assert not set_up._offers(PYTHON, "http://127.0.0.1:9/simple")


def test_an_old_python_is_named(set_up: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_up.sys, "version_info", (3, 10, 4))
    with pytest.raises(SystemExit, match=r"3\.11 or newer is needed.*make demo PYTHON="):
        set_up.main()


def test_the_readme_shows_the_targets_that_there_are() -> None:
    printed = subprocess.run(["make", "-n", "demo"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "results/report.html" in printed
    assert "results/report.html" in readme
    assert "source .venv/bin/activate" in readme
