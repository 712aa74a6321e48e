"""Evaluation as published code does it against this package's engine, side by side in one run.

The naive loop decodes and encodes every image of every episode, upsamples support features to the mask's size, and
counts with numpy per image. Both score the same episodes with the same weights; the class IoUs must agree.

    python -m benchmarks.evaluation --episodes 1000 --shot 1
    python -m benchmarks.evaluation --dataset my.toml --data-root DIR --weights FILE \
        --set protocol.data.test_list=train,val
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image

from benchmarks.machine import describe
from fsseg_bench.cli.options import parse_settings
from fsseg_bench.engine.plan import Plan, make_plan
from fsseg_bench.engine.run import execute
from fsseg_bench.protocol.scoring import class_iou
from fsseg_bench.records.lines import read_lines
from fsseg_bench.records.request import RunRequest

_ALPHA = 20.0
Counts = npt.NDArray[np.int64]


@click.command()
@click.option("--dataset", default="shapes5i", show_default=True)
@click.option("--data-root")
@click.option("--fold", default=1, show_default=True)
@click.option("--shot", default=1, show_default=True)
@click.option("--episodes", default=1000, show_default=True)
@click.option("--naive-episodes", type=int, help="Time the naive loop on the first ones only and scale up.")
@click.option("--backbone", default="resnet18-layer3", show_default=True)
@click.option("--weights", default="none", show_default=True)
@click.option("--set", "settings", multiple=True)
def main(naive_episodes: int | None, settings: tuple[str, ...], **options: Any) -> None:
    """Compare the two loops on the MAP baseline, untrained."""
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        count = options.pop("episodes")
        request = RunRequest(
            method="baseline",
            iterations=0,
            panels=0,
            device="cpu",
            episodes=str(count),
            out=folder,
            settings=parse_settings(settings),
            **options,
        )
        plan = make_plan(request)
        images = {*plan.table.queries, *(i for s in plan.table.supports for way in s for i in way)}
        size = plan.protocol.image.size
        print(f"{count} {request.shot}-shot episodes over {len(images)} images at {size} px, {plan.backbone}")
        naive_count = min(naive_episodes or count, count)
        begin = time.perf_counter()
        naive = naive_loop(plan, naive_count)
        naive_rate = naive_count / (time.perf_counter() - begin)
        begin = time.perf_counter()
        record = execute(plan)
        rate = count / (time.perf_counter() - begin)
        ours = np.asarray([row["input"] for row in read_lines(record.episodes_path)]).reshape(-1, 2, 2)
    _print(plan, naive, ours, naive_rate, rate)


def naive_loop(plan: Plan, count: int) -> Counts:
    """Confusion counts (count, 2, 2) at the input size, everything done again for every episode."""
    backbone = plan.model.backbone.eval()
    counts = np.zeros((count, 2, 2), dtype=np.int64)
    with torch.no_grad():
        for i in range(count):
            wanted = plan.table.classes[i][0]
            foreground, background = [], []
            for image in plan.table.supports[i][0]:
                features = backbone(_image(plan, image))
                mask = torch.from_numpy(_mask(plan, image, wanted))
                full = F.interpolate(features, mask.shape, mode="bilinear", align_corners=False)
                foreground.append(_pool(full, mask == 1))
                background.append(_pool(full, mask == 0))
            prototypes = [torch.stack(background).mean(0), torch.stack(foreground).mean(0)]
            features = backbone(_image(plan, plan.table.queries[i]))
            scores = [_ALPHA * F.cosine_similarity(features, p[None, :, None, None], dim=1) for p in prototypes]
            label = _mask(plan, plan.table.queries[i], wanted)
            logits = F.interpolate(torch.stack(scores, dim=1), label.shape, mode="bilinear", align_corners=False)
            counts[i] = _count(logits.argmax(dim=1)[0].numpy(), label)
    return counts


def _image(plan: Plan, image: str) -> torch.Tensor:
    size = plan.protocol.image.size
    with Image.open(plan.source.image_path(image)) as file:
        pixels = np.array(file.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
    normalised = (pixels / 255.0 - plan.model.backbone.mean) / plan.model.backbone.std
    return torch.from_numpy(normalised.transpose(2, 0, 1)).float()[None]


def _mask(plan: Plan, image: str, wanted: int) -> npt.NDArray[np.uint8]:
    size = plan.protocol.image.size
    mask = Image.fromarray(plan.source.class_masks(image, [wanted])[0])
    return np.array(mask.resize((size, size), Image.Resampling.NEAREST))


def _pool(features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return (features * mask).sum(dim=(0, 2, 3)) / (mask.sum() + 1e-5)


def _count(prediction: npt.NDArray[np.int64], label: npt.NDArray[np.uint8]) -> Counts:
    rows = [[int(np.logical_and(prediction == p, label == t).sum()) for p in (0, 1)] for t in (0, 1)]
    return np.asarray(rows, dtype=np.int64)


def _print(plan: Plan, naive: Counts, ours: Counts, naive_rate: float, rate: float) -> None:
    classes = np.asarray(plan.table.classes)[: len(naive)]
    novel = [c for c in plan.protocol.novel_classes(plan.request.fold) if c in classes]
    difference = np.abs(class_iou(naive, classes, novel) - class_iou(ours[: len(naive)], classes, novel)).max()
    print(f"naive loop   {naive_rate:8.2f} episodes/s ({len(naive)} episodes measured)")
    print(f"this package {rate:8.2f} episodes/s ({len(ours)} episodes measured, counts at two resolutions)")
    print(f"ratio        {rate / naive_rate:8.1f}")
    print(f"largest difference of a class IoU over the common episodes: {difference:.1e}")


if __name__ == "__main__":
    main()
