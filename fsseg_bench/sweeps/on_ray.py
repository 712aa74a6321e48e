"""The cells of a sweep as tasks of Ray.

Ray is spoken to by a process of its own, :mod:`fsseg_bench.sweeps.ray_driver`: Ray takes over the signals of the
process that it is used in, writes to its terminal, and may wait for ever for a cluster that is not there.
"""

from __future__ import annotations

import json
import math
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

from fsseg_bench.errors import LaterError, UserError
from fsseg_bench.machine.stopping import check
from fsseg_bench.paths import one_line
from fsseg_bench.schema import Must, Range, parse
from fsseg_bench.storage.files import make_folder, writing
from fsseg_bench.sweeps.engine import Ended
from fsseg_bench.sweeps.plan import Cell, Plan
from fsseg_bench.sweeps.slurm_script import threads

OUTPUT: Final = "ray.txt"
"""What Ray prints, in the folder of the sweep."""
_START: Final = 180.0
"""Seconds in which Ray answers."""
_BEAT: Final = 0.5
"""Seconds in which a signal that was noted is heard of."""
_END: Final = 75.0
"""Seconds in which all cells are stopped and Ray is left."""


@dataclass(frozen=True)
class Options:
    """``[ray]`` of a sweep's file."""

    address: Annotated[str, Must("one line", one_line)] = "auto"
    """``HOST:PORT`` of a cluster, ``auto`` for the one that this machine belongs to, ``local`` for one of this machine
    alone that ends with the sweep."""
    at_once: Annotated[int, Range(least=1)] | None = None
    """Cells that Ray has at the same time, also those that wait for a node; None: as many as there is room for."""
    num_cpus: Annotated[float, Range(least=0)] | None = None
    """Of a cell; None: its threads and workers."""
    num_gpus: Annotated[float, Range(least=0)] | None = None
    """Of a cell; 0.5: two share one. None: as ``[cell]`` says, else one where the cluster has any."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """Of a cell, as the cluster's nodes were started with."""


def read_options(table: Mapping[str, Any]) -> Options:
    """Checks ``[ray]``.

    Raises:
        UserError: an unknown key, or a value that does not fit.
    """
    return parse(Options, table, "[ray]")


class RayEngine:
    """Makes cells on the nodes of a Ray cluster; see :class:`fsseg_bench.sweeps.engine.Engine`."""

    name = "ray"

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        *,
        tell: Callable[[str], None] = lambda _: None,
        program: Sequence[str] | None = None,
    ) -> None:
        """Nothing is started yet.

        Args:
            folder: of the sweep; all nodes must see it under the same name.
            plan: of the sweep.
            tell: is told what Ray has no room for, and of nodes that died.
            program: what gets the words of a cell's command; None for fsseg-bench of the node.

        Raises:
            UserError: ``[ray]`` is wrong.
        """
        self._folder, self._options, self._tell = folder.resolve(), read_options(plan.ray), tell
        self._program = program
        self._needs = _needs(plan, self._options)
        self._messages: queue.Queue[dict[str, Any]] = queue.Queue()
        self._at_work: dict[str, Cell] = {}
        self._ended: list[Ended] = []
        self._room = 0
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> RayEngine:
        """Joins the cluster.

        Raises:
            UserError: Ray is not installed, or there is no such cluster, or it does not answer; says which.
            Stopped: the process has been told to end.
        """
        output = make_folder(self._folder) / OUTPUT
        given = {
            "folder": str(self._folder),
            "address": self._options.address,
            "resources": dict(self._options.resources),
            "program": self._program,
            **self._needs,
        }
        variables = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **_variables(self._options.address)}
        with writing(output), output.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "fsseg_bench.sweeps.ray_driver", json.dumps(given)],
                env={**os.environ, **variables},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                process_group=0,  # a terminal sends Ctrl-C to all of a group: this process decides who stops
            )
        self._listener = threading.Thread(target=self._listen, args=(self._process,), daemon=True)
        self._listener.start()
        try:
            self._wait_for_room(output)
        except BaseException:
            self._kill()
            self._process = None
            raise
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        try:
            with suppress(OSError):
                process.stdin.close()  # the cells write their checkpoints
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END)
        finally:
            self._kill()
            self._process = None
            self._listener.join(_START)
            with suppress(UserError):
                self._take(0)

    def has_room(self) -> bool:
        """Whether another cell may be begun now."""
        return len(self._at_work) < (self._options.at_once or max(self._room, 1))

    def begin(self, cell: Cell) -> str:
        """Begins an attempt at a cell.

        Raises:
            LaterError: the connection to Ray is lost.
        """
        self._at_work[cell.label] = cell
        try:
            self._send(cell.label)
        except OSError:
            raise self._lost() from None
        return "Ray"

    def ended(self, seconds: float) -> list[Ended]:
        """Waits until attempts end, at most so many seconds; those that did.

        Raises:
            UserError: a node does not see the folder of the sweep, or has another fsseg-bench.
            LaterError: the connection to Ray is lost.
        """
        end = time.monotonic() + seconds
        while not self._ended and (left := end - time.monotonic()) > 0:
            self._take(left)
        self._take(0)
        found, self._ended = self._ended, []
        return found

    def _wait_for_room(self, output: Path) -> None:
        end = time.monotonic() + _START
        while not self._room:
            self._take(_BEAT)
            check()
            if time.monotonic() > end:
                raise UserError(
                    f"Ray at {self._options.address!r} does not answer for {_START:g} seconds ({output} says more); "
                    '[ray] address = "HOST:PORT" names a cluster, as it must one on 127.0.0.1, and "local" makes one'
                )

    def _take(self, seconds: float) -> None:
        """Takes the messages that are there; waits for the first."""
        while True:
            try:
                message = self._messages.get(timeout=seconds) if seconds > 0 else self._messages.get_nowait()
            except queue.Empty:
                return
            self._heed(message)
            seconds = 0

    def _heed(self, message: Mapping[str, Any]) -> None:
        if "room" in message:
            self._room = max(message["room"], 1)
        if "say" in message:
            self._tell(message["say"])
        if "ended" in message:
            self._ended.append(Ended(self._at_work.pop(message["ended"]), message["code"]))
        if "wrong" in message:
            raise UserError(message["wrong"])
        if "bug" in message:
            raise RuntimeError(message["bug"])
        if "over" in message and self._process is not None:
            raise self._lost()

    def _lost(self) -> LaterError:
        return LaterError(
            f"the connection to Ray is lost ({self._folder / OUTPUT} says more); the same command goes on"
        )

    def _send(self, label: str) -> None:
        if self._process is None or self._process.stdin is None:
            raise BrokenPipeError
        self._process.stdin.write(f"{label}\n")
        self._process.stdin.flush()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with suppress(ValueError):
                self._messages.put(json.loads(line))
        self._messages.put({"over": True})

    def _kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _needs(plan: Plan, options: Options) -> dict[str, float | None]:
    """Of one cell."""
    needs, cpus = plan.needs, options.num_cpus
    gpus = needs.gpus if options.num_gpus is None else options.num_gpus
    if gpus is None and all(cell.device == "cpu" for cell in plan.cells):
        gpus = 0
    return {
        "cores": threads(needs, plan.cells) + (needs.workers or 0) if cpus is None else cpus,
        "GPUs": gpus,
        "memory": None if needs.memory_gib is None else math.ceil(needs.memory_gib * 2**30),
    }


def _variables(address: str) -> dict[str, str]:
    """What Ray reads from the environment before it is imported."""
    found = {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1"}
    if address == "local" or address.startswith(("127.", "localhost:")):
        # otherwise Ray takes the machine's outer address instead, where nobody listens, and waits for ever
        found["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    return found
