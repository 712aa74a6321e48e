"""Episodes a second of every method, features cached or not, and how the time splits between backbone and head.

Each method is evaluated by the engine (one episode a call, counts at two resolutions) on made-up images that lie in
memory; weights are random, which changes no time. In every repetition the same images go through

* the backbone alone, as the method lays it out, once an image;
* the engine with an empty cache: ``encode`` (backbone and whatever the method computes once an image) and ``predict``;
* the engine again with every feature in the cache.

The head is what a method computes beyond one pass of the backbone an image: encode + predict - backbone, also where a
second backbone is a part of it. Its ratio to the backbone comes from the same repetitions. A head that costs nothing
can come out slightly negative: that is the noise of the machine.

    python -m benchmarks.methods --threads 2
    python -m benchmarks.methods --methods baseline,dan --size 129 --backbone resnet18-layer2
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import click
import torch
from torch import Tensor

from benchmarks.machine import describe
from benchmarks.made_up_source import MadeUpSource
from fsseg_bench.engine.build import assemble
from fsseg_bench.engine.cache import GIB, Budget, FeatureCache
from fsseg_bench.engine.device import backend_of, resolve_device
from fsseg_bench.engine.evaluate import Evaluator, Setting
from fsseg_bench.engine.inference import InferenceModel
from fsseg_bench.errors import UserError
from fsseg_bench.method import Method
from fsseg_bench.protocol.episodes import EpisodeTable
from fsseg_bench.protocol.table import Further
from fsseg_bench.registry import find_method, method_names
from fsseg_methods.baseline import Baseline

_COMMON = "resnet50"
_MOST = 2.0
"""Heads beyond this many times their backbone's time are marked."""
_COLUMNS = (
    "method",
    "backbone",
    "shots",
    "backbone ms",
    "encode ms",
    "predict ms",
    "episodes/s",
    "cached",
    "head's share",
    "head / backbone",
)


@dataclass
class Seconds:
    """Seconds an episode, one entry a repetition."""

    backbone: list[float] = field(default_factory=list)
    encode: list[float] = field(default_factory=list)
    predict: list[float] = field(default_factory=list)
    uncached: list[float] = field(default_factory=list)
    """The whole evaluation with an empty cache."""
    cached: list[float] = field(default_factory=list)
    """The whole evaluation with a full cache."""

    @property
    def head(self) -> list[float]:
        """What the method computes beyond one pass of the backbone an image."""
        parts = zip(self.backbone, self.encode, self.predict, strict=True)
        return [encode + predict - backbone for backbone, encode, predict in parts]

    @property
    def share(self) -> list[float]:
        """The head's share of encoding and predicting."""
        parts = zip(self.head, self.encode, self.predict, strict=True)
        return [head / (encode + predict) for head, encode, predict in parts]

    @property
    def ratio(self) -> list[float]:
        """The head's time, relative to the backbone's in the same repetition."""
        return [head / backbone for head, backbone in zip(self.head, self.backbone, strict=True)]


@dataclass(frozen=True)
class Case:
    """What one method is timed on, and the baseline on its backbone, whose ``encode`` is one pass of the backbone."""

    model: InferenceModel
    trunk: InferenceModel
    source: MadeUpSource
    table: EpisodeTable
    further: tuple[Further, ...]
    size: int

    @classmethod
    def of(cls, method: Method, device: torch.device, size: int, shots: int, episodes: int) -> Case:
        """Episodes of ``shots`` supports whose images are all different."""
        count = method.unlabelled_images
        table = EpisodeTable(
            ((1,),) * episodes,
            tuple(f"{i}-query" for i in range(episodes)),
            tuple((tuple(f"{i}-support-{k}" for k in range(shots)),) for i in range(episodes)),
        )
        further = tuple((tuple(f"{i}-further-{u}" for u in range(count)),) for i in range(episodes)) if count else ()
        plain = Baseline(method.backbone, Baseline.Switches())
        model, trunk = (InferenceModel(m.to(device), device, "fp32") for m in (method, plain))
        return cls(model, trunk, MadeUpSource(size), table, further, size)

    def images(self, i: int) -> list[Tensor]:
        """All images of an episode, (3, S, S) uint8."""
        further = self.further[i][0] if self.further else ()
        arrays = (self.source.image(image) for image in (*self.table.images(i), *further))
        return [torch.from_numpy(array).permute(2, 0, 1).contiguous() for array in arrays]

    def measure(self, repeats: int) -> Seconds:
        """The first repetition warms up and is not counted."""
        seconds = Seconds()
        for turn in range(repeats + 1):
            backbone = self._backbone()
            cache = FeatureCache(self.model.device, Budget(8 * GIB, 8 * GIB))
            fresh, full = (self._evaluation(cache).timings for _ in range(2))
            if turn:
                episodes = len(self.table)
                seconds.backbone.append(backbone / episodes)
                seconds.encode.append(fresh["evaluate_encode_seconds"] / episodes)
                seconds.predict.append(fresh["evaluate_predict_seconds"] / episodes)
                seconds.uncached.append(fresh["evaluate_seconds"] / episodes)
                seconds.cached.append(full["evaluate_seconds"] / episodes)
        return seconds

    def _backbone(self) -> float:
        """Seconds of the backbone over the images of all episodes."""
        spent = 0.0
        for i in range(len(self.table)):
            images = self.images(i)
            begin = time.perf_counter()
            self.trunk.encode(images)
            backend_of(self.trunk.device).synchronise(self.trunk.device)
            spent += time.perf_counter() - begin
        return spent

    def _evaluation(self, cache: FeatureCache) -> Evaluator:
        setting = Setting(self.size, workers=0)
        evaluator = Evaluator(self.model, self.source, self.table, setting, cache, self.further)
        evaluator.run(lambda result: None)
        return evaluator


@click.command()
@click.option("--methods", default="", help="Names with commas between; all by default.")
@click.option("--size", default=417, show_default=True, help="Side of the images in pixels.")
@click.option("--backbone", help=f"{_COMMON} by default, or a method's own where it cannot be built on that.")
@click.option("--shots", default="1,5", show_default=True)
@click.option("--episodes", default=2, show_default=True, help="Episodes in a repetition.")
@click.option("--repeats", default=3, show_default=True)
@click.option("--threads", default=0, help="0 leaves PyTorch's default.")
@click.option("--device", default="cpu", show_default=True)
def main(
    methods: str, size: int, backbone: str | None, shots: str, episodes: int, repeats: int, threads: int, device: str
) -> None:
    """Print one Markdown table: medians, with the range over the repetitions in brackets."""
    if threads:
        torch.set_num_threads(threads)
    place = resolve_device(device)
    print(describe())
    print(f"{device}, {size} px, fp32, random weights, {episodes} episodes a repetition, {repeats} repetitions\n")
    print(_line(_COLUMNS))
    print(_line(["---"] * len(_COLUMNS)))
    marked = []
    for name in [m.strip() for m in methods.split(",") if m.strip()] or method_names():
        try:
            method = build(name, backbone)
        except UserError as error:
            print(f"{name}: {error}")
            continue
        for shot in (int(k) for k in shots.split(",")):
            seconds = Case.of(method, place, size, shot, episodes).measure(repeats)
            print(_line(_row(name, method.backbone.name, shot, seconds)), flush=True)
            if statistics.median(seconds.ratio) > _MOST:
                marked.append(f"{name} ({shot}-shot)")
    told = ", ".join(marked) or "none"
    print(f"\nHeads of more than {_MOST:g} times their backbone's time: {told}.")


def build(name: str, backbone: str | None) -> Method:
    """The method with random weights on ``backbone``, or on the common one, or else on its own."""
    cls = find_method(name)
    for tried in [backbone] if backbone else [_COMMON, cls.default_backbone]:
        try:
            return assemble(cls, tried, "none", {}, 0)[0]
        except UserError:
            if tried in (backbone, cls.default_backbone):
                raise
    raise AssertionError("the last backbone is returned or refused")


def _row(name: str, backbone: str, shot: int, seconds: Seconds) -> list[str]:
    return [
        name,
        backbone,
        str(shot),
        _milliseconds(seconds.backbone),
        _milliseconds(seconds.encode),
        _milliseconds(seconds.predict),
        f"{1 / statistics.median(seconds.uncached):.2f}",
        f"{1 / statistics.median(seconds.cached):.2f}",
        f"{100 * statistics.median(seconds.share):.0f} %",
        f"{statistics.median(seconds.ratio):.2f} ({min(seconds.ratio):.2f} to {max(seconds.ratio):.2f})",
    ]


def _milliseconds(values: Sequence[float]) -> str:
    return f"{1e3 * statistics.median(values):.0f} ({1e3 * min(values):.0f} to {1e3 * max(values):.0f})"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
