"""``fsseg_bench`` itself: its names, where they come from, and what using one of them loads."""

from __future__ import annotations

import pytest

import fsseg_bench
from fsseg_bench.engine.build import build_method
from fsseg_bench.version import __version__
from tests.support.fresh import python


def test_every_name_of_the_stub_is_there() -> None:
    assert {"Method", "Predictor", "build_method", "results", "run", "table"} <= set(fsseg_bench.__all__)
    assert all(getattr(fsseg_bench, name) is not None for name in dir(fsseg_bench))
    assert fsseg_bench.build_method is build_method
    assert fsseg_bench.__version__ == __version__
    with pytest.raises(AttributeError, match="runn"):
        fsseg_bench.runn  # type: ignore[attr-defined]  # noqa: B018


def test_reports_from_python_load_no_torch() -> None:
    names = ["__version__", "UserError", "load_protocol", "method_names", "results", "table"]
    code = f"import sys, fsseg_bench\nfor name in {names}:\n    getattr(fsseg_bench, name)\n"
    assert python(code + "print('torch' in sys.modules, 'pandas' in sys.modules)") == "False False\n"
