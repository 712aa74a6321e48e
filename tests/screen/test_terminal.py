from __future__ import annotations

import io
import sys
from contextlib import ExitStack, suppress

import click
import pytest
from rich.console import Console

from fsseg_bench.errors import UserError
from fsseg_bench.progress import Job, Progress
from fsseg_bench.screen import terminal as screen
from fsseg_bench.screen.terminal import screen_progress

STEPS = {"train": 10, "evaluate": 10}
JOBS = (Job("panet fold 1", "panet", STEPS), Job("panet fold 2", "panet", STEPS))


def test_plain_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One line every 15 seconds: of files and bytes with the rate, and one before them; of steps one at the end."""
    now = 100.0
    monkeypatch.setattr(screen.time, "monotonic", lambda: now)
    progress = screen_progress("panet:")
    progress.say("hello")
    with progress.meter("x.tar", 50_000_000, 10_000_000, "bytes") as meter:
        for seconds, amount in ((5, 1_000_000), (10, 19_000_000), (10, 10_000_000), (5, 5_000_000)):
            now += seconds
            meter.advance(amount)
    with progress.meter("masks", 3000, unit="files") as meter:
        now += 20
        meter.advance(2000)
    with progress.meter("train", 100, 20) as meter:
        for seconds, amount in ((5, 10), (10, 10), (1, 60)):
            now += seconds
            meter.advance(amount, f"loss {amount}")
    assert capsys.readouterr().err.splitlines() == [
        "hello",
        "panet: x.tar ...",
        "panet: x.tar: 30.0 of 50.0 MB, 1.3 MB/s",
        "panet: x.tar: 45.0 of 50.0 MB, 1.2 MB/s",
        "panet: masks ...",
        "panet: masks: 2,000 of 3,000 files, 100/s",
        "panet: train 40/100 loss 10",
        "panet: train 100/100 loss 60",
    ]


def test_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars may lie in one another: a download is checked while its own bar stands. The last loss stays."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    text = io.StringIO()
    terminal = Console(file=text, force_terminal=True, width=120, color_system=None)
    monkeypatch.setattr(screen, "Console", lambda **_: terminal)
    progress = screen_progress()
    with progress.meter("x.tar", 2_000_000, 500_000, "bytes") as outer:
        outer.advance(1_000_000)
        with progress.meter("[checking] x.tar", 100, unit="files") as inner:
            inner.advance(40)
            progress.say("a line [with brackets]")
    with progress.meter("train", 100) as meter:
        meter.advance(100, "loss [0.25]")
    shown = click.unstyle(text.getvalue())
    for part in ("x.tar", "1.5/2.0 MB", "[checking] x.tar", " 0/100", "a line [with brackets]"):
        assert part in shown
    assert "100/100" in shown.rstrip().splitlines()[-1]
    assert "loss [0.25]" in shown.rstrip().splitlines()[-1]


def run_jobs(progress: Progress) -> None:
    progress.jobs(JOBS)
    for number, job in enumerate(JOBS):
        with progress.job(number) as inside:
            for title, steps in STEPS.items():
                with inside.meter(title, steps) as meter:
                    meter.advance(steps, "loss 0.25")
            inside.say(f"{job.title}: done")


def test_plain_lines_of_several_runs(capsys: pytest.CaptureFixture[str]) -> None:
    run_jobs(screen_progress())
    assert capsys.readouterr().err.splitlines() == [
        "run 1 of 2: panet fold 1, train 10/10 loss 0.25",
        "run 1 of 2: panet fold 1, evaluate 10/10 loss 0.25; about 5 s left in all",
        "panet fold 1: done",
        "run 2 of 2: panet fold 2, train 10/10 loss 0.25; about 5 s left in all",
        "run 2 of 2: panet fold 2, evaluate 10/10 loss 0.25",
        "panet fold 2: done",
    ]


def test_bars_of_several_runs_go_and_their_results_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    text = io.StringIO()
    terminal = Console(file=text, force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr(screen, "Console", lambda **_: terminal)
    run_jobs(screen_progress())
    shown = click.unstyle(text.getvalue())
    assert "run 1 of 2: panet fold 1\n" in shown.replace("\r", "\n")
    assert "run 2 of 2: panet fold 2, about 5 s left in all" in shown
    assert all(len(line) <= 80 for line in shown.replace("\r", "\n").splitlines())
    assert shown.count("panet fold 2: done") == 1


def run_side_by_side(progress: Progress) -> None:
    """Both jobs at work at a time; the second fails."""
    progress.jobs((*JOBS, Job("panet fold 3", "panet", {})), 2)
    with ExitStack() as first, suppress(UserError), progress.job(1) as of_second:
        of_first = first.enter_context(progress.job(0))
        for title, steps in STEPS.items():
            with of_first.meter(title, steps) as one, of_second.meter(title, steps) as two:
                one.advance(steps, "loss 0.25")
                with of_second.meter("reading", 4, unit="files") as inner:  # beside the other one of its job
                    inner.advance(4)
                two.advance(steps)
        raise UserError
    with progress.job(2) as done:
        done.say("panet fold 3: already finished")


def test_plain_lines_of_jobs_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    run_side_by_side(screen_progress())
    assert capsys.readouterr().err.splitlines() == [
        "panet fold 1, train 10/10 loss 0.25; 0 of 3 runs done",
        "panet fold 2, reading ...",
        "panet fold 2, train 10/10; 0 of 3 runs done",
        "panet fold 1, evaluate 10/10 loss 0.25; 0 of 3 runs done, about 5 s left in all",
        "panet fold 2, reading ...",
        "panet fold 2, evaluate 10/10; 0 of 3 runs done",
        "panet fold 3: already finished",
    ]


def test_rows_of_jobs_side_by_side_keep_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    text = io.StringIO()
    terminal = Console(file=text, force_terminal=True, width=100, color_system=None)
    monkeypatch.setattr(screen, "Console", lambda **_: terminal)
    progress = screen_progress()
    progress.jobs(JOBS, 2)
    with progress.job(0) as first, progress.job(1) as second:
        with first.meter("train", 10) as one, second.meter("train", 10) as two:
            one.advance(10)
            two.advance(5)
            with first.meter("reading", 4, unit="files"):
                pass
        with first.meter("evaluate", 20, 5):
            first.say("a line")
    after = click.unstyle(text.getvalue()).partition("a line")[2].replace("\r", "\n")
    shown = [line for line in map(str.strip, after.splitlines()) if line][:3]
    assert shown[0].startswith("0 of 2 runs done")
    assert shown[1].startswith("panet fold 1 evaluate")
    assert " 5/20" in shown[1]
    assert shown[2].startswith("panet fold 2 train")
    assert " 5/10" in shown[2]
    assert "reading" in text.getvalue()
