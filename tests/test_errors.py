from __future__ import annotations

import errno
from typing import Any

import numpy as np
import pytest
import torch

from fsseg_bench.errors import FullDiskError, LaterError, LockedError, UserError, explain, later, unknown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("method", "biop", ["panet", "biopt"]), "unknown method 'biop'. Did you mean 'biopt'? Known: biopt, panet."),
        (("fold", "seven", ["1", "2"]), "unknown fold 'seven'. Known: 1, 2."),
        (("key", "x", ["name"], "a.toml"), "a.toml: unknown key 'x'. Known: name."),
        (("run", "r", []), "unknown run 'r'. Known: none."),
        (("run", "b", iter("ba")), "unknown run 'b'. Did you mean 'b'? Known: a, b."),
    ],
)
def test_names_that_are_unknown(arguments: tuple[Any, ...], message: str) -> None:
    error = unknown(*arguments)
    assert isinstance(error, UserError)
    assert str(error) == message


def test_a_thousand_known_names_are_counted() -> None:
    text = str(unknown("class", "c12x", (f"c{i:04}" for i in range(1203)), "a.toml"))
    assert text.endswith("c0148, c0149, ... (1,203 in all).")
    assert "Known: c0000, c0001, " in text


def test_several_near_matches_are_offered_best_first() -> None:
    text = str(unknown("dataset", "coco20i", ["coco20i-a", "coco20i-b", "pascal5i"]))
    assert "Did you mean 'coco20i-b' or 'coco20i-a'?" in text or "Did you mean 'coco20i-a' or 'coco20i-b'?" in text


def test_a_user_error_is_no_other_error() -> None:
    """So that nothing that catches ValueError or OSError swallows it."""
    assert UserError.__bases__ == (Exception,)
    with pytest.raises(UserError, match="what, where"):
        raise UserError("what, where")


def test_what_torch_and_numpy_really_raise_without_memory() -> None:
    for allocate in (lambda: torch.empty(10**15), lambda: np.zeros(10**15)):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            allocate()
        assert "--cache-gib 0" in str(explain(caught.value))


def test_the_death_of_another_process_of_a_training_is_no_bug() -> None:
    """As gloo of PyTorch 2.14 words it."""
    text = "[/gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:3: Connection reset by peer"
    told = explain(RuntimeError(text))
    assert told is not None
    assert told.startswith("another process of the training ended (")
    assert told.endswith("the same command goes on from the last checkpoint")


@pytest.mark.parametrize(
    "error",
    [
        LaterError("the loader processes cannot work"),
        LockedError("another process is writing"),
        FullDiskError("the disk is full"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        MemoryError(),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: uncorrectable ECC error encountered\nCUDA kernel errors might be asynchronous"),
        RuntimeError("CUDA error: unspecified launch failure"),
        RuntimeError("[/gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:3: Connection reset by peer"),
        RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed."),
    ],
)
def test_what_may_succeed_later_without_a_change(error: Exception) -> None:
    assert later(error)
    assert explain(error)


@pytest.mark.parametrize(
    "error",
    [
        UserError("a wrong option"),
        OSError(errno.ENOENT, "No such file or directory"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: no kernel image is available for execution on the device"),
        RuntimeError("The NVIDIA driver on your system is too old"),
        KeyError("x"),
        KeyboardInterrupt(),
    ],
)
def test_what_would_fail_again(error: BaseException) -> None:
    assert not later(error)
