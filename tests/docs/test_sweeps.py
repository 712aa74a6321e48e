"""The how-to page on sweeps, followed as it stands: with the trainings and episodes that its file says."""

from __future__ import annotations

import json

import pytest

from fsseg_bench.sweeps.spec import read_spec
from tests.support.documented import DOCS, Place

PAGE = DOCS / "howto" / "sweeps.md"
_SCRIPT = """\
#!/bin/sh
exec {python} -m fsseg_bench "$@"
"""


@pytest.mark.slow
def test_the_page_works_as_it_stands(place: Place, forked_python: str) -> None:
    # what a test makes shorter in one process would make other runs than those of the cells' processes
    (place.folder / "bin" / "fsseg-bench").write_text(_SCRIPT.format(python=forked_python))
    listed, status, rest, _, paper = place.follow(PAGE)
    assert listed.count("fsseg-bench run --method") == 12
    assert "12 done" in status
    assert all(name in rest for name in ("baseline", "biopt", "panet"))
    assert paper == ""
    records = sorted((place.folder / "results" / "runs" / "shapes5i").rglob("run.json"))
    assert len(records) == 12
    infos = [json.loads(record.read_bytes()) for record in records]
    assert {info["status"] for info in infos} == {"done"}
    assert {info["settings"]["recipe"]["iterations"] for info in infos} == {20}
    assert read_spec(place.folder / "table1.toml").name == "biopt-1"
