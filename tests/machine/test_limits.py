"""Cores and memory within the limits of control groups, as systems show them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fsseg_bench.machine.limits import System, free_memory, usable_cores

GIB = 2**30
MANY = str(2**63 - 4096)  # how version 1 says that there is no limit


def system(folder: Path, mine: str, files: dict[str, str]) -> System:
    """A system whose control groups have these files."""
    made = System(folder / "groups", folder / "self", folder / "meminfo")
    made.process.mkdir()
    (made.process / "cgroup").write_text(mine)
    made.memory.write_text(f"MemFree: 5 kB\nMemAvailable: {16 * GIB // 1024} kB\n")
    for name, text in files.items():
        path = made.groups / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return made


@pytest.fixture(autouse=True)
def _twelve(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with sixteen cores, twelve of which this process may run on."""
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)), raising=False)


@pytest.mark.parametrize(
    ("mine", "files", "cores"),
    [
        ("0::/\n", {}, 12),
        ("0::/\n", {"cpu.max": "max 100000"}, 12),
        ("0::/\n", {"cpu.max": "350000 100000"}, 4),  # 3.5 cores' worth of time
        ("0::/\n", {"cpu.max": "50000 100000"}, 1),
        ("0::/\n", {"cpu.max": "3200000 100000"}, 12),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2),
        ("0::/a/b\n", {"a/cpu.max": "max 100000", "a/b/cpu.max": "300000 100000"}, 3),
        ("0::/a/b\n", {"c/cpu.max": "100000 100000"}, 12),
        ("0::/../../x\n", {"cpu.max": "200000 100000"}, 2),  # of a container that sees only its own groups
        ("0::/\n", {"cpu.max": "nonsense"}, 12),
        ("4:cpu,cpuacct:/x\n", {"cpu/x/cpu.cfs_quota_us": "150000", "cpu/x/cpu.cfs_period_us": "100000"}, 2),
        ("4:cpu,cpuacct:/x\n", {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ("4:cpu,cpuacct:/x\n", {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"}, 12),
        ("4:cpuset:/x\n", {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 12),
    ],
)
def test_cores(tmp_path: Path, mine: str, files: dict[str, str], cores: int) -> None:
    assert usable_cores(system(tmp_path, mine, files)) == cores


def second(limit: str, used: int, kept: int) -> dict[str, str]:
    return {"memory.max": limit, "memory.current": str(used), "memory.stat": f"anon 7\ninactive_file {kept}"}


def first(limit: str, used: int, kept: int) -> dict[str, str]:
    stat = f"inactive_file 1\ntotal_inactive_file {kept}"
    return {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": str(used), "memory.stat": stat}


def below(folder: str, files: dict[str, str]) -> dict[str, str]:
    return {f"{folder}/{name}": text for name, text in files.items()}


@pytest.mark.parametrize(
    ("mine", "files", "gib"),
    [
        ("0::/\n", {}, 16),
        ("0::/\n", second("max", GIB, 0), 16),
        ("0::/\n", second(str(8 * GIB), 3 * GIB, 0), 5),
        ("0::/\n", second(str(8 * GIB), 3 * GIB, 2 * GIB), 7),  # what is kept of files is given up when it is needed
        ("0::/\n", second(str(8 * GIB), 9 * GIB, 0), 0),
        ("0::/a/b\n", below("a", second(str(4 * GIB), 0, 0)) | below("a/b", second(str(6 * GIB), 0, 0)), 4),
        ("3:memory:/x\n", below("memory/x", first(str(2 * GIB), GIB, 0)), 1),
        ("3:memory:/x\n", below("memory", first(str(4 * GIB), 2 * GIB, GIB)), 3),
        ("3:memory:/x\n", below("memory", first(MANY, GIB, 0)), 16),
    ],
)
def test_memory(tmp_path: Path, mine: str, files: dict[str, str], gib: int) -> None:
    assert free_memory(system(tmp_path, mine, files)) == gib * GIB


def test_where_the_system_does_not_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = System(tmp_path / "groups", tmp_path / "self", tmp_path / "meminfo")
    assert usable_cores(nowhere) == 12
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_AVPHYS_PAGES": 3 * GIB // 4096, "SC_PAGE_SIZE": 4096}[name])
    assert free_memory(nowhere) == 3 * GIB
    monkeypatch.delattr(os, "sysconf")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert (usable_cores(nowhere), free_memory(nowhere)) == (16, 4 * GIB)


@pytest.mark.parametrize(("asked", "cores"), [("3", 3), ("24", 12), ("", 12), ("three", 12)])
def test_the_cores_that_a_job_of_slurm_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, cores: int
) -> None:
    """Where the cluster does not confine jobs to them."""
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", asked)
    assert usable_cores(system(tmp_path, "0::/\n", {})) == cores
