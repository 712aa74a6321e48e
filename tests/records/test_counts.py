import json
from pathlib import Path

import numpy as np
import pytest

from fsseg_bench.records.counts import parse_boundary, parse_counts, parse_void, row_inspector
from fsseg_bench.records.info import RecordError

LINE = '{"episode":0,"classes":[2],"input":[60,10,0,20],"native":[7,0,10,99]}'


def parsed(line: str) -> list[list[int]]:
    return [part.ravel().tolist() for part in parse_counts(f"{line}\n".encode(), 1, {1, 2}, Path("log"))[:3]]


@pytest.mark.parametrize(
    "line",
    [
        LINE,
        LINE.replace(":", ": "),  # not as the engine writes it, and the same
        LINE.replace("}", ',"diagnostics":{"x":[1,2]},"check":"0123456789abcdef"}'),
        '{"native":[7,0,10,99],"classes":[2],"input":[60,10,0,20],"episode":0}',
    ],
)
def test_numbers_are_read_whatever_the_layout(line: str) -> None:
    assert parsed(line) == [[2], [60, 10, 0, 20], [7, 0, 10, 99]]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("60", "060"),
        ("60", "-60"),
        ("60", "6.0"),
        ("60", "6e1"),
        ("60", "1000000000000000"),
        ("60", '"60"'),
        ("60,", ""),
        ("60,", "60 "),
        ("60,", "60,,"),
        ('"input":[60,', '"inp60ut":['),  # as many digits as there should be, in the wrong place
        ("[2]", "[]"),
        ("[2]", "[2,1]"),
        ("[2]", "[3]"),
        ('"episode":0', '"episode":1'),
        ("}", ""),
        ("}", "}}"),
    ],
)
def test_whatever_is_not_such_a_line_is_refused(old: str, new: str) -> None:
    assert old in LINE
    with pytest.raises(RecordError, match="log"):
        parsed(LINE.replace(old, new, 1))


def test_several_ways_and_an_empty_log() -> None:
    row = {"episode": 0, "classes": [3, 1], "input": list(range(9)), "native": list(range(9, 18))}
    data = (json.dumps(row, separators=(",", ":")) + "\n").encode()
    found = parse_counts(data, 2, {1, 3}, Path("log"))
    assert (found.classes.tolist(), found.input.shape) == ([[3, 1]], (1, 3, 3))
    assert np.array_equal(found.native.ravel(), np.arange(9, 18))
    assert len(parse_counts(b"", 1, {1}, Path("log")).classes) == 0


VOID = LINE.replace("}", ',"input_void":[3,4],"native_void":[0,5],"diagnostics":{"x":1}}')


def test_counts_of_void_pixels_are_read_where_there_are_any() -> None:
    found = parse_void(f"{VOID}\n".encode(), 1, Path("log"))
    assert found is not None
    assert (found.input.tolist(), found.native.tolist()) == ([[3, 4]], [[0, 5]])
    assert parsed(VOID) == parsed(LINE)
    assert parse_void(f"{LINE}\n".encode(), 1, Path("log")) is None
    with pytest.raises(RecordError, match="1 of 2 episodes have no counts of void pixels"):
        parse_void(f"{VOID}\n{LINE}\n".encode(), 1, Path("log"))


def test_counts_of_void_pixels_are_inspected() -> None:
    inspect = row_inspector(1, [2], pixels=lambda i: {"input": 97, "native": 121})
    assert inspect(0, json.loads(VOID)) is None
    assert inspect(0, json.loads(VOID.replace("[3,4]", "[3,5]"))) == "input counts 98 pixels; the query has 97"
    assert "'native_void' must hold 2" in str(inspect(0, json.loads(VOID.replace(',"native_void":[0,5]', ""))))
    assert "'input_void' must hold 2" in str(inspect(0, json.loads(VOID.replace("[3,4]", "[3]"))))


BANDS = VOID.replace(',"diagnostics"', ',"input_boundary":[1,2,3],"native_boundary":[4,0,1],"diagnostics"')


def test_counts_of_outlines_are_read_beside_the_others() -> None:
    found = parse_boundary(f"{BANDS}\n".encode(), 1, Path("log"))
    assert found.input.tolist() == [[[1, 2, 3]]]
    assert found.native.tolist() == [[[4, 0, 1]]]
    plain, counted = (parse_counts(f"{line}\n".encode(), 1, {1, 2, 3}, Path("log")) for line in (LINE, BANDS))
    assert all((a == b).all() for a, b in zip(plain[:3], counted[:3], strict=True))
    whole = counted._replace(boundary=found)
    assert whole.of(np.array([0, 0])).boundary.input.tolist() == [[[1, 2, 3]]] * 2
    with pytest.raises(RecordError, match=r"log: the episodes have no counts of outlines \(scoring\.boundary\)"):
        parse_boundary(f"{VOID}\n".encode(), 1, Path("log"))
    with pytest.raises(RecordError, match="1 of 2 episodes have no counts of outlines"):
        parse_boundary(f"{BANDS}\n{VOID}\n".encode(), 1, Path("log"))
    inspect = row_inspector(1, [1, 2, 3])
    assert "'native_boundary' must hold 3" in str(inspect(0, json.loads(BANDS.replace(",0,1]", "]"))))
    few = row_inspector(1, [1, 2, 3], pixels=lambda i: {"input": 10**6, "native": 4})
    assert few(0, json.loads(BANDS)) is not None
