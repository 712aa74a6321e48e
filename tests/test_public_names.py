"""``fsseg_bench`` itself: its names, where they come from, and what using one of them loads."""

from __future__ import annotations

from pathlib import Path

import pytest

import fsseg_bench
from fsseg_bench.engine.build import build_method
from fsseg_bench.version import __version__
from tests.support.fresh import python
from tests.support.runs import write_run
from tests.support.sweeps import cell, planned


def test_every_name_of_the_stub_is_there() -> None:
    assert {"Method", "Predictor", "build_method", "compare", "results", "run", "table"} <= set(fsseg_bench.__all__)
    assert all(getattr(fsseg_bench, name) is not None for name in dir(fsseg_bench))
    assert fsseg_bench.build_method is build_method
    assert fsseg_bench.__version__ == __version__
    with pytest.raises(AttributeError, match="runn"):
        fsseg_bench.runn  # type: ignore[attr-defined]  # noqa: B018


def test_reports_from_python_load_no_torch(tmp_path: Path) -> None:
    for method in ("baseline", "panet"):
        write_run(tmp_path, method=method)
    code = """
import sys, fsseg_bench as f
f.__version__, f.UserError, f.load_protocol, f.method_names
print("pandas" in sys.modules)
for function in (f.results, f.means, f.per_class, f.episodes_frame):
    print(len(function()))
print(len(f.compare("baseline", "panet")), len(f.table(1)), "torch" in sys.modules)
"""
    assert python(code, FSSEG_RESULTS=str(tmp_path)).split() == ["False", "8", "2", "4", "4", "6", "16", "False"]


def test_a_sweeps_status_loads_no_torch(tmp_path: Path) -> None:
    cells = [cell(tmp_path, "baseline"), cell(tmp_path, "panet")]
    planned(tmp_path, cells, "small")
    write_run(tmp_path, method="panet")
    code = """
import sys, fsseg_bench as f
frame = f.sweep_status("small")
print(*frame["state"], "torch" in sys.modules)
"""
    assert python(code, FSSEG_RESULTS=str(tmp_path)).split() == ["waiting", "done", "False"]
