"""Report tests make many records: asking git and the platform anew for each would take most of their time."""

from __future__ import annotations

from typing import Any

import pytest

from fsseg_bench.records import run
from fsseg_bench.records.provenance import provenance


@pytest.fixture(scope="session")
def _facts() -> dict[str, Any]:
    return provenance()


@pytest.fixture(autouse=True)
def _same_provenance(_facts: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "provenance", lambda: _facts)
