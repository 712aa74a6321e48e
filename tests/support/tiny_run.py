"""Runs small enough for tests: a tiny VOC data set, a cut ResNet-18 with random weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.run import execute
from fsseg_bench.engine.train import Cadence
from fsseg_bench.method import TrainingFree
from fsseg_bench.progress import Meter, Progress, Unit
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.records.request import RunRequest
from fsseg_bench.registry import find_method, method_names
from tests.support.datasets import write_protocol, write_voc


def tiny_request(folder: Path, **changes: Any) -> RunRequest:
    """A request for an untrained 1-shot baseline on fold 1; data and protocol are written into ``folder`` once."""
    protocol = folder / "tiny-voc.toml"
    if not protocol.exists():
        write_voc(folder / "tiny-voc", train=4, val=6)
        write_protocol(protocol, size=64, count=12)
    values: dict[str, Any] = {
        "method": "baseline",
        "dataset": str(protocol),
        "backbone": "resnet18-layer2",
        "weights": "none",
        "device": "cpu",
        "iterations": 0,
        "workers": 0,
        "panels": 0,
        "out": str(folder / "runs"),
    }
    return RunRequest(**(values | changes))


def tiny_training(**changes: str) -> dict[str, str]:
    """``settings`` of a short training in which the loss moves."""
    return {
        "recipe.lr": "0.01",
        "recipe.batch": "2",
        "recipe.bn": "train",
        "recipe.augment": "enlarged-crop-supports",
        **changes,
    }


def tiny_stages(method: str) -> dict[str, str]:
    """``settings`` that keep short what is trained before a method; nothing for most."""
    stages = find_method(method).stages_before(load_protocol("pascal5i"), 1)
    return {
        f"stage.{stage.name}.{key}": value
        for stage in stages
        for key, value in {"iterations": "1", "batch": "2"}.items()
    }


def trained_methods() -> list[str]:
    """The names of the methods that can be trained."""
    return [name for name in method_names() if not issubclass(find_method(name), TrainingFree)]


def finish(request: RunRequest, cadence: Cadence | None = None) -> Path:
    """The folder of the run, done."""
    return execute(make_plan(request), cadence=cadence).folder


class Watched(Progress):
    """Remembers what is said and shown; Ctrl-C when one kind of work has come to a step."""

    def __init__(self, title: str = "", stop_at: int = 0) -> None:
        self.said: list[str] = []
        self.notes: dict[str, list[str]] = defaultdict(list)
        """By the title of the work, one for each time it advanced."""
        self._title, self._stop_at = title, stop_at

    @contextmanager
    def meter(self, title: str, total: int, done: int = 0, unit: Unit = "steps") -> Iterator[Meter]:
        """Counts from what is done."""
        owner, come = self, done

        class Counting(Meter):
            def advance(self, steps: int = 1, note: str = "") -> None:
                nonlocal come
                come += steps
                owner.notes[title].append(note)
                if title == owner._title and come >= owner._stop_at:
                    raise KeyboardInterrupt

        yield Counting()

    def say(self, message: str) -> None:
        """Keeps it."""
        self.said.append(message)
