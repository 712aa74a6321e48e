"""The wheel: what it holds, and that it works away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(ROOT)], check=True, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


def test_only_the_two_packages_land_in_site_packages(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"fsseg_bench", "fsseg_methods"}
    assert {"fsseg_bench/protocols/pascal5i.toml", "fsseg_bench/py.typed", "fsseg_methods/py.typed"} <= set(names)
    assert "fsseg_bench/__init__.pyi" in names  # the list of public names, read when the package is imported
    assert {"fsseg_bench/report/html/page.css", "fsseg_bench/report/html/page.js"} <= set(names)
    rules = {f"fsseg_bench/{path.relative_to(ROOT)}" for path in (ROOT / "protocols").rglob("*") if path.is_file()}
    assert rules <= set(names)  # with the list files in folders below
    published = {"README.md", "biopt/table.toml", "biopt/numbers.csv", "biopt/errata.csv", "later/table.toml"}
    assert {f"fsseg_bench/results/published/{name}" for name in published} <= set(names)
    assert not [name for name in names if "/runs/" in name or name.startswith("tests")]


def test_the_installed_wheel_runs_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site), "FSSEG_CACHE": str(tmp_path / "cache")}
    where = "import fsseg_bench, fsseg_methods; print(fsseg_bench.__file__, fsseg_methods.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where], check=True, cwd=tmp_path, env=environment, capture_output=True, text=True
    ).stdout
    assert found.count(str(site)) == 2
    command = "run --method biopt --dataset shapes5i --shot 1 --fold 1 --iterations 1 --episodes 40 --device cpu"
    done = subprocess.run(
        [sys.executable, "-m", "fsseg_bench", *command.split()],
        check=True,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert "biopt" in done.stdout
    assert list((tmp_path / "results" / "runs").rglob("run.json"))
