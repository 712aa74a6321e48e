"""Episode tables from elsewhere against the data that they are to be used on."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.checked_episodes import check_episodes
from fsseg_bench.protocol.episodes import EpisodeTable


def table_of(*rows: str, ways: int = 1) -> EpisodeTable:
    """Rows like ``"1 2 | q | a b | c d"``: classes, query, supports of each way."""
    cells = [[part.split() for part in row.split("|")] for row in rows]
    return EpisodeTable(
        tuple(tuple(map(int, c[0])) for c in cells),
        tuple(c[1][0] for c in cells),
        tuple(tuple(tuple(way) for way in c[2 : 2 + ways]) for c in cells),
    )


KNOWN = {1: ["a", "b", "c"], 2: ["c", "d", "e", "f"]}


def test_a_fitting_table_passes() -> None:
    check_episodes(table_of("1|a|b", "2|c|d", "2|f|e"), KNOWN, (1, 2), 1, 1, "own.csv")
    check_episodes(table_of("1 2|a|b|c", "2 1|d|f|a", ways=2), KNOWN, (1, 2), 2, 1, "own.csv")


@pytest.mark.parametrize(
    ("rows", "ways", "message"),
    [
        (["1|a|b", "3|a|b"], 1, "line 3: class 3 is not held out in this fold; held out: 1, 2"),
        (["2 2|c|d|e", "1 2|a|b|c"], 2, "line 2: an episode's classes must differ; found 2, 2"),
        (["1|x|b", "2|c|d"], 1, "line 2: image 'x' is not in the index: no test image of that name has enough"),
        (["1|a|b", "2|c|a"], 1, "line 3: image 'a' is not in the index: no test image of that name has enough"),
        (["1 2|a|b|d", "1 2|d|b|c"], 2, "line 3: image 'd' is not in the index"),
        (["1|a|b", "2|c|c"], 1, "line 3: the query 'c' is among the supports"),
        (["2 1|c|d|c", "1 2|a|b|c"], 2, "line 2: the query 'c' is among the supports"),
        (["1 2|a|c|c", "2 1|d|e|c"], 2, "line 2: the supports must differ; more than once: c"),
        (["1|a|b", "1|b|c"], 1, "no episode has one of the held-out classes 2 as its class_1"),
    ],
)
def test_tables_that_do_not_fit_the_data(rows: list[str], ways: int, message: str) -> None:
    with pytest.raises(UserError) as error:
        check_episodes(table_of(*rows, ways=ways), KNOWN, (1, 2), ways, 1, Path("own.csv"))
    assert str(error.value).startswith(f"own.csv: {message}")


def test_repeated_supports_of_one_way() -> None:
    with pytest.raises(UserError, match=r"own\.csv: line 2: the supports must differ; more than once: b"):
        check_episodes(table_of("1|a|b b", "2|c|d e"), KNOWN, (1, 2), 1, 2, "own.csv")


def test_lists_drawn_with_replacement() -> None:
    """Of one way, of two ways, all the same; the query may still not be among them."""
    for rows, ways in ((["1|a|b b", "2|c|d e"], 1), (["1 2|a|c b|c c", "2 1|d|e e|c c"], 2)):
        check_episodes(table_of(*rows, ways=ways), KNOWN, (1, 2), ways, 2, "own.csv", support_replacement=True)
        with pytest.raises(UserError, match=r"line 2: the supports must differ; .*support_replacement=true"):
            check_episodes(table_of(*rows, ways=ways), KNOWN, (1, 2), ways, 2, "own.csv")
    with pytest.raises(UserError, match=r"own\.csv: line 3: the query 'c' is among the supports"):
        rows = ["1|a|b b", "2|c|d c"]
        check_episodes(table_of(*rows), KNOWN, (1, 2), 1, 2, "own.csv", support_replacement=True)


def test_lines_of_another_file_are_named() -> None:
    with pytest.raises(UserError, match=r"theirs\.txt: line 9: the query 'c' is among the supports"):
        check_episodes(table_of("1|a|b", "2|c|c"), KNOWN, (1, 2), 1, 1, "theirs.txt", lines=[7, 9])


@pytest.mark.parametrize(("way", "shot"), [(2, 1), (1, 2)])
def test_a_table_for_other_ways_or_shots(way: int, shot: int) -> None:
    with pytest.raises(UserError, match=rf"own\.csv: the episodes are 1-way 1-shot, the run is {way}-way {shot}-shot"):
        check_episodes(table_of("1|a|b", "2|c|d"), KNOWN, (1, 2), way, shot, "own.csv")
