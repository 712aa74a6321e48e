"""This checkout against an earlier commit, side by side in one run: encoding, a training step, the demo.

The commit is checked out into a temporary folder. The two take turns, each time in a process of its own, so that a busy
moment of the machine meets both; what is timed is the command that users give. Beside the times stands how far features
and scores are apart.

    python -m benchmarks.against 7a06921
    python -m benchmarks.against 7a06921 --only encode-vgg16 --repeats 9

Run it where nothing else runs: two cores that others use too tell nothing, not even as a ratio.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import click
import torch

from benchmarks.machine import describe, spread

ROOT = Path(__file__).resolve().parents[1]
_SCORES = "scores", "input", "mean_iou"
_FEATURES = """
import sys
import torch
from fsseg_bench.engine.build import assemble
from fsseg_bench.engine.inference import InferenceModel
from fsseg_bench.registry import find_method
backbone, size, path = sys.argv[1:]
method, _ = assemble(find_method("baseline"), backbone, "none", {}, 0)
numbers = torch.Generator().manual_seed(0)
image = torch.randint(0, 256, (3, int(size), int(size)), generator=numbers, dtype=torch.uint8)
torch.save(InferenceModel(method, torch.device("cpu"), "fp32").encode([image])[0], path)
"""


@dataclass(frozen=True)
class Tree:
    """A checkout, and a cache of its own."""

    folder: Path
    cache: Path

    def python(self, *arguments: str) -> None:
        """Runs Python on the packages of this checkout.

        Raises:
            ClickException: it failed; with the end of what it said.
        """
        packages = os.pathsep.join([str(self.folder), str(self.folder / "methods")])
        variables = {**os.environ, "PYTHONPATH": packages, "FSSEG_CACHE": str(self.cache)}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, env=variables, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise click.ClickException(f"{self.folder}: {' '.join(arguments)[:200]}: {done.stderr[-2000:]}")

    def run(self, out: Path, *options: str) -> list[dict[str, object]]:
        """The records (run.json) of ``fsseg-bench run`` with the options."""
        self.python("-m", "fsseg_bench", "run", *options, "--device", "cpu", "--out", str(out))
        return [json.loads(path.read_text()) for path in sorted(out.rglob("run.json"))]


@dataclass(frozen=True)
class Scale:
    """How much is done."""

    size: int = 417
    episodes: int = 24
    iterations: int = 150
    data: tuple[str, ...] = ()
    """Further options of all runs: how many images are drawn."""
    demo: tuple[str, ...] = ()
    """Further options of the demo."""
    uncounted: int = 1
    """Turns before those that count, which fill the caches; none of the demo, which comes last."""


_TOY_DATA = ("--set", "protocol.data.train_images=60", "--set", "protocol.data.test_images=60")
_TOY_DEMO = ("--iterations", "1", "--episodes", "9", "--fold", "1", "--jobs", "1", "--no-estimate")
TOY = Scale(size=65, episodes=9, iterations=2, data=_TOY_DATA, demo=_TOY_DEMO, uncounted=0)


@dataclass
class Turn:
    """What one command took, and the scores of its runs."""

    seconds: float
    scores: list[float]


Task = Callable[[Tree, Path, Scale], Turn]


def encode(backbone: str) -> Task:
    """Seconds an image that is new to an evaluation."""

    def turn(tree: Tree, out: Path, scale: Scale) -> Turn:
        shared = ("--method", "baseline", "--backbone", backbone, "--weights", "none", "--iterations", "0")
        where = ("--dataset", "shapes5i", "--fold", "1", "--set", f"protocol.image.size={scale.size}", "--no-estimate")
        (record,) = tree.run(out, *shared, *where, "--episodes", str(scale.episodes), *scale.data)
        spent = _number(record, "timings", "evaluate_encode_seconds")
        return Turn(spent / _number(record, "timings", "evaluate_encoded_images"), [_number(record, *_SCORES)])

    return turn


def step(tree: Tree, out: Path, scale: Scale) -> Turn:
    """Seconds a training step of the demo's baseline, loading included."""
    shared = ("--method", "baseline", "--dataset", "shapes5i", "--fold", "1", "--episodes", "9", "--no-estimate")
    (record,) = tree.run(out, *shared, "--iterations", str(scale.iterations), *scale.data)
    return Turn(_number(record, "timings", "train_seconds") / scale.iterations, [_number(record, *_SCORES)])


def demo(tree: Tree, out: Path, scale: Scale) -> Turn:
    """Seconds of the first command of ``make demo``, as the checkout itself has it."""
    (words,) = re.findall(r"fsseg-bench run (.*)", tree.folder.joinpath("Makefile").read_text(encoding="utf-8"))
    if "--jobs" in scale.demo:
        words = words.replace("--jobs auto", "")
    begin = time.perf_counter()
    records = tree.run(out, *words.split(), *scale.data, *scale.demo)
    return Turn(time.perf_counter() - begin, [_number(record, *_SCORES) for record in records])


TASKS: dict[str, tuple[str, Task]] = {
    "encode-vgg16": ("an image, VGG-16", encode("vgg16")),
    "encode-resnet50": ("an image, ResNet-50", encode("resnet50")),
    "step": ("a training step of the demo's baseline", step),
    "demo": ("the demo", demo),
}


@click.command()
@click.argument("commit")
@click.option("--only", type=click.Choice(list(TASKS)), multiple=True, help="These alone.")
@click.option("--repeats", default=5, show_default=True, help="Counted turns of each task.")
@click.option("--demos", default=2, show_default=True, help="The same for the demo, which takes minutes.")
@click.option("--toy", is_flag=True, help="So small that it takes a minute; the figures mean nothing.")
def main(commit: str, only: tuple[str, ...], repeats: int, demos: int, toy: bool) -> None:
    """Measure COMMIT and this checkout."""
    print(describe(), flush=True)
    scale = TOY if toy else Scale()
    with tempfile.TemporaryDirectory() as name, checked_out(commit, Path(name) / "tree") as earlier:
        folder = Path(name)
        trees = {commit: Tree(earlier, folder / "cache-earlier"), "here": Tree(ROOT, folder / "cache-here")}
        for task in only or TASKS:
            what, measure = TASKS[task]
            print(f"{what}:", flush=True)
            last = task == "demo"
            of_task = replace(scale, uncounted=0) if last else scale
            turns = take_turns(trees, measure, of_task, demos if last else repeats, folder)
            _print(turns)
            if task.startswith("encode-"):
                apart = feature_difference(list(trees.values()), task.removeprefix("encode-"), scale.size, folder)
                print(f"  largest difference of a feature: {apart:.1e} of the largest feature", flush=True)


@contextmanager
def checked_out(commit: str, folder: Path) -> Iterator[Path]:
    """A folder with the files of a commit, of which git knows no more afterwards."""
    _git("worktree", "add", "--detach", str(folder), commit)
    try:
        yield folder
    finally:
        _git("worktree", "remove", "--force", str(folder))


def take_turns(
    trees: dict[str, Tree], measure: Task, scale: Scale, repeats: int, folder: Path
) -> dict[str, list[Turn]]:
    """The turns of each checkout, alternating, as far as they count."""
    turns: dict[str, list[Turn]] = {name: [] for name in trees}
    for turn in range(-scale.uncounted, repeats):
        for name, tree in trees.items():
            with tempfile.TemporaryDirectory(dir=folder) as out:
                taken = measure(tree, Path(out), scale)
            if turn >= 0:
                turns[name].append(taken)
    return turns


def feature_difference(trees: list[Tree], backbone: str, size: int, folder: Path) -> float:
    """The largest difference of a feature of one image between the checkouts, as a share of the largest feature."""
    features = []
    for number, tree in enumerate(trees):
        path = folder / f"{number}.pt"
        tree.python("-c", _FEATURES, backbone, str(size), str(path))
        features.append(torch.load(path, weights_only=True))
    first, second = features
    return float((first - second).abs().max() / first.abs().max())


def _print(turns: dict[str, list[Turn]]) -> None:
    for name, taken in turns.items():
        print(f"  {name:10} {spread([turn.seconds for turn in taken])}")
    earlier, here = ([turn.seconds for turn in taken] for taken in turns.values())
    each = [a / b for a, b in zip(earlier, here, strict=True)]
    print(
        f"  {statistics.median(earlier) / statistics.median(here):.2f} times as fast (turn by turn {min(each):.2f} to "
        f"{max(each):.2f}, by minima {min(earlier) / min(here):.2f})"
    )
    scores = [taken[0].scores for taken in turns.values()]
    apart = max(abs(a - b) for a, b in zip(*scores, strict=True))
    print(f"  largest difference of a mean IoU: {100 * apart:.3f} points", flush=True)


def _number(record: object, *keys: str) -> float:
    for key in keys:
        assert isinstance(record, dict)
        record = record[key]
    assert isinstance(record, (int, float))
    return float(record)


def _git(*arguments: str) -> None:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"git {' '.join(arguments)}: {done.stderr.strip()}")


if __name__ == "__main__":
    main()
