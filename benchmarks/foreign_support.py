"""Does a trained model look at its support? Its episodes again, each with the support of another class.

For episodes of base classes that the training did not reach, and for the run's first test episodes: loss, area under
the ROC curve of the query's pixels (mean over episodes), IoU (mean over classes) and marked share of the pixels, with
the right and the foreign support.

    python -m benchmarks.foreign_support RUN_FOLDER --data-root DATA --episodes 200
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.machine import describe
from fsseg_bench.data.loading import load_image, query_label, support_mask
from fsseg_bench.data.training import TrainingEpisodes
from fsseg_bench.engine.inference import InferenceModel
from fsseg_bench.engine.open_run import RunPlaces, open_run
from fsseg_bench.engine.plan import Plan
from fsseg_bench.method import VOID, Episode, Features
from fsseg_bench.nn.bilinear import resize
from fsseg_bench.nn.losses import segmentation_loss

_LATER = 1_000  # training episodes between the last one seen and the first one asked


class Case(NamedTuple):
    """A 1-way 1-shot episode."""

    kind: str
    """Its class."""
    support: Tensor
    mask: Tensor
    query: Tensor
    label: Tensor


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--data-root", type=click.Path())
@click.option("--episodes", default=200, show_default=True)
def main(folder: Path, data_root: str | None, episodes: int) -> None:
    """Print both sets of episodes with right and foreign supports."""
    plan = open_run(folder, RunPlaces(data_root=data_root)).plan
    model = InferenceModel(plan.model, torch.device("cpu"), "fp32")
    print(describe())
    for name, cases in (("base classes", base_cases(plan, episodes)), ("test episodes", test_cases(plan, episodes))):
        encoded = [encode(model, case) for case in cases]
        right, foreign = (measured(model, encoded, foreign=foreign) for foreign in (False, True))
        difference = foreign.losses - right.losses
        print(
            f"{name}, {len(encoded)} episodes, right / foreign support: "
            f"loss {right.losses.mean():.4f} / {foreign.losses.mean():.4f} "
            f"(difference {difference.mean():+.4f}, standard error {difference.std() / len(difference) ** 0.5:.4f}), "
            f"area {right.area:.3f} / {foreign.area:.3f}, mean-IoU {100 * right.iou:.2f} / {100 * foreign.iou:.2f}, "
            f"marked {100 * right.marked:.1f} / {100 * foreign.marked:.1f} %"
        )


def base_cases(plan: Plan, count: int) -> Iterator[Case]:
    """Training episodes that come after the run's own."""
    own = plan.recipe.iterations * plan.recipe.batch
    pairs = plan.index.train_pairs(plan.request.fold)
    seed, size = plan.request.seed, own + _LATER + count
    stream = TrainingEpisodes(plan.source, plan.protocol, pairs, plan.request.fold, 1, 1, "none", seed, size)
    for i in range(own + _LATER, size):
        sample = stream[i]
        support, mask = sample.support_images[0, 0], sample.support_masks[0, 0]
        yield Case(sample.key.rpartition(" ")[2], support, mask, sample.query_image, sample.query_label)


def test_cases(plan: Plan, count: int) -> Iterator[Case]:
    """The run's first test episodes."""
    size, source = plan.protocol.image.size, plan.source
    rows = zip(plan.table.classes, plan.table.supports, plan.table.queries, strict=True)
    for _, (classes, supports, query) in zip(range(count), rows, strict=False):
        image = supports[0][0]
        yield Case(
            str(classes[0]),
            load_image(source, image, size),
            torch.from_numpy(support_mask(source, image, classes, 1, size)),
            load_image(source, query, size),
            torch.from_numpy(query_label(source, query, classes, size)),
        )


class Encoded(NamedTuple):
    """A case whose images the model has seen."""

    kind: str
    support: Features
    mask: Tensor
    query: Features
    label: Tensor


def encode(model: InferenceModel, case: Case) -> Encoded:
    if model.mask_enters_encoder:
        support = model.encode_support([case.support], [case.mask])[0]
    else:
        support = model.encode([case.support])[0]
    return Encoded(case.kind, support, case.mask, model.encode([case.query])[0], case.label)


class Measured(NamedTuple):
    losses: npt.NDArray[np.float64]
    area: float
    iou: float
    marked: float
    """Share of the pixels that are marked."""


def measured(model: InferenceModel, cases: Sequence[Encoded], *, foreign: bool) -> Measured:
    """The cases as they are, or each with the support of the next case about another class."""
    losses, areas, marked = [], [], []
    counts: dict[str, Tensor] = defaultdict(lambda: torch.zeros(2))
    for i, case in enumerate(cases):
        support = next(c for c in [*cases[i + 1 :], *cases] if c.kind != case.kind) if foreign else case
        logits = predicted(model, support, case, i)
        losses.append(float(segmentation_loss(logits, case.label[None])))
        background, own = resize(logits.float(), (case.label.shape[0], case.label.shape[1]))[0]
        known = case.label != VOID
        truth, margin = case.label[known] == 1, (own - background)[known]
        areas.append(area(margin, truth))
        marked.append(float((margin > 0).float().mean()))
        counts[case.kind] += torch.stack([((margin > 0) & truth).sum(), ((margin > 0) | truth).sum()])
    ious = [float(both / either) for both, either in counts.values() if either > 0]
    return Measured(np.array(losses), float(np.nanmean(areas)), float(np.mean(ious)), float(np.mean(marked)))


def predicted(model: InferenceModel, support: Encoded, query: Encoded, seed: int) -> Tensor:
    episode = Episode(
        support=_stacked(support.support, 3),
        support_masks=support.mask[None, None, None],
        query=_stacked(query.query, 1),
        size=(query.label.shape[0], query.label.shape[1]),
        seeds=(seed,),
    )
    return model.predict(episode)[0]


def _stacked(features: Features, axes: int) -> Features:
    if isinstance(features, Tensor):
        return features[(None,) * axes]
    return tuple(level[(None,) * axes] for level in features)


def area(scores: Tensor, truth: Tensor) -> float:
    """How often a foreground pixel scores above a background pixel; NaN where either is missing."""
    ranks = torch.empty(len(scores), dtype=torch.float64)
    ranks[scores.argsort()] = torch.arange(1, len(scores) + 1, dtype=torch.float64)
    positive, negative = int(truth.sum()), int((~truth).sum())
    if not positive or not negative:
        return float("nan")
    return float((ranks[truth].sum() - positive * (positive + 1) / 2) / (positive * negative))


if __name__ == "__main__":
    main()
