"""A progress that remembers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from fsseg_bench.progress import Meter, Progress, Unit


class _Counting(Meter):
    def __init__(self, done: Counter[str], title: str) -> None:
        self._done, self._title = done, title

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._done[self._title] += steps


class Recorder(Progress):
    """Keeps what each meter reached and every line."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.said: list[str] = []

    @contextmanager
    def meter(self, title: str, total: int, done: int = 0, unit: Unit = "steps") -> Iterator[Meter]:
        self.done[title] = done
        yield _Counting(self.done, title)

    def say(self, message: str) -> None:
        self.said.append(message)
