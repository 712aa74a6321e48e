"""Memory that is kept between the steps of a run."""

from __future__ import annotations

import sys

import pytest

from fsseg_bench.engine import memory
from tests.support.fresh import python

_FAULTS = """
import resource, sys
import torch
from fsseg_bench.engine.memory import give_back, keep_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        torch.ones(2**24).add_(torch.ones(2**24))  # 64 MiB each: mapped anew each time unless kept
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
plain = faults()
kept = keep_memory()
faults()
once = faults()
give_back()
print(kept, plain, once, faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="page faults of glibc's blocks")
def test_freed_blocks_come_back_without_new_pages() -> None:
    kept, *counts = python(_FAULTS).split()
    plain, once, after = map(int, counts)
    if kept == "False":
        pytest.skip("this C library is not glibc")
    assert plain > 100 * max(once, 1)
    assert after > 100 * max(once, 1)  # what was given back is cleared again


def test_other_systems_keep_their_habits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert memory.keep_memory.__wrapped__() is False
    memory.give_back()
