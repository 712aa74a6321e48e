"""Numbers in sentences."""

from __future__ import annotations

from collections.abc import Sequence

_LEAST_P = 0.001
_MOST_NAMES = 3
_TIED = "\N{NO-BREAK SPACE}"
_MINUS = "\N{MINUS SIGN}"


def number(value: float, digits: int = 1) -> str:
    """With a real minus sign."""
    text = f"{value:.{digits}f}"
    return f"{_MINUS}{text[1:]}" if text.startswith("-") and float(text) else text.removeprefix("-")


def to(low: float, high: float, *, like: str = "0.0") -> str:
    """An interval, with as many digits as ``like`` has."""
    digits = len(like.partition(_TIED)[0].partition(".")[2])
    return f"{number(low, digits)} to {number(high, digits)}"


def points(value: float, *ends: float) -> str:
    """A difference; with further digits where the first would make it, or an end of its interval, 0."""
    digits = next((n for n in (1, 2) if all(abs(v) >= 10.0**-n for v in (value, *ends))), 3)
    return f"{number(value, digits)}{_TIED}points"


def p_words(p: float | None) -> str:
    """A p-value; a t test with the images at hand says no more than that it is below a thousandth."""
    if p is None:
        return "no p-value"
    if p < _LEAST_P:
        return f"p{_TIED}<{_TIED}0.001"
    return f"p{_TIED}={_TIED}{float(f'{p:.2g}'):g}"


def listing(names: Sequence[str], last: str = "and") -> str:
    """Names in a sentence; of many, the first ones and how many more."""
    if len(names) > _MOST_NAMES + 1:
        return f"{', '.join(names[:_MOST_NAMES])} {last} {len(names) - _MOST_NAMES} others"
    return f" {last} ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
