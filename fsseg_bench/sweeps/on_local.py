"""Cells on this machine: as many at a time as there are slots, each in a process of its own."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fsseg_bench.errors import UserError
from fsseg_bench.machine.limits import free_memory, usable_cores
from fsseg_bench.machine.share import Share
from fsseg_bench.sweeps.attempt import PROGRAM, attempt, module_path
from fsseg_bench.sweeps.engine import Ended, Engine
from fsseg_bench.sweeps.plan import Cell, Plan

_GIB: Final = 2**30


@dataclass(frozen=True)
class Slot:
    """Where one cell at a time is made."""

    environment: Mapping[str, str]
    """What that of the cell has beside this process's."""
    gpu: str | None = None
    """Which GPU that is, as ``0``."""


@dataclass(frozen=True)
class Gpu:
    """A GPU that this process may use."""

    environment: Mapping[str, str]
    """What that of a process has so that it sees this GPU and no other."""
    number: str
    """As the environment has it."""
    memory: int
    """Bytes."""


class LocalEngine(Engine):
    """A thread follows each cell; the processes end with this one, however it ends."""

    name = "local"

    def __init__(self, folder: Path, plan: Plan, slots: Sequence[Slot], *, program: Sequence[str] = PROGRAM) -> None:
        """``program`` gets the words of a cell's command."""
        self._folder, self._plan, self._program = folder, plan, program
        self._free = deque(slots)
        self._threads: dict[str, tuple[threading.Thread, Slot]] = {}
        # no SimpleQueue: where a signal comes when the time of its get() is just up, that waits for ever
        self._news: queue.Queue[tuple[Ended, Exception | None]] = queue.Queue()
        self._stop, self._kill = threading.Event(), threading.Event()

    def has_room(self) -> bool:
        """Whether a slot is free."""
        return bool(self._free)

    def begin(self, cell: Cell) -> str:
        """Begins an attempt in the slot that has been free for longest; the GPU."""
        slot = self._free.popleft()
        thread = threading.Thread(target=self._attempt, args=(cell, slot), name=cell.label)
        self._threads[cell.label] = (thread, slot)
        thread.start()
        return f"GPU {slot.gpu}" if slot.gpu else ""

    def _attempt(self, cell: Cell, slot: Slot) -> None:
        code, failure = None, None
        try:
            code = attempt(
                self._folder,
                self._plan,
                cell,
                engine=self.name,
                stop=self._stop,
                kill=self._kill,
                environment=slot.environment,
                gpu=slot.gpu,
                program=self._program,
            )
        except Exception as error:  # noqa: BLE001 - it is raised where somebody hears it
            failure = error
        self._news.put((Ended(cell, code), failure))

    def ended(self, seconds: float) -> list[Ended]:
        """As :meth:`fsseg_bench.sweeps.engine.Engine.ended`.

        Raises:
            UserError: a cell's folder in the sweep cannot be written.
        """
        found = []
        try:
            news = self._news.get(timeout=seconds) if seconds > 0 else self._news.get_nowait()
            while True:
                found.append(self._over(*news))
                news = self._news.get_nowait()
        except queue.Empty:
            return found

    def _over(self, ended: Ended, failure: Exception | None) -> Ended:
        thread, slot = self._threads.pop(ended.cell.label)
        thread.join()
        self._free.append(slot)
        if failure is not None:
            raise failure
        return ended

    def __exit__(self, *_: object) -> None:
        """Stops the cells that are at work, and waits for their checkpoints; an interrupt meanwhile kills them."""
        self._stop.set()
        try:
            self._join()
        except BaseException:
            self._kill.set()
            self._join()
            raise

    def _join(self) -> None:
        for thread, _ in list(self._threads.values()):
            thread.join()


def local_slots(plan: Plan, gpus: Sequence[Gpu], jobs: int | None = None) -> list[Slot]:
    """Where the cells of a plan are made on this machine.

    Args:
        plan: says what a cell needs.
        gpus: of this machine, for the cells.
        jobs: how many at a time; None: as many as the GPUs or the cores, and the memory, have room for.

    Raises:
        UserError: a cell needs a GPU, or more of its memory than there is.
    """
    needs = plan.needs
    if not gpus and (needs.gpus or any(cell.device.startswith("cuda") for cell in plan.cells)):
        raise UserError("the cells compute on a GPU, and PyTorch sees none here; [cell] gpus = 0 computes on the CPU")
    if needs.gpus == 0:
        gpus = ()
    beside = [_beside(gpu, needs.gpu_memory_gib) for gpu in gpus]
    # the first cells go to different GPUs
    rounds = range(max(beside, default=0))
    places = [
        Slot(gpu.environment, gpu.number) for n in rounds for gpu, most in zip(gpus, beside, strict=True) if n < most
    ]
    hidden = Slot({"CUDA_VISIBLE_DEVICES": ""}) if needs.gpus == 0 else Slot({})
    threads = max((cell.threads for cell in plan.cells), default=1)
    most = len(places) or max(usable_cores() // threads, 1)
    if needs.memory_gib:
        most = max(min(most, int(free_memory() / (needs.memory_gib * _GIB))), 1)
    count = most if jobs is None else jobs
    share = Share(count, -(-count // max(len({place.gpu for place in places}), 1)))
    slots = [places[number % len(places)] if places else hidden for number in range(count)]
    return [replace(slot, environment={**slot.environment, **share.environment}) for slot in slots]


def gpus_here(plan: Plan) -> list[Gpu]:
    """The GPUs of this machine, if any cell of the plan may use one.

    Raises:
        UserError: PyTorch cannot be asked.
    """
    if plan.needs.gpus == 0 or all(cell.device == "cpu" for cell in plan.cells):
        return []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(module_path())}
    command = [sys.executable, "-P", "-m", "fsseg_bench.engine.gpus"]
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        words = [line for line in done.stderr.splitlines() if line.strip()]
        raise UserError(f"PyTorch cannot be asked for GPUs here: {words[-1] if words else 'it ended without a word'}")
    return [
        Gpu(found["environment"], next(iter(found["environment"].values())), found["memory"])
        for found in json.loads(done.stdout)
    ]


def slots_words(slots: Sequence[Slot]) -> str:
    """How many cells are made at a time, and where."""
    gpus = {slot.gpu for slot in slots if slot.gpu is not None}
    where = f" on {len(gpus)} GPU{'s' * (len(gpus) > 1)}" if gpus else " on the CPU"
    return f"{len(slots)} at a time{where}"


def _beside(gpu: Gpu, gib: float | None) -> int:
    """How many cells share a GPU."""
    if gib is None:
        return 1
    if gib * _GIB > gpu.memory:
        raise UserError(
            f"[cell] gpu_memory_gib = {gib:g}: GPU {gpu.number} has {gpu.memory / _GIB:.1f} GiB; a cell would not fit"
        )
    return int(gpu.memory / (gib * _GIB))
