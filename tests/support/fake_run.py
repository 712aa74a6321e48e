"""A process that leaves what a run leaves, without computing anything: what it does, a JSON file says.

``python fake_run.py run --threads N PLACE --identity ID``; PLACE is a folder with ``cell.json``, see
:func:`tests.support.fakes.fake`. It notes each start in ``starts``, and in ``doubles`` if it is not alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path

from fsseg_bench.machine.lifeline import follow


def main() -> int:
    place = Path(sys.argv[4])
    asked = json.loads((place / "cell.json").read_text())
    if sys.argv[1:4] + sys.argv[5:] != ["run", "--threads", "1", "--identity", asked["identity"]]:
        return 70
    turns = asked["turns"]
    number = len(lines(place / "starts"))
    turn = turns[min(number, len(turns) - 1)]
    where = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    for name in (place / "alone", *([place.parent / f"slot{where}"] if where and not turn.get("shares") else [])):
        if not locked_soon(name):
            note(place.parent / "doubles", f"{place.name} {name.name}")
            return 70
    note(place / "starts", json.dumps({"process": os.getpid(), "gpu": where, "threads": os.environ["OMP_NUM_THREADS"]}))
    return work(Path(asked["folder"]), asked, turn)


def work(folder: Path, asked: dict[str, object], turn: dict[str, object]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    if not locked(folder / ".lock"):
        print("error: another process is writing")
        return 75
    info = {"status": "evaluating", "identity": asked["identity"], "settings": {}, **asked["info"]}
    write(folder, info)
    episodes = folder / "episodes.jsonl"
    for done in range(len(lines(episodes)), asked["episodes"]):
        if done >= turn.get("after", 10**9):
            return end(folder, info, turn)
        while turn.get("waits") == done and not (Path(sys.argv[4]).parent / "go").exists() and not stopped:
            time.sleep(0.05)
        time.sleep(turn.get("seconds", 0.0))
        if stopped:
            print("stopped; the same command goes on from here")
            return 143
        note(episodes, json.dumps({"episode": done}))
    if "after" in turn and turn["after"] >= asked["episodes"]:
        return end(folder, info, turn)
    write(folder, {**info, "status": "done"})
    return 0


def end(folder: Path, info: dict[str, object], turn: dict[str, object]) -> int:
    print(turn.get("says", ""), flush=True)
    if "signal" in turn:
        os.kill(os.getpid(), turn["signal"])
        time.sleep(60)
    while turn.get("hangs") and (turn["hangs"] == "deaf" or not stopped):
        time.sleep(0.01)
    return 143 if turn.get("hangs") else turn["code"]


def write(folder: Path, info: dict[str, object]) -> None:
    temporary = folder / f".run.{os.getpid()}.tmp"
    temporary.write_text(json.dumps(info))
    temporary.replace(folder / "run.json")


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def note(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")


def locked(path: Path) -> bool:
    """Whether nobody else has the file's lock; this process then keeps it until it dies."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return False
    return True


def locked_soon(path: Path) -> bool:
    """As :func:`locked`, with patience for a process whose driver was killed: its lifeline ends it. Whoever waits here
    for one that lives finds its work done, and does it a second time for the list of attempts."""
    limit = time.monotonic() + 20.0
    while not locked(path):
        if time.monotonic() > limit:
            return False
        time.sleep(0.02)
    return True


stopped: list[int] = []

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, _frame: stopped.append(number))
    follow()
    sys.exit(main())
