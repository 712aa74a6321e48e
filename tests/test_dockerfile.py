"""The Dockerfile: its commands are run in a folder of their own, as far as a machine without Docker and network can."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_PLACES = ("/opt/fsseg", "/opt/source", "/cache", "/data", "/work")
"""Folders of the image, which lie in the test's own folder here."""


def instructions() -> Iterator[tuple[str, str]]:
    """Each instruction and what it is given, without comments and with continued lines joined."""
    text = "\n".join(line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, rest = line.partition(" ")
            yield name, re.sub(" +", " ", rest.strip())


def given(name: str) -> list[str]:
    return [rest for found, rest in instructions() if found == name]


def ignored(path: Path) -> bool:
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    inner = path.relative_to(ROOT).as_posix()
    return any(fnmatch.fnmatch(inner, p) or fnmatch.fnmatch(f"/{inner}", p.replace("**", "*")) for p in patterns)


def test_the_image_is_for_any_user_and_keeps_what_is_expensive() -> None:
    last = dict(instructions())  # of several the last one counts
    assert last["USER"] not in {"root", "0"}
    assert json.loads(last["ENTRYPOINT"]) == ["fsseg-bench"]
    assert set(json.loads(last["VOLUME"])) == {"/cache", "/data"}
    assert given("ARG") == ["TORCH=cpu"]
    assert "FSSEG_CACHE=/cache" in last["ENV"].split()
    assert "FSSEG_DATA=/data" in last["ENV"].split()
    order = [name for name, _ in instructions()]
    assert order.index("USER") > max(i for i, name in enumerate(order) if name == "RUN")


def test_the_documentation_says_how_to_run_it() -> None:
    text = (ROOT / "docs" / "howto" / "containers.md").read_text(encoding="utf-8")
    assert "docker build" in text
    assert "--shm-size" in text
    assert "TORCH=" in text


def test_records_and_tests_stay_outside() -> None:
    for name in (".git", ".venv", "results/runs", "tests", "fsseg_bench/__pycache__", ".mypy_cache"):
        assert ignored(ROOT / name), name
    for name in ("README.md", "LICENSE", "hatch_build.py", "protocols", "results/published", "methods/fsseg_methods"):
        assert not ignored(ROOT / name), name


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The image's folders, and commands that would change the machine replaced by ones that do nothing."""
    (tmp_path / "harmless").mkdir()
    for name in ("useradd", "chown"):
        (tmp_path / "harmless" / name).write_text("#!/bin/sh\nexit 0\n")
        (tmp_path / "harmless" / name).chmod(0o755)
    return tmp_path


def moved(text: str, image: Path) -> str:
    """``text`` with the image's places in the test's folder."""
    for place in _PLACES:
        text = re.sub(rf"(?<![\w.]){place}(?![\w-])", f"{image}{place}", text)
    return text


@pytest.mark.slow
def test_its_commands_build_an_image_that_runs(image: Path) -> None:
    environment = {
        "PATH": f"{image / 'harmless'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PIP_NO_INDEX": "1",  # what this environment has stands in for what would be fetched
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it the other way round
        "TORCH": "cpu",
        "OMP_NUM_THREADS": "1",
        "HOME": "/nowhere",
    }
    folder = image
    command: list[str] = []

    def shell(line: str) -> str:
        done = subprocess.run(
            ["bash", "-ec", line], env=environment, cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    for name, rest in instructions():
        text = moved(rest, image)
        if name == "ENV":
            for word in shlex.split(text):
                key, _, value = word.partition("=")
                environment[key] = value.replace("$PATH", environment["PATH"])
        elif name == "RUN":
            shell(text)
            for site in (image / "opt" / "fsseg").glob("lib/python3*/site-packages"):
                here = [path for path in sys.path if path.endswith("site-packages")]
                (site / "here.pth").write_text("\n".join(here) + "\n")
                for old in site.glob("setuptools*"):  # of Python 3.11's venv; the image's Python brings none
                    shutil.rmtree(old)
        elif name == "COPY":
            shutil.copytree(ROOT, moved("/opt/source", image), ignore=lambda place, names: {
                inner for inner in names if ignored(Path(place) / inner)
            })  # fmt: skip
        elif name == "WORKDIR":
            folder = Path(text)
            assert folder.is_dir()
        elif name == "ENTRYPOINT":
            command = json.loads(text)
    assert stat.S_IMODE((image / "cache").stat().st_mode) == stat.S_IMODE((image / "work").stat().st_mode) == 0o1777
    where = shell("python -c 'import fsseg_bench, fsseg_methods; print(fsseg_bench.__file__, fsseg_methods.__file__)'")
    assert where.count(f"{image}/opt/fsseg/lib") == 2
    (default,) = given("CMD")
    assert "Commands:" in shell(shlex.join([*command, *json.loads(default)]))
    run = "run --method baseline --dataset shapes5i --fold 1 --iterations 0 --episodes 40 --device cpu --panels 0"
    assert "| baseline" in shell(shlex.join([*command, *run.split()]))
    assert list((image / "cache").iterdir())
    assert list((image / "work" / "results" / "runs").rglob("run.json"))
