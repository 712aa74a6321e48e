"""Sweeps whose cells are processes of :mod:`tests.support.fake_run`, and a driver of them that can be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fsseg_bench.machine.stopping import Stopped, deferred, listening
from fsseg_bench.sweeps.driver import Outcome, Telling, drive
from fsseg_bench.sweeps.on_local import LocalEngine, Slot
from fsseg_bench.sweeps.plan import Cell, read_plan
from fsseg_bench.sweeps.states import CellState
from tests.support.fresh import ROOT
from tests.support.sweeps import cell

FAKE = (sys.executable, str(Path(__file__).with_name("fake_run.py")))
EPISODES = 4
SECONDS = 600.0
"""Until something hangs."""
LOOK = 0.2


def fake(root: Path, label: str, *turns: dict[str, Any], info: dict[str, Any] | None = None, **changes: Any) -> Cell:
    """A cell without training. Its attempts do what ``turns`` say one after the other, and the last one's for ever.

    A turn: ``seconds`` an episode; ``after`` so many episodes it ends with ``code``, by ``signal``, or ``hangs`` until
    SIGTERM (``deaf``: also then), and ``says`` something before that; after so many it ``waits`` for the file
    ``ROOT/fakes/go``; it ``shares`` its slot's number with others. An empty one does all that is left.
    """
    made = cell(root, label, **{"train": 0, "evaluate": EPISODES, **changes})
    place = root / "fakes" / label
    place.mkdir(parents=True)
    made = Cell(**{**vars(made), "command": ("run", "--threads", "1", str(place))})
    asked = {"folder": str(root / made.folder), "identity": made.identity, "episodes": made.evaluate}
    (place / "cell.json").write_text(json.dumps(asked | {"turns": list(turns) or [{}], "info": info or {}}))
    return made


def starts(root: Path, label: str) -> list[dict[str, Any]]:
    """Process, GPU and threads of each attempt at a cell."""
    path = root / "fakes" / label / "starts"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def doubles(root: Path) -> list[str]:
    """Cells that two processes made at the same time, and slots that two used."""
    path = root / "fakes" / "doubles"
    return path.read_text().splitlines() if path.exists() else []


def episodes(root: Path, made: Cell) -> list[int]:
    """The episodes in a cell's log."""
    text = (root / made.folder / "episodes.jsonl").read_text()
    return [json.loads(line)["episode"] for line in text.splitlines()]


class Heard(Telling):
    """Remembers what is told."""

    def __init__(self) -> None:
        self.began_at: list[tuple[str, str]] = []
        self.ended_as: list[tuple[str, int | None, str]] = []
        self.found_as: list[tuple[str, str]] = []
        self.said: list[str] = []

    def began(self, state: CellState, where: str) -> None:
        self.began_at.append((state.cell.label, where))

    def ended(self, state: CellState, code: int | None, seconds: float) -> None:
        self.ended_as.append((state.cell.label, code, state.state))

    def found(self, state: CellState) -> None:
        self.found_as.append((state.cell.label, state.state))

    def say(self, words: str) -> None:
        self.said.append(words)


def driven(folder: Path, slots: int | Sequence[Slot] = 2, **options: Any) -> tuple[Outcome, Heard]:
    """The end of a drive in this process."""
    heard, plan = Heard(), read_plan(folder)
    places = [Slot({})] * slots if isinstance(slots, int) else slots
    engine = LocalEngine(folder, plan, places, program=FAKE)
    return drive(folder, plan, engine, heard, **{"look": LOOK, **options}), heard


def driver(folder: Path, slots: int = 2, **options: Any) -> subprocess.Popen[str]:
    """A driver as a process, in a group of its own as a shell has it; at its end it prints how its attempts ended."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "methods")])
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.fakes", str(folder), json.dumps({"slots": slots, **options})],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def until(what: Any, patience: float = SECONDS) -> None:
    """Waits until ``what()`` is true."""
    begin = look = time.monotonic()
    while not what():
        now = time.monotonic()
        assert now < begin + patience, "it did not come"
        time.sleep(max(0.01, min(2 * (now - look), 0.2)))  # a look that asks another program leaves it time to work
        look = time.monotonic()


def _main() -> None:
    folder, options = Path(sys.argv[1]), json.loads(sys.argv[2])
    try:
        with listening(), deferred():
            outcome, heard = driven(folder, **options)
            print(json.dumps({"left": len(outcome.left), "ended": sorted(heard.ended_as)}))
    except Stopped as stopped:
        sys.exit(128 + stopped.number)
    sys.exit(outcome.code)


if __name__ == "__main__":
    _main()
