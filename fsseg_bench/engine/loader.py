"""Batches of training episodes from loader processes, however little shared memory there is; never a silent wait."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info

from fsseg_bench.data.training import TrainingBatch, TrainingSample, TrainingStream, collate
from fsseg_bench.errors import LOADER_ADVICE, LaterError, UserError, last_words
from fsseg_bench.machine import stopping

_SHARED_MEMORY = Path("/dev/shm")
_AHEAD = 4  # batches a process
_SHARE = 0.75  # of what is free: other programs use it, too
_PATIENCE = 300.0  # seconds without a batch
_MIB = 2**20


def load_batches(
    episodes: TrainingStream,
    positions: Sequence[int],
    batch: int,
    workers: int,
    *,
    pinned: bool,
    say: Callable[[str], None],
) -> Iterator[TrainingBatch]:
    """The episodes at ``positions`` in order, ``batch`` at a time, by ``workers`` processes (0: by this one).

    Where shared memory is too small for what the processes load ahead, batches go through pipes, which takes a copy
    more; ``say`` is told. ``pinned`` batches are copied to a GPU faster.

    Raises:
        UserError: an image is missing or damaged.
        LaterError: processes cannot be started, have died, or gave no batch for five minutes. Says what to do.
    """
    if workers:
        _check_locks(workers)
    shared = bool(workers) and _is_roomy(episodes.sample_bytes * batch * (workers * _AHEAD + 2), workers, say)
    loader: DataLoader[TrainingBatch] = DataLoader(
        episodes,  # type: ignore[arg-type]  # collate turns samples into batches
        batch_size=batch,
        sampler=positions,
        num_workers=workers,
        collate_fn=_Collate(shared),
        pin_memory=pinned,
        prefetch_factor=_AHEAD if workers else None,
        timeout=_PATIENCE if workers else 0,
        worker_init_fn=partial(_leave_signals_to, os.getpid()),
    )
    try:
        with _signals_held():
            ready = iter(loader)
        for one in ready:
            yield TrainingBatch._make(torch.from_numpy(part) if isinstance(part, np.ndarray) else part for part in one)
    # without their tracebacks: these would keep the processes until the garbage collector ends them, seconds each
    except UserError as error:  # a worker process wraps the message in its traceback
        error.__traceback__ = None
        raise UserError(str(error).rpartition("UserError: ")[2].strip()) from None
    except OSError as error:  # too many processes, files or pipes
        if not workers:
            raise
        raise LaterError(
            f"the loader processes cannot work ({last_words(error)}): {LOADER_ADVICE}"
        ) from error.with_traceback(None)
    except RuntimeError as error:
        if not last_words(error).startswith("DataLoader"):
            raise
        raise LaterError(f"{last_words(error)}: {LOADER_ADVICE}") from error.with_traceback(None)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Processes started within it hold back the signals from their first moment, see :func:`_leave_signals_to`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stopping.SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave_signals_to(main: int, _worker: int) -> None:
    """Lets a loader process outlive what a terminal or a batch system sends to all processes: the main one decides.

    Torch ends loader processes by SIGTERM: that of ``main`` alone is obeyed, where the system says who sent it.
    """
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        threading.Thread(target=_end_when_told_by, args=(main,), daemon=True).start()
    else:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _end_when_told_by(main: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != main:
        pass
    os._exit(0)


def _check_locks(workers: int) -> None:
    """Whether shared memory has room for the locks of the processes' queues.

    Torch's own attempt would leave a traceback of its tidying up behind the message.
    """
    try:
        _ = [*(multiprocessing.Queue() for _ in range(workers + 1)), multiprocessing.Event()]
    except OSError as error:
        raise LaterError(
            f"{workers} loader processes cannot be started, shared memory has no room for their locks "
            f"({error.strerror or error}): {LOADER_ADVICE}"
        ) from error


def _is_roomy(needed: int, workers: int, say: Callable[[str], None]) -> bool:
    """Whether loader processes may put ``needed`` bytes into shared memory."""
    try:
        tempfile.gettempdir()  # its handles are passed on through sockets there
        free = shutil.disk_usage(_SHARED_MEMORY).free if sys.platform == "linux" else None
    except OSError:
        free = 0
    if free is None or needed <= free * _SHARE:
        return True
    say(
        f"{_SHARED_MEMORY} has {free / _MIB:,.4g} MiB free, and {workers} loader processes would fill "
        f"{needed / _MIB:,.4g} MiB: the batches go through pipes instead, which is slower (docker run --shm-size=2g "
        "gives more shared memory, --workers 0 needs none)"
    )
    return False


@dataclass(frozen=True)
class _Collate:
    """Samples as a batch whose tensors are in shared memory already or, where that is not to be had, arrays.

    Torch would share them in a thread behind the loading, where a failure is printed and the batch lost: the training
    would wait for it for ever.
    """

    shared: bool

    def __call__(self, samples: Sequence[TrainingSample]) -> TrainingBatch | tuple[Any, ...]:
        batch = collate(samples)
        if get_worker_info() is None or (self.shared and _share(batch)):
            return batch
        return tuple(part.numpy() if isinstance(part, Tensor) else part for part in batch)


def _share(batch: TrainingBatch) -> bool:
    """Moves the tensors into shared memory; false where it is full."""
    try:
        for part in batch:
            if isinstance(part, Tensor):
                part.share_memory_()
    except (RuntimeError, OSError):
        return False
    return True
