"""PMMs and RPMMs against outputs of the authors' code: every step, losses, gradients, statistics."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fsseg_bench.registry import find_method
from tests.support.mixture_cases import Case

pytestmark = pytest.mark.real_data


def _load(test_data: Path, name: str) -> Case:
    return Case.load(test_data / "golden", name, find_method(name.partition("-")[0]))


def _check_backbone(case: Case) -> None:
    backbone, images = case.method.backbone, case.images("query_rgb")
    vgg = backbone.name == "vgg16"
    stages = ("pool3", "pool4", "pool5") if vgg else ("layer2", "layer3")
    outputs = [output.relu() for output in backbone.levels(images, stages)]
    for stage, output in zip(stages, outputs, strict=True):
        case.check(f"backbone.{stage}", output)
    if vgg:
        case.check("backbone.extra_conv", backbone.get_submodule("extra")(outputs[-1]))


@pytest.mark.parametrize("name", ["pmms-1", "pmms-2", "pmms-3", "rpmms-1", "rpmms-2", "rpmms-3"])
@torch.no_grad()
def test_every_step(test_data: Path, name: str) -> None:
    check_steps(_load(test_data, name))


def check_steps(case: Case) -> None:
    """Every step of a case, from its images."""
    name = case.golden.case
    _check_backbone(case)
    episode = case.encoded()
    case.check("query_feature", episode.query)
    case.check("support_feature", episode.support[:, 0])
    case.check_stages(episode)
    prediction = case.method.predict(episode)
    case.check_prediction(prediction)
    if episode.shots == 1:
        losses = case.method.loss(episode)
        case.check("loss.total", torch.stack(list(losses.values())).sum()[None])
        if name.startswith("rpmms"):
            for place, count in enumerate((1, 3, 6), start=1):
                case.check(f"loss.k{count}", losses[f"stage{place}"][None])
    elif name.startswith("rpmms"):
        case.check("ensemble", prediction)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pmms-1", "pmms-3", "rpmms-1", "rpmms-3"])
def test_gradients(test_data: Path, name: str) -> None:
    _load(test_data, name).double().check_gradients()


@pytest.mark.parametrize("name", ["pmms-1", "pmms-3", "rpmms-1"])
def test_batch_statistics(test_data: Path, name: str) -> None:
    _load(test_data, name).check_batch_statistics()
