"""Fake tasks for a pool of processes: a few words that say what to do."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fsseg_bench.errors import FullDiskError, UserError


def work() -> Callable[[str, Callable[[Any], None]], Any]:
    """The function of one process; it counts what the process has done."""
    done: list[str] = []

    def cell(task: str, tell: Callable[[Any], None]) -> Any:
        done.append(task)
        verb, _, rest = task.partition(" ")
        return _VERBS[verb](rest, tell, len(done))

    return cell


def broken() -> Callable[[str, Callable[[Any], None]], Any]:
    """A process that cannot begin."""
    raise UserError("no such thing here; get one")


def _say(rest: str, tell: Callable[[Any], None], count: int) -> dict[str, Any]:
    for word in rest.split():
        tell(word)
    return {"pid": os.getpid(), "count": count, "slot": os.environ.get("CELL_SLOT"), "argv": sys.argv}


def _print(rest: str, _tell: Callable[[Any], None], _count: int) -> None:
    print("on standard output:", rest, flush=True)
    os.write(2, b"10 %\r100 %\nno end of line")


def _wait(rest: str, tell: Callable[[Any], None], _count: int) -> str:
    """Waits until there is the file; leaves another one when it is interrupted."""
    path = Path(rest)
    try:
        tell(os.getpid())
        while not path.exists():
            time.sleep(0.01)
    except KeyboardInterrupt:
        path.with_name(f"{path.name}.interrupted").touch()
        raise
    return rest


def _meet(rest: str, _tell: Callable[[Any], None], _count: int) -> None:
    """Is done when another process does the same: they must be at work at once."""
    folder = Path(rest)
    (folder / str(os.getpid())).touch()
    limit = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2:
        if time.monotonic() > limit:
            raise UserError("nobody came")
        time.sleep(0.01)


def _stubborn(rest: str, tell: Callable[[Any], None], _count: int) -> None:
    while True:
        try:
            tell(os.getpid())
            while True:
                time.sleep(0.1)
        except KeyboardInterrupt:
            continue


def _fail(rest: str, _tell: Callable[[Any], None], _count: int) -> None:
    raise {
        "mistake": UserError("wrong; mend it"),
        "bug": KeyError("x"),
        "disk": FullDiskError("full"),
        "exit": SystemExit(3),
    }[rest]


def _die(rest: str, _tell: Callable[[Any], None], _count: int) -> None:
    print("something is broken", flush=True)
    if rest == "exit":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGKILL)


_VERBS: dict[str, Callable[[str, Callable[[Any], None], int], Any]] = {
    "say": _say,
    "print": _print,
    "wait": _wait,
    "meet": _meet,
    "stubborn": _stubborn,
    "fail": _fail,
    "die": _die,
}
