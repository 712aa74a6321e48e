"""What is said of cells, and what a terminal shows of those at work."""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console

from fsseg_bench.cli.sweep_screen import Screen
from fsseg_bench.sweeps.driver import drive
from fsseg_bench.sweeps.lines import Lines
from fsseg_bench.sweeps.on_local import LocalEngine, Slot
from fsseg_bench.sweeps.plan import Cell, cell_folder, read_plan
from fsseg_bench.sweeps.states import state_of
from tests.support.fakes import FAKE, fake
from tests.support.runs import write_run
from tests.support.sweeps import held, planned

KILLED = {"after": 2, "signal": 9}
FAILS = {"after": 1, "code": 2, "says": "error: --shot 99: no"}


def said(root: Path, cells: list[Cell], *, quiet: bool = False) -> list[str]:
    folder = planned(root, cells)
    plan, lines = read_plan(folder), list[str]()
    telling = Lines(folder, plan, 0, lines.append, quiet=quiet)
    slots = [Slot({"CUDA_VISIBLE_DEVICES": "0"}, "0")]
    drive(folder, plan, LocalEngine(folder, plan, slots, program=FAKE), telling, look=0.2)
    return [re.sub(r"\d+ s", "N s", line).replace(str(folder), "FOLDER") for line in lines]


def test_each_news_is_a_line(tmp_path: Path) -> None:
    cells = [fake(tmp_path, "a", KILLED, {}, evaluate=5), fake(tmp_path, "b", FAILS)]
    assert said(tmp_path, cells) == [
        "a: begins on GPU 0",
        "a: was ended by SIGKILL after N s, goes on later",
        "a: begins on GPU 0, goes on at step 2 of 5",
        "a: done, N s (1 of 2 done)",
        "b: begins on GPU 0",
        "b: failed, see FOLDER/cells/b/log.txt (1 of 2 done, 1 failed)",
    ]


def test_quiet_says_what_went_wrong(tmp_path: Path) -> None:
    cells = [fake(tmp_path, "a", KILLED, {}), fake(tmp_path, "b", FAILS)]
    assert said(tmp_path, cells, quiet=True) == ["b: failed, see FOLDER/cells/b/log.txt (1 of 2 done, 1 failed)"]


def test_the_score_of_a_record_and_who_else_is_at_work(tmp_path: Path) -> None:
    cells = [fake(tmp_path, name) for name in ("a", "b")]
    folder = planned(tmp_path, cells)
    plan, lines = read_plan(folder), list[str]()
    telling = Lines(folder, plan, 0, lines.append)
    write_run(tmp_path, method="a", extra={"scores": {"input": {"mean_iou": 0.512}}})
    telling.ended(state_of(tmp_path, folder, plan, cells[0]), 0, 150.0)
    with held(cell_folder(folder, cells[1])) as process:
        for _ in range(2):
            telling.ended(state_of(tmp_path, folder, plan, cells[1]), 75, 1.0)
    write_run(tmp_path, method="b")
    telling.found(state_of(tmp_path, folder, plan, cells[1]))
    assert lines[0] == "a: mean IoU 51.20 %, 2.5 min (1 of 2 done)"
    assert lines[1].startswith("b: is being made elsewhere (")
    assert f"process {process}" in lines[1]
    assert lines[2].startswith("b: ")
    assert lines[2].endswith(", made elsewhere (2 of 2 done)")
    assert len(lines) == 3


def test_a_terminal_shows_what_is_at_work(tmp_path: Path) -> None:
    cells = [fake(tmp_path, f"c{n:02}", evaluate=1000) for n in range(15)]
    folder = planned(tmp_path, cells)
    plan, text = read_plan(folder), io.StringIO()
    console = Console(file=text, force_terminal=True, width=60, height=40, color_system=None)
    with Screen(folder, plan, 3, console=console) as screen:
        for cell in cells[:14]:
            screen.began(state_of(tmp_path, folder, plan, cell), "GPU 0")
        log = write_run(tmp_path, method="c00", status="evaluating") / "episodes.jsonl"
        log.write_text("{}\n" * 250)
        screen.looked = 0.0
        screen.beat()
        drawn = text.getvalue()
        screen.ended(state_of(tmp_path, folder, plan, cells[0]), -9, 1.0)
    assert "3 of 15 cells done, 14 at work" in drawn
    assert "c00: GPU 0, episode 250 of 1,000, 0 s" in drawn
    assert "and 2 more" in drawn
    assert "c00: was ended by SIGKILL after 1 s, goes on later" in text.getvalue()
    assert "3 of 15 cells done, 13 at work" in text.getvalue()
