"""How many runs of a command are asked for at a time."""

from __future__ import annotations

from typing import Literal

from fsseg_bench.errors import UserError

Jobs = int | Literal["auto"]
"""What is asked for: so many runs at a time, or as many as the machine has room for."""


def checked_jobs(text: str | int) -> Jobs:
    """``auto``, or how many.

    Raises:
        UserError: neither.
    """
    if text == "auto":
        return "auto"
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 1:
        raise UserError(f"--jobs {text}: use auto, or how many runs to make at a time, from 1")
    return count
