"""The comparison of heads with their specifications: it runs, at toy size, and finds a head that is another one."""

from __future__ import annotations

import pytest
import torch

from benchmarks import heads, naive_hsnet, naive_pfenet


@pytest.mark.parametrize("training", [False, True])
def test_both_ways_give_the_same_and_are_timed(training: bool, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    heads.measure(naive_pfenet.ways(71, 2, 2, width=8, deep=16), 1, training=training)
    heads.measure(naive_hsnet.ways(64, 1), 1, training=training)
    told = capsys.readouterr().out
    assert told.count("step by step") == told.count("the method's") == 2
    assert told.count("by minima") == 4


def test_another_result_is_no_comparison() -> None:
    ways = naive_pfenet.ways(71, 1, 2, width=8, deep=16)
    read = naive_pfenet.features(71, 1, 2, width=8, deep=16)
    pyramid = ways["the method's"].args[0]  # type: ignore[attr-defined]
    ways["the method's"] = lambda: naive_pfenet.own(pyramid, read)  # of other features
    with pytest.raises(AssertionError):
        heads.measure(ways, 1, training=False)
