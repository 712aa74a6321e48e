"""Progress in a notebook: what the cell shows while something runs, and afterwards."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import click
import pytest

from fsseg_bench.progress import Job, Progress
from fsseg_bench.screen import notebook
from fsseg_bench.screen.notebook import NotebookProgress, progress_from_python

STEPS = {"train": 10, "evaluate": 10}
JOBS = (Job("panet fold 1", "panet", STEPS), Job("panet fold 2", "panet", STEPS))


class Cell:
    """Stands for IPython's display: what one output shows, drawing after drawing."""

    def __init__(self) -> None:
        self.drawings: list[dict[str, str]] = []
        self.outputs = 0

    def display(self, shown: Any, display_id: bool) -> Cell:
        assert display_id
        self.outputs += 1
        self.update(shown)
        return self

    def update(self, shown: Any) -> None:
        self.drawings.append(shown._repr_mimebundle_(None, None))

    @property
    def texts(self) -> list[str]:
        return [click.unstyle(drawing["text/plain"]) for drawing in self.drawings]


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Cell:
    made = Cell()
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=made.display))
    return made


def test_bars_are_drawn_again_in_one_output_and_gone_at_the_end(cell: Cell, capsys: pytest.CaptureFixture[str]) -> None:
    progress = NotebookProgress()
    progress.jobs(JOBS)
    for number, job in enumerate(JOBS):
        with progress.job(number) as inside:
            for title, steps in STEPS.items():
                with inside.meter(title, steps) as meter:
                    meter.advance(steps, "loss 0.25")
            inside.say(f"{job.title}: done")
    assert cell.outputs == 1
    assert "run 2 of 2: panet fold 2" in "".join(cell.texts)
    assert any("evaluate" in text and "0/10" in text for text in cell.texts)
    assert all(set(drawing) == {"text/plain", "text/html"} for drawing in cell.drawings)
    assert cell.texts[-1].strip() == ""
    captured = capsys.readouterr()
    assert captured.out.splitlines() == ["panet fold 1: done", "panet fold 2: done"]
    assert captured.err == ""  # which notebooks show on red


def test_jobs_side_by_side_have_a_row_each(cell: Cell) -> None:
    progress = NotebookProgress()
    progress.jobs(JOBS, 2)
    with progress.job(0) as first, progress.job(1) as second:
        for title, steps in STEPS.items():
            with first.meter(title, steps), second.meter(title, steps) as meter:
                meter.advance(steps)
    assert cell.outputs == 1
    fullest = max(cell.texts, key=lambda text: len(text.split()))
    assert [line.split()[:4] for line in fullest.splitlines()[1:]] == [
        ["panet", "fold", "1", "evaluate"],
        ["panet", "fold", "2", "evaluate"],
    ]
    assert fullest.startswith("0 of 2 runs done")
    assert cell.texts[-1].strip() == ""


def test_at_most_two_drawings_a_second(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(notebook.time, "monotonic", lambda: now)
    with NotebookProgress().meter("train", 100) as meter:
        for _ in range(40):
            meter.advance(1, "loss [0.25]")
            now += 0.125
    assert len(cell.drawings) == 2 + 10 - 1  # at the beginning and the end, and twice a second between them
    assert "loss [0.25]" in cell.texts[5]


def test_who_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Progress()
    assert progress_from_python(own) is own
    assert type(progress_from_python(None)) is type(progress_from_python(False)) is Progress
    assert type(progress_from_python(True)) is not Progress  # lines, or bars on a terminal
    monkeypatch.setattr(notebook, "Console", lambda: SimpleNamespace(is_jupyter=True))
    assert isinstance(progress_from_python(None), NotebookProgress)
    assert isinstance(progress_from_python(True), NotebookProgress)
    assert type(progress_from_python(False)) is Progress
