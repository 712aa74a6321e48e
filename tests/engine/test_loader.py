"""Batches from loader processes: the same with any room for them, and an end with advice where there is none."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fsseg_bench.data.training import TrainingBatch, TrainingSample
from fsseg_bench.engine import loader
from fsseg_bench.engine.loader import load_batches
from fsseg_bench.errors import UserError, explain

SIDE = 100


class Numbered(torch.utils.data.Dataset[TrainingSample]):
    """Episodes whose pixels are their numbers."""

    sample_bytes = 2 * 4 * SIDE**2

    def __getitem__(self, index: int) -> TrainingSample:
        pixels = torch.full((1, 1, 3, SIDE, SIDE), index, dtype=torch.uint8)
        return TrainingSample(
            pixels, pixels[:, :, 0].clone(), pixels[0, 0].clone(), pixels[0, 0, 0].clone(), index, str(index)
        )


class Failing(Numbered):
    """Does something else at one episode."""

    def __init__(self, what: Any) -> None:
        self.what = what

    def __getitem__(self, index: int) -> TrainingSample:
        if index == 4:
            self.what()
        return super().__getitem__(index)


def load(episodes: Any = None, workers: int = 2, said: list[str] | None = None) -> Iterator[TrainingBatch]:
    say = [].append if said is None else said.append
    return load_batches(episodes or Numbered(), range(10), 2, workers, pinned=False, say=say)


def check(batches: Iterator[TrainingBatch]) -> None:
    seeds = []
    for batch in batches:
        seeds += batch.seeds
        assert batch.support_images.shape == (2, 1, 1, 3, SIDE, SIDE)
        for tensor in (batch.support_images, batch.support_masks, batch.query_image, batch.query_label):
            assert tensor.dtype == torch.uint8
            assert tensor.flatten(1)[:, 0].tolist() == tensor.flatten(1)[:, -1].tolist() == list(batch.seeds)
        assert batch.support_classes is batch.unlabelled is None
    assert seeds == list(range(10))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_order(workers: int) -> None:
    said: list[str] = []
    check(load(workers=workers, said=said))
    assert said == []


def test_small_shared_memory_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader.shutil, "disk_usage", lambda path: SimpleNamespace(free=2**20))
    monkeypatch.setattr(torch.Tensor, "share_memory_", lambda tensor: pytest.fail("shared"))
    said: list[str] = []
    check(load(said=said))
    (text,) = said
    assert text.startswith(
        "/dev/shm has 1 MiB free, and 2 loader processes would fill 1.526 MiB: the batches go through"
    )
    assert "--workers 0" in text
    assert "--shm-size" in text


def test_shared_memory_that_others_fill_meanwhile_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensor: torch.Tensor) -> None:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    check(load())


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "told"),
    [
        (lambda: time.sleep(2.5), "DataLoader timed out after 1"),
        (lambda: os.kill(os.getpid(), signal.SIGBUS), "DataLoader worker"),
        (lambda: os._exit(1), "DataLoader worker"),
        (lambda: _raise(OSError(24, "Too many open files")), "the loader processes cannot work ([Errno 24] Too many"),
    ],
    ids=["silent", "bus error", "gone", "no files left"],
)
def test_a_process_that_fails_ends_in_a_message(what: Any, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "_PATIENCE", 1.0)
    with pytest.raises((UserError, RuntimeError)) as caught:
        list(load(Failing(what)))
    message = explain(caught.value)  # of a death torch speaks wherever the process is at the time
    assert message is not None
    assert message.startswith(told)
    assert "Traceback" not in message
    assert "--workers 0" in message
    assert "--shm-size" in message


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_the_message_of_its_reader(workers: int) -> None:
    with pytest.raises(UserError, match=r"^a\.jpg: broken$"):
        list(load(Failing(lambda: _raise(UserError("a.jpg: broken"))), workers))


_SMALL = """
import sys
from tests.engine.test_loader import check, load
try:
    check(load(said=(said := [])))
    print("done", *said)
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "told"),
    [("8k", "LaterError 2 loader processes cannot"), ("256k", "done /dev/shm has 0.25 MiB"), ("64m", "done")],
)
def test_a_small_shared_memory(size: str, told: str) -> None:
    """As in a container, whose /dev/shm has 64 MiB unless more is asked for."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs the rights of root to mount a file system of its own")
    commands = f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$0" -c "$1"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", commands, sys.executable, _SMALL],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.startswith(told), done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="the system does not say who sent a signal")
def test_signals_to_all_processes_leave_the_loaders_at_work() -> None:
    """As of a terminal or a batch system: the main process ends its step, and needs its batch."""
    before = {*multiprocessing.active_children()}
    batches = load(workers=2)
    first = next(batches)
    workers = [child for child in multiprocessing.active_children() if child not in before]
    assert len(workers) == 2
    for worker in workers:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            # by another process: this one's SIGTERM ends them, as torch ends them
            subprocess.run(["kill", f"-{int(number)}", str(worker.pid)], check=True)
    assert [seed for batch in (first, *batches) for seed in batch.seeds] == list(range(10))
    assert not any(worker.is_alive() for worker in workers)


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="the system does not say who sent a signal")
def test_the_main_process_can_end_its_loaders() -> None:
    before = {*multiprocessing.active_children()}
    batches = load(workers=1)
    next(batches)
    (worker,) = (child for child in multiprocessing.active_children() if child not in before)
    worker.terminate()
    worker.join(600)
    assert worker.exitcode == 0
