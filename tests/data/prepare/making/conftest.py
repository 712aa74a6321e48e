"""What is made of tiny stand-ins, without the rest of a preparation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from fsseg_bench.data.prepare.making import Making
from fsseg_bench.data.prepare.sources import find_dataset
from fsseg_bench.progress import Progress

Made = Callable[..., Making]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """``made(rule, name, protocols)``: runs the rule of data set ``name`` on what lies under ``tmp_path``."""

    def run(rule: ModuleType, name: str, *protocols: str) -> Making:
        dataset = find_dataset(name)
        making = Making(replace(dataset, protocols=protocols or dataset.protocols), tmp_path, Progress())
        rule.make(making)
        return making

    return run
