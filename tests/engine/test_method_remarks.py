"""What a method says of the episodes that it is asked to do: printed with the plan, and kept in the record."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsseg_bench.engine.batch import plan_all
from fsseg_bench.records.read import read_run
from tests.support.tiny_run import finish, tiny_request

SAID = "the 2 supports weigh alike, since shots=1"


@pytest.mark.parametrize(("shot", "shots", "told"), [(2, 1, True), (2, 2, False), (1, 1, False)])
def test_supports_that_are_weighed_otherwise_than_published_are_told(
    tmp_path: Path, shot: int, shots: int, told: bool
) -> None:
    settings = {"shots": str(shots), "stage.base.iterations": "0"}
    request = tiny_request(tmp_path, method="bam", backbone="resnet18", shot=shot, settings=settings, episodes="2")
    notes = plan_all([request], {}).notes
    assert [line for line in notes if SAID in line] == [line for line in notes if line.startswith("bam: ")]
    assert any(SAID in line for line in notes) == told
    if told:
        remarks = read_run(finish(request)).info.remarks
        assert any(SAID in line for line in remarks)
