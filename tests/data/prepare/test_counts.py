"""Counts beside those of others."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from fsseg_bench.data.prepare.counts import count_lines
from fsseg_bench.data.prepare.sources import Dataset, Stated

NOTHING = Dataset("set", ("set",), None, (), {}, None)


def index(pairs: dict[str, int], least: int = 5) -> Any:
    """So many test images of each class; besides, one too small, and one to train on."""
    rows = [(number, 5, "test") for number, n in enumerate(pairs.values(), start=1) for _ in range(n)]
    rows += [(1, 4, "test"), (1, 9, "train")]
    frame = pd.DataFrame(rows, columns=["class", "pixels", "split"])
    protocol = SimpleNamespace(classes=tuple(pairs), data=SimpleNamespace(min_object_pixels=least))
    return SimpleNamespace(frame=frame, protocol=protocol)


def stated(*entries: Stated) -> Dataset:
    return dataclasses.replace(NOTHING, stated=entries)


def test_each_class_beside_what_others_state() -> None:
    dataset = stated(Stated("paper", (2000,)), Stated("its code", (1, 1200)))
    assert count_lines(dataset, index({"ant": 3, "bee": 1})) == [
        "images of a class      found    paper    its code",
        "ant                        3                    1",
        "bee                        1                1,200",
        "all                        4    2,000       1,201",
    ]


def test_nothing_is_said_of_the_known_data_sets() -> None:
    assert count_lines(NOTHING, index({"ant": 3})) == []
    assert count_lines(dataclasses.replace(NOTHING, make="rule"), index({"ant": 3}))[-1].split() == ["all", "3"]


@pytest.mark.parametrize("wrong", [0, 3, 12])
def test_of_many_classes_those_that_differ(wrong: int) -> None:
    pairs = {f"class{i}": 9 if i < wrong else 10 for i in range(50)}
    lines = count_lines(stated(Stated("paper", (500,)), Stated("code", (10,) * 50)), index(pairs))
    assert lines[0] == f"{500 - wrong} pairs (image, class) of 50 classes, {9 if wrong else 10} to 10 each"
    assert lines[1] == "paper: 500"
    named = ", ".join(f"class{i} 9 not 10" for i in range(min(wrong, 10))) + (", ..." if wrong > 10 else "")
    assert lines[2] == ("code: 500" if not wrong else f"code: 500; {wrong} classes differ: {named}")
