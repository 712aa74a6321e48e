"""The most memory that each method takes: one-shot evaluation of made-up episodes, a fresh process a method.

Features are not kept, so that what is measured is what the method needs at the least.

    python -m benchmarks.memory
"""

from __future__ import annotations

import multiprocessing
import resource

import click
import torch

from benchmarks.machine import describe
from benchmarks.methods import Case, build
from fsseg_bench.engine.cache import Budget, FeatureCache
from fsseg_bench.engine.evaluate import Evaluator, Setting
from fsseg_bench.registry import method_names

_KIB_A_GIB = 2**20


def peak(name: str, size: int, episodes: int) -> tuple[str, float, float, float]:
    """Backbone, parameters in millions, GiB before the evaluation (program, network) and at the most. POSIX only."""
    torch.set_num_threads(1)
    method = build(name, None)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    case = Case.of(method, torch.device("cpu"), size, 1, episodes)
    cache = FeatureCache(case.model.device, Budget(0, 0))
    Evaluator(case.model, case.source, case.table, Setting(size, workers=0), cache, case.further).run(lambda _: None)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count = sum(parameter.numel() for parameter in method.parameters()) / 1e6
    return method.backbone.name, count, before / _KIB_A_GIB, most / _KIB_A_GIB


@click.command()
@click.option("--methods", default="", help="Names with commas between; all by default.")
@click.option("--size", default=417, show_default=True, help="Side of the images in pixels.")
@click.option("--episodes", default=2, show_default=True)
def main(methods: str, size: int, episodes: int) -> None:
    """Print one Markdown table."""
    print(describe())
    print(f"cpu, {size} px, fp32, random weights, 1 thread, {episodes} one-shot episodes, no feature cache\n")
    print("| method | backbone | parameters in millions | GiB before | GiB at the most |")
    print("| --- | --- | ---: | ---: | ---: |")
    context = multiprocessing.get_context("spawn")
    for name in [m.strip() for m in methods.split(",") if m.strip()] or method_names():
        with context.Pool(1) as pool:
            backbone, count, before, most = pool.apply(peak, (name, size, episodes))
        print(f"| {name} | {backbone} | {count:.0f} | {before:.1f} | {most:.1f} |", flush=True)


if __name__ == "__main__":
    main()
