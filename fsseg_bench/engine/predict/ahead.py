"""Work that threads do ahead of need, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from fsseg_bench.machine.limits import usable_cores

T = TypeVar("T")
R = TypeVar("R")

THREADS = min(4, usable_cores())


def ahead(work: Callable[[T], R], items: Iterable[T], count: int) -> Iterator[tuple[T, Future[R]]]:
    """Each item with what ``work`` makes of it in a thread; up to ``count`` items are taken before they are needed."""
    waiting: deque[tuple[T, Future[R]]] = deque()
    pool = ThreadPoolExecutor(THREADS)
    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) == count:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        pool.shutdown(cancel_futures=True)
