"""Preparations of small data sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsseg_bench.data.prepare.download import Patience
from fsseg_bench.data.prepare.manifest import Record
from fsseg_bench.data.prepare.plan import Plan
from fsseg_bench.data.prepare.prepare import Options, prepare_dataset
from fsseg_bench.data.prepare.sources import Dataset, find_dataset
from fsseg_bench.progress import Meter, Progress, Unit
from tests.data.prepare.layouts import Small

PATIENCE = Patience(timeout=10.0, tries=3, pause=0.0)


def dataset_of(small: Small, name: str = "pascal5i") -> Dataset:
    return find_dataset(name, path=small.sources)


def run(
    small: Small,
    root: Path,
    *,
    name: str = "pascal5i",
    progress: Progress | None = None,
    confirm: Callable[[Plan], None] = lambda plan: None,
    **options: Any,
) -> Record:
    options = {"patience": PATIENCE, **options}
    return prepare_dataset(dataset_of(small, name), root, Options(**options), confirm, progress or Progress())


def put(folder: Path, small: Small, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or small.archives:
        (folder / name).write_bytes(small.archives[name])
    return folder


def unpacked(root: Path, prepared: dict[str, bytes]) -> Path:
    """The files of a prepared PASCAL without any record, as somebody else has unpacked them."""
    for name, content in prepared.items():
        if not name.startswith(".prepared"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
    return root


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
