from fsseg_bench.report.cells import ranked
from fsseg_bench.report.model import Cell


def ranks(values: list[float | None], groups: list[str | None]) -> list[int]:
    rows = [(Cell("name"), Cell(str(v), v)) for v in values]
    return [row[1].rank for row in ranked(rows, [1], groups)]


def test_best_and_second_within_each_group() -> None:
    assert ranks([1.0, 3.0, 2.0, 9.0, 8.0], list("aaabb")) == [0, 1, 2, 1, 2]


def test_numbers_that_print_alike_share_a_rank() -> None:
    assert ranks([3.001, 2.999, 2.0, 1.0], list("aaaa")) == [1, 1, 2, 0]


def test_nothing_to_compare_with_is_no_rank() -> None:
    assert ranks([5.0, None, 7.0, 1.0], ["a", "a", "b", None]) == [0, 0, 0, 0]


def test_a_column_that_some_row_lacks_has_no_best() -> None:
    assert ranks([5.0, None, 7.0], list("aaa")) == [0, 0, 0]
    assert ranks([5.0, None, 7.0, 1.0], list("abaa")) == [2, 0, 1, 0]


def test_other_columns_are_not_touched() -> None:
    (first, _) = ranked([(Cell("1", 1.0), Cell("1", 1.0)), (Cell("2", 2.0), Cell("2", 2.0))], [1], ["a", "a"])
    assert (first[0].rank, first[1].rank) == (0, 2)
