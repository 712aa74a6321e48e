"""A tiny world made once: data, protocols, finished and interrupted runs, and what the commands say of them."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from fsseg_bench.cli.main import main
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.rerun import sweep
from fsseg_bench.engine.run import execute
from fsseg_bench.engine.train import Cadence
from fsseg_bench.progress import Meter, Progress, Unit
from fsseg_bench.records.request import RunRequest
from tests.support.datasets import write_coco, write_protocol, write_voc

SECONDS = 120
"""What no single case takes on any machine; a case that does has hung."""
_TRAINING = {"recipe.lr": "0.01", "recipe.batch": "2", "recipe.bn": "train"}
_SAME = {"backbone": "resnet18-layer2", "weights": "none", "device": "cpu", "workers": 0, "panels": 2}
_MADE = re.compile(r"Made \d{4}-\d\d-\d\d \d\d:\d\d UTC")


class Hang(BaseException):
    """A case took longer than any machine needs."""


class Ending(NamedTuple):
    """How a command ended."""

    code: int | str
    """Its exit code, or the exception that came out."""
    out: str
    err: str

    @property
    def broken(self) -> str:
        """What is wrong with the ending itself, whatever it is about; empty where nothing is."""
        if isinstance(self.code, str):
            return self.code
        if self.code not in {0, 1, 2}:
            return f"exit code {self.code}: {self.err[-300:]}"
        if "Traceback" in self.err or "Traceback" in self.out:
            return "a traceback"
        if any(not c.isprintable() and c not in "\n\t" for c in self.err):
            return f"a control character on the terminal: {self.err[-200:]!r}"
        return "" if self.code != 2 or "rror: " in self.err else "exit code 2 without a message"


def call(*words: str | Path) -> Ending:
    """The command line, in this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    code: int | str = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), watched():
        try:
            main([str(word) for word in words])
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else str(stop.code)
        except Hang:
            code = "hang"
        except BaseException as error:  # noqa: BLE001 - a traceback is what is looked for
            code = f"traceback: {type(error).__name__}: {str(error)[:200]}"
    texts = [stream.buffer.getvalue().decode("utf-8", "replace") for stream in (out, err)]  # type: ignore[attr-defined]
    return Ending(code, _MADE.sub("Made", texts[0]), texts[1])


@contextmanager
def watched(seconds: int = SECONDS) -> Iterator[None]:
    """Raises :class:`Hang` inside the block when it takes too long; ends the process where even that hangs."""

    def stop(*_: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    faulthandler.dump_traceback_later(3 * seconds, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        faulthandler.cancel_dump_traceback_later()


class _Stop(Progress):
    """Interrupts after some steps of one kind of work, as Ctrl-C would."""

    def __init__(self, title: str, steps: int) -> None:
        self._title, self._left = title, steps

    @contextmanager
    def meter(self, title: str, total: int, done: int = 0, unit: Unit = "steps") -> Iterator[Meter]:
        if title != self._title:
            yield Meter()
            return
        owner = self

        class Counting(Meter):
            def advance(self, steps: int = 1, note: str = "") -> None:
                owner._left -= steps
                if owner._left <= 0:
                    raise KeyboardInterrupt

        yield Counting()


@dataclass
class World:
    """Where things are; everything in it is as it was made whenever a case begins."""

    root: Path
    results: Path
    """Finished runs: ``first`` is damaged, the others must not suffer from it."""
    first: Path
    others: tuple[Path, ...]
    swept: Path
    """A finished run with a sweep."""
    half_evaluated: Path
    half_trained: Path
    words: dict[str, list[str]] = field(default_factory=dict)
    """The options of ``run`` for ``voc``, ``coco`` and the trained run."""

    @property
    def voc(self) -> Path:
        return self.root / "tiny-voc"

    @property
    def coco(self) -> Path:
        return self.root / "tiny-coco"

    def fresh(self, name: str) -> Path:
        """An empty folder."""
        path = self.root / "scratch" / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path


def _request(root: Path, out: Path, method: str = "baseline", iterations: int = 3, **more: Any) -> RunRequest:
    settings = _TRAINING if iterations else {}
    values = {**_SAME, "out": str(out), "iterations": iterations, "settings": settings, **more}
    return RunRequest(method, str(root / "tiny-voc.toml"), **values)


def _words(root: Path, request: RunRequest, protocol: str) -> list[str]:
    words = ["run", "--method", request.method, "--dataset", str(root / protocol), "--fold", "1", "--workers", "0"]
    words += ["--backbone", str(request.backbone), "--weights", "none", "--device", "cpu"]
    words += ["--iterations", str(request.iterations), "--panels", str(request.panels)]
    return words + [part for key, value in request.settings.items() for part in ("--set", f"{key}={value}")]


def make_world(root: Path) -> World:
    """Everything in ``root``; a few seconds."""
    write_voc(root / "tiny-voc", train=2, val=3)
    write_coco(root / "tiny-coco", train=2, val=3)
    write_protocol(root / "tiny-voc.toml", size=32, count=8)
    write_protocol(root / "tiny-coco.toml", "coco", size=32, count=8)
    results = root / "results"
    requests = [_request(root, results), _request(root, results, "panet", 2), _request(root, results, "biopt", 0)]
    first, *others = (execute(make_plan(request)).folder for request in requests)
    sweep(others[-1], "steps", ["0", "1"])
    untrained = _request(root, root / "half-evaluated", iterations=0, panels=0)
    trained = _request(root, root / "half-trained", panels=0)
    with contextlib.suppress(KeyboardInterrupt):
        execute(make_plan(untrained), _Stop("evaluate", 6))
    with contextlib.suppress(KeyboardInterrupt):
        execute(make_plan(trained), _Stop("train", 3), Cadence(iterations=1))
    (half_evaluated,) = (root / "half-evaluated").glob("*/*/*/*")
    (half_trained,) = (root / "half-trained").glob("*/*/*/*")
    words = {
        "voc": _words(root, untrained, "tiny-voc.toml"),
        "coco": _words(root, untrained, "tiny-coco.toml"),
        "trained": _words(root, trained, "tiny-voc.toml"),
    }
    return World(root, results, first, tuple(others), others[-1], half_evaluated, half_trained, words)


@contextmanager
def replaced(path: Path, data: bytes) -> Iterator[None]:
    """``path`` with other content inside the block."""
    before = path.read_bytes()
    path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(before)
