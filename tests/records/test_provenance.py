import os
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import PIL.features
import pytest

from fsseg_bench.records import provenance as module
from fsseg_bench.records.provenance import git_state, provenance
from fsseg_bench.storage.json_text import plain
from tests.support.fresh import ROOT


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@t", *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "a").write_text("1")
    git(folder, "add", "a")
    git(folder, "commit", "-q", "-m", "m")
    return folder


def test_versions_and_machine():
    facts = provenance()
    assert facts == plain(facts), "JSON-able as it is"
    assert facts["packages"]["torch"] == version("torch")
    assert facts["packages"]["Pillow"] == version("pillow")
    assert facts["decoders"]["jpeg"].endswith(PIL.features.version("libjpeg_turbo") or PIL.features.version("jpg"))
    assert facts["python"] == sys.version.split()[0]
    assert facts["cpu_count"] == os.cpu_count()
    assert facts["typed"] is None


def test_a_clean_and_a_changed_checkout(repository: Path):
    commit = git(repository, "rev-parse", "HEAD")
    assert git_state(repository) == {"commit": commit, "dirty": False}
    (repository / "new").write_text("2")
    assert git_state(repository) == {"commit": commit, "dirty": True}


def test_somebody_elses_repository_is_not_ours(repository: Path):
    inside = repository / "venv" / "site-packages"
    inside.mkdir(parents=True)
    assert git_state(inside) is None


def test_no_repository_no_commit_no_git(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch):
    assert git_state(tmp_path) is None
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "-q")
    assert git_state(empty) is None
    monkeypatch.setenv("PATH", str(empty))
    assert git_state(repository) is None


def test_variables_of_a_hook_do_not_mislead(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch):
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    commit = git(repository, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert git_state(repository) == {"commit": commit, "dirty": False}


def test_the_command_as_typed_is_kept_with_its_quoting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["/x/bin/fsseg-bench", "run", "--set", "a=b c"])
    assert provenance()["typed"] == "fsseg-bench run --set 'a=b c'"
    monkeypatch.setattr(sys, "argv", [str(ROOT / "fsseg_bench" / "__main__.py"), "run", "--fold", "1"])
    assert provenance()["typed"] == "fsseg-bench run --fold 1"
    monkeypatch.setattr(sys, "argv", ["/x/other/__main__.py", "run"])
    assert provenance()["typed"] is None


def test_where_it_runs(monkeypatch: pytest.MonkeyPatch):
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "123")
    facts = provenance()
    assert (facts["host"], facts["process"], facts["job"]) == (socket.gethostname(), os.getpid(), "slurm 123")


def test_a_missing_package_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_PACKAGES", ("no-such-package-here",))
    assert provenance()["packages"] == {"no-such-package-here": None}
