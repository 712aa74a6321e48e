from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from fsseg_bench.cli.controls import controls
from fsseg_bench.report.controls import readings
from fsseg_bench.report.figures.controls import controls_figure
from fsseg_bench.report.select import select
from tests.support.controlled import write_controlled


def test_the_axes_show_the_numbers_of_the_table(tmp_path: Path) -> None:
    contenders = select([str(write_controlled(tmp_path))], tmp_path, {}).contenders
    _, (found,) = readings(contenders)
    assert found.components is not None
    scores, alarms, variance = controls_figure(contenders, [found]).axes
    for axes, numbers in (
        (scores, [found.own, found.controls["wrong"], None, found.controls["whole"], found.controls["shifted"]]),
        (alarms, [found.alarm]),
        (variance, [found.number(key) for key in ("query", "support", "interaction")]),
    ):
        marks = [line.get_xdata() for line in axes.lines if line.get_marker() in "Dos^v"]
        assert [list(own) for own in marks] == [[] if one is None else [one.value] for one in numbers]
        bars = [bar.lines[2][0].get_segments()[0][:, 0].tolist() for bar in axes.containers]
        assert bars == [
            pytest.approx([one.low, one.high]) for one in numbers if one is not None and one.low is not None
        ]
    drawn = {line.get_label(): line.get_xdata()[0] for line in variance.lines if line.get_marker() in "Dos"}
    assert drawn["the support's"] == pytest.approx(100 * found.components.support.share)
    assert [tick.get_text() for tick in scores.get_yticklabels()] == [found.label]


def test_the_command_draws_it(tmp_path: Path) -> None:
    folder = write_controlled(tmp_path)
    told = CliRunner().invoke(controls, [str(folder), "--draws", "3", "--plot", str(tmp_path / "controls.svg")])
    assert told.exit_code == 0, told.output
    assert "mean-IoU" in (tmp_path / "controls.svg").read_text()
