from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import sweep
from fsseg_bench.cli.sweep_status import status
from fsseg_bench.report.collect import find_runs
from fsseg_bench.sweeps.states import states_of
from fsseg_bench.sweeps.table import counts


def test_the_made_up_sweep_is_one_that_status_and_reports_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "_EVERY", 5)
    folder = sweep.write_sweep(tmp_path, 10, 40)
    states = states_of(folder)
    assert counts(states) == {"done": 4, "running": 0, "waiting": 2, "stopped": 2, "failed": 2, "gave up": 0}
    assert {state.train for state in states if state.state == "stopped"} == {sweep.ITERATIONS // 2}
    assert len(find_runs(tmp_path).done) == 4
    result = CliRunner().invoke(status, [sweep.NAME, "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "10 cells: 4 done, 2 waiting, 2 stopped, 2 failed" in result.stdout
