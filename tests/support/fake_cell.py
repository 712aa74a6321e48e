"""A cell that takes no time and no torch: ``python fake_cell.py run ROOT METHOD BEHAVIOUR --identity ID``.

It writes a true record, locks it while it works, goes on where it stopped, and ends with 143 at SIGTERM. Its behaviour:

* ``makes``: all episodes;
* ``waits``: as above, but in the middle it waits for the file ``ROOT/go``;
* ``fails``: ends with 2 at the first episode;
* ``falls``: is killed at the first episode.

``python fake_cell.py -m fsseg_bench.sweeps.on_node ...`` is an interpreter on a node that makes such cells.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "methods")]

from fsseg_bench.machine.lifeline import follow  # noqa: E402
from fsseg_bench.records.run import RunRecord  # noqa: E402
from tests.support.runs import request, row, settings  # noqa: E402

EPISODES = 3
GO = "go"


def main(root: Path, method: str, behaviour: str) -> int:
    """Makes the record; the exit code."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda *_: stopped.set())
    follow()
    with RunRecord.create(root, settings(method=method), request(), folds=4) as record:
        if record.status == "done":
            return 0
        with record.episode_log() as log:
            for number in range(len(record.rows()), EPISODES):
                if behaviour == "fails":
                    print("error: this can never be")
                    return 2
                if behaviour == "falls":
                    os.kill(os.getpid(), signal.SIGKILL)
                while behaviour == "waits" and number == 1 and not (root / GO).exists() and not stopped.wait(0.05):
                    pass
                if stopped.is_set():
                    print("stopped; the same command goes on")
                    return 143
                log.append(row(number, ((1,), (60, 10, 10, 20 + number))))
        record.update(status="done")
    return 0


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[0] == "-m":
        from fsseg_bench.sweeps.on_node import main as on_node

        sys.exit(on_node(words[2:], program=(sys.executable, __file__)))
    sys.exit(main(Path(words[1]), words[2], words[3]))
