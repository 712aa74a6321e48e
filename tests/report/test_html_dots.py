import pytest

from fsseg_bench.report.html.dots import Mark, Palette, Scale, row, shape, ticks
from fsseg_bench.report.html.words import listing, number, p_words, points, to
from tests.support.page import Page


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 2.5, [0, 0.5, 1, 1.5, 2, 2.5]),
        (0, 0.99, [0, 0.2, 0.4, 0.6, 0.8]),
        (0, 199, [0, 50, 100, 150]),
        (0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 7, [0, 2, 4, 6]),
        (0, 0, [0]),
        (-3.1, 4.2, [-2, 0, 2, 4]),
        (31.2, 38.9, [32, 34, 36, 38]),
        (99.97, 100.02, [99.97, 99.98, 99.99, 100, 100.01, 100.02]),
    ],
)
def test_ticks(low: float, high: float, expected: list[float]):
    assert ticks(low, high) == pytest.approx(expected)


def test_a_scale_has_room_and_zero_where_asked():
    assert Scale.around([10, 20]) == Scale(pytest.approx(9.4), pytest.approx(20.6))
    assert Scale.around([10, 20], zero=True).low == pytest.approx(-1.2)
    assert Scale.around([5]) == Scale(4.5, 5.5)
    assert Scale(0, 50).place(10) == "20.00%"


def test_a_row_with_several_marks_is_higher_and_no_two_lie_on_one_line():
    page = Page(row(Scale(0, 100), [Mark(v, v - 5, v + 5, i) for i, v in enumerate((20.0, 40.0, 60.0))]))
    outer, *marks = page.all("svg")
    assert [mark["x"] for mark in marks] == ["20.00%", "40.00%", "60.00%"]
    heights = [float(str(mark["y"])) for mark in marks]
    assert len(set(heights)) == 3
    assert max(heights) < float(str(outer["height"]))


def test_a_mark_without_an_interval_has_no_line():
    page = Page(row(Scale(0, 100), [Mark(20.0, None, None, 0)]))
    assert not [line for line in page.all("line") if str(line["class"]).startswith("bar")]


def test_forty_series_look_different():
    assert len({shape(i) for i in range(40)}) == 40


def test_a_row_keeps_its_colour_whoever_asks():
    palette = Palette()
    assert [palette.series(*name) for name in (("a",), ("b", "x"), ("b", ""), ("a", ""), ("b", "x"))] == [0, 1, 2, 0, 1]


@pytest.mark.parametrize(
    ("value", "ends", "expected"),
    [
        (5.55, (4.9, 6.3), "5.5 points"),
        (0.52, (0.06, 1.1), "0.52 points"),
        (0.052, (0.006, 0.1), "0.052 points"),
        (-0.04, (), "−0.04 points"),
        (0.0, (), "0.000 points"),
    ],
)
def test_points(value: float, ends: tuple[float, ...], expected: str):
    assert points(value, *ends).replace("\N{NO-BREAK SPACE}", " ") == expected


def test_an_interval_has_the_digits_of_its_value():
    assert to(-0.06, 1.1, like=points(0.52, -0.06)) == "−0.06 to 1.10"
    assert to(34.24, 37.61) == "34.2 to 37.6"
    assert number(-0.04) == "0.0", "no minus before a zero"


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (None, "no p-value"),
        (4.3e-5, "p < 0.001"),
        (0.00123, "p = 0.0012"),
        (0.0123, "p = 0.012"),
        (0.301, "p = 0.3"),
        (1.0, "p = 1"),
    ],
)
def test_p_values(p: float | None, expected: str):
    assert p_words(p).replace("\N{NO-BREAK SPACE}", " ") == expected


def test_names_in_a_sentence():
    assert listing(["a"]) == "a"
    assert listing(["a", "b"], "or") == "a or b"
    assert listing(["a", "b", "c", "d"]) == "a, b, c and d"
    assert listing(["a", "b", "c", "d", "e"]) == "a, b, c and 2 others"
