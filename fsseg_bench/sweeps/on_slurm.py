"""The cells of a sweep as jobs of Slurm, which is asked for one thing only: whether a cell is in its queue.

What became of a cell, its record says. So nothing here depends on ``sacct``, which many clusters do not have.
"""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fsseg_bench.errors import LaterError, LockedError, UserError
from fsseg_bench.storage.files import make_folder, write_atomic
from fsseg_bench.storage.lock import FolderLock
from fsseg_bench.sweeps.attempt import module_path
from fsseg_bench.sweeps.attempts import now
from fsseg_bench.sweeps.plan import Cell, Plan
from fsseg_bench.sweeps.slurm_script import OUTPUTS, WHERE, Batch, read_options, resources, script
from fsseg_bench.sweeps.states import CellState, states_of
from fsseg_bench.sweeps.submissions import Submission, note, read_submissions

_ANSWER: Final = 20.0
"""Seconds in which Slurm answers a question."""
_TAKE: Final = 120.0
"""Seconds in which Slurm takes a job, or another process submits its cells."""
_EACH: Final = 10.0
"""Seconds from one look at the queue to the next."""


@dataclass(frozen=True)
class InQueue:
    """A cell in Slurm's queue."""

    job: str
    """``12_3``, for ``scancel`` and ``scontrol``."""
    state: str
    """In Slurm's words."""
    reason: str
    """Why it does not run; ``None`` where it does."""

    def __str__(self) -> str:
        reason = "" if self.reason in {"", "None"} else f", {self.reason}"
        return f"queued: job {self.job} ({self.state}{reason})"


def queued(folder: Path) -> dict[str, str]:
    """The cells of the sweep in ``folder`` that are in Slurm's queue: ``queued: job 12_3 (PENDING, Priority)``.

    Slurm is not asked where nothing was submitted.

    Raises:
        UserError: Slurm cannot be asked, or does not answer; says which.
    """
    return {label: str(one) for label, one in _queue(read_submissions(folder)).items()}


def submit(
    folder: Path,
    plan: Plan,
    cells: Sequence[Cell],
    *,
    say: Callable[[str], None] = print,
    python: str = sys.executable,
) -> list[Submission]:
    """Gives cells to Slurm that are not done, not at work and not in its queue: one array, or as few as there can be.

    Args:
        folder: of the sweep.
        plan: of the sweep.
        cells: that are to be made, also those that failed before.
        say: is told what is done.
        python: the interpreter on the nodes.

    Raises:
        UserError: ``[slurm]`` is wrong, or Slurm is not there, does not answer or refuses; with its words. What was
            submitted before that stays, and the same command again does not submit it twice.
    """
    options = read_options(plan.slurm)
    asked = resources(plan.needs, cells, options)
    _command("sbatch")
    with _alone(folder, say):
        queue = _queue(read_submissions(folder))
        states = {state.cell.label: state for state in states_of(folder, plan)}
        wanted = _wanted(cells, states, queue, say)
        if not wanted:
            return []
        name = re.sub(r"[^\w.-]", "-", plan.name, flags=re.ASCII)
        batch = Batch(name, folder.resolve(), (), now(), python, asked, options, tuple(module_path()))
        return _submit(batch, _levels(wanted, plan), queue, plan, say)


def wait(
    folder: Path,
    plan: Plan,
    *,
    say: Callable[[str], None] = print,
    seconds: float = _EACH,
    stop: threading.Event | None = None,
) -> list[CellState]:
    """Waits until no cell of the sweep is in Slurm's queue; tells what becomes of the cells, by their records.

    Ctrl-C, or ``stop``, ends the waiting: the jobs go on.

    Args:
        folder: of the sweep.
        plan: of the sweep.
        say: is told the news.
        seconds: from one look to the next.
        stop: ends the waiting when it is set.

    Raises:
        UserError: Slurm cannot be asked any more.
        KeyboardInterrupt: as it came.
    """
    stop = stop or threading.Event()
    known: dict[str, str] = {}
    silent = 0
    try:
        while True:
            try:
                queue = _queue(read_submissions(folder))
                silent = 0
            except SilentError as error:
                silent += 1
                if silent == 1:
                    say(f"{error}; it is asked again")
                stop.wait(seconds)
                if stop.is_set():
                    raise
                continue
            states = states_of(folder, plan)  # after the queue: whoever has left it has written
            known = _tell_news(states, known, queue, say)
            if not queue or stop.wait(seconds):
                break
    except KeyboardInterrupt:
        say(_how_to_cancel(folder))
        raise
    if queue:
        say(_how_to_cancel(folder))
    return states


class SilentError(LaterError):
    """Slurm did not answer: it may later."""


def _tell_news(
    states: Sequence[CellState], known: Mapping[str, str], queue: Mapping[str, InQueue], say: Callable[[str], None]
) -> dict[str, str]:
    """What is different from what was ``known``, which is new then."""
    now: dict[str, str] = {}
    for state in states:
        label = state.cell.label
        place = queue.get(label) if state.state in {"waiting", "stopped"} else None
        now[label] = "queued" if place else state.state
        if known.get(label) == now[label] or (not known and now[label] in {"done", "waiting"}):
            continue
        if place:
            say(f"{label}: {place}")
        elif state.holder is not None:
            say(f"{label}: running ({state.holder.words})")
        else:
            say(": ".join(filter(None, (label, state.state, state.reason))))
    return now


def _how_to_cancel(folder: Path) -> str:
    try:
        queue = _queue(read_submissions(folder))
    except UserError as error:  # whoever stops waiting is not to be told of that alone
        return f"the jobs go on without this command; {error}"
    jobs = " ".join(sorted({one.job.partition("_")[0] for one in queue.values()}, key=int))
    return f"the jobs go on without this command; scancel {jobs} cancels them" if jobs else "no job is left"


# --- what is to be submitted


def _wanted(
    cells: Sequence[Cell], states: Mapping[str, CellState], queue: Mapping[str, InQueue], say: Callable[[str], None]
) -> list[Cell]:
    """Those of the cells that nobody makes or will make, and that do not wait for one that will never be done."""
    wanted: dict[str, Cell] = {}
    hopeless: list[Cell] = []
    held = 0
    for cell in _trainings_first(cells):
        state = states[cell.label].state
        if state == "done" or cell.label in queue:
            continue
        if state == "running":
            held += 1
        elif cell.waits_for is not None and not (
            states[cell.waits_for].state in {"done", "running"} or cell.waits_for in queue or cell.waits_for in wanted
        ):
            hopeless.append(cell)
        else:
            wanted[cell.label] = cell
    if queue:
        say(f"{len(queue)} cells are in Slurm's queue")
    if held:
        say(f"{held} cells are being made elsewhere")
    if hopeless:
        first = hopeless[0]
        say(
            f"{len(hopeless)} cells are not submitted, since what they wait for is not: {first.label} waits for "
            f"{first.waits_for} ({states[first.waits_for or ''].state})"
        )
    return [cell for cell in cells if cell.label in wanted]


def _trainings_first(cells: Sequence[Cell]) -> list[Cell]:
    by_label = {cell.label: cell for cell in cells}
    return sorted(cells, key=lambda cell: _depth(cell, by_label))


def _depth(cell: Cell, among: Mapping[str, Cell]) -> int:
    """How many cells must be done before it, one after another."""
    depth = 0
    while cell.waits_for is not None and cell.waits_for in among:
        cell = among[cell.waits_for]
        depth += 1
    return depth


def _levels(cells: Sequence[Cell], plan: Plan) -> list[list[Cell]]:
    """The cells in groups, each of which waits for those before it; one that waits for what is not among the cells, but
    may be in the queue, is not in the first."""
    depths = {cell.label: _depth(cell, plan.by_label) for cell in cells}
    return [[cell for cell in cells if depths[cell.label] == depth] for depth in sorted(set(depths.values()))]


# --- giving it to Slurm


@contextmanager
def _alone(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Only one process submits cells of a sweep at a time; the next one sees what it did."""
    outputs, end, told = make_folder(folder / OUTPUTS), time.monotonic() + _TAKE, False
    while True:
        try:
            lock = FolderLock(outputs, "submitting cells of this sweep to Slurm", "give the same command again later")
            break
        except LockedError as error:
            if time.monotonic() > end:
                raise
            if not told:
                say(f"{error}: waiting for it")
                told = True
            time.sleep(0.2)
    with lock:
        yield


def _submit(
    batch: Batch,
    levels: Sequence[Sequence[Cell]],
    queue: Mapping[str, InQueue],
    plan: Plan,
    say: Callable[[str], None],
) -> list[Submission]:
    size = _largest_array()
    jobs = {label: one.job for label, one in queue.items()}
    made: list[Submission] = []
    for level in levels:
        before: str | None = None
        for begin in range(0, len(level), size):
            chunk = level[begin : begin + size]
            first = {jobs[cell.waits_for] for cell in chunk if cell.waits_for in jobs}
            # at_once is a limit of each array: of several, one comes after the other
            first |= {before} if before and batch.options.at_once else set()
            try:
                made.append(_sbatch(replace(batch, labels=tuple(cell.label for cell in chunk)), sorted(first)))
            except UserError as error:
                if made:
                    raise type(error)(f"{error}; submitted before that: {_shown(made)}") from None
                raise
            before = made[-1].job
            jobs |= {cell.label: before for cell in chunk if before}
            after = f", after {', '.join(sorted(first))}" if first else ""
            say(f"submitted {len(chunk)} cells as job {before}{after}")
    return made


def _shown(made: Sequence[Submission]) -> str:
    return ", ".join(f"job {one.job}" for one in made)


def _sbatch(batch: Batch, first: Sequence[str]) -> Submission:
    folder = batch.folder
    batch = replace(batch, name=f"{batch.name}-{secrets.token_hex(4)}")
    path = folder / OUTPUTS / f"{batch.name}.sh"
    write_atomic(path, script(batch))
    submission = Submission(batch.name, batch.labels, batch.since)
    note(folder, submission)  # before the job is there: whoever is killed in between finds it by its name
    dependency = [f"--dependency=afterany:{':'.join(first)}"] if first else []
    done = _ask(["sbatch", "--parsable", *dependency, str(path)], _TAKE)
    if done.returncode:
        raise UserError(f"Slurm refuses the cells: {_sentence(done.stderr)} ({WHERE} and [cell] of the sweep's file)")
    submission = replace(submission, job=done.stdout.strip().partition(";")[0])
    note(folder, submission)
    return submission


def _sentence(errors: str) -> str:
    """What Slurm says, without the names of its programs."""
    lines = [re.sub(r"^\w+: (error: )?", "", line).strip() for line in errors.splitlines()]
    return "; ".join(line for line in lines if line) or "without a word"


def _largest_array() -> int:
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _answer(["scontrol", "show", "config"]), re.MULTILINE)
    size = int(found[1]) if found else 1001  # Slurm's own
    if size < 1:
        raise UserError("this Slurm makes no job arrays (MaxArraySize is 0), and a sweep needs them")
    return size


# --- asking Slurm


def _queue(submissions: Sequence[Submission]) -> dict[str, InQueue]:
    """The cells in the queue. Jobs are told by their names, which are used once; ``squeue -j`` knows no old numbers."""
    if not submissions:
        return {}
    by_name = {one.name: one for one in submissions}
    asked = ["squeue", "--noheader", "--array", f"--name={','.join(by_name)}", "--format=%i|%T|%r|%j"]
    found: dict[str, InQueue] = {}
    for line in _answer(asked).splitlines():
        job, state, reason, name = line.split("|", 3)
        index = job.partition("_")[2]
        if (submission := by_name.get(name)) and index.isdecimal() and int(index) < len(submission.labels):
            found[submission.labels[int(index)]] = InQueue(job, state, reason)
    return found


def _answer(command: Sequence[str]) -> str:
    done = _ask(command, _ANSWER)
    if done.returncode:
        raise SilentError(f"Slurm cannot be asked ({command[0]}: {_sentence(done.stderr)})")
    return done.stdout


def _ask(command: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [_command(command[0]), *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SilentError(f"Slurm does not answer: {command[0]} was silent for {seconds:g} seconds") from None
    except OSError as error:
        raise UserError(f"{command[0]} cannot be run: {error.strerror or error}") from error


def _command(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise UserError(f"there is no Slurm on this machine: {name} is not found; submit on a node of the cluster")
    return found
