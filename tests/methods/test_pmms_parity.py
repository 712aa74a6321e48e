"""PMMs on ResNet-50 and VGG-16 against outputs of the authors' code: every step, losses, gradients, statistics."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fsseg_methods.pmms import PMMs
from tests.support.mixture_cases import Case

pytestmark = pytest.mark.real_data


def _check_backbone(case: Case) -> None:
    backbone, images = case.method.backbone, case.images("query_rgb")
    vgg = backbone.name == "vgg16"
    stages = ("pool3", "pool4", "pool5") if vgg else ("layer2", "layer3")
    outputs = [output.relu() for output in backbone.levels(images, stages)]
    for stage, output in zip(stages, outputs, strict=True):
        case.check(f"backbone.{stage}", output)
    if vgg:
        case.check("backbone.extra_conv", backbone.get_submodule("extra")(outputs[-1]))


@pytest.mark.parametrize("name", ["pmms-1", "pmms-2", "pmms-3"])
def test_every_step(test_data: Path, name: str) -> None:
    case = Case.load(test_data / "golden", name, PMMs)
    with torch.no_grad():
        _check_backbone(case)
        episode = case.encoded()
        case.check("query_feature", episode.query)
        case.check("support_feature", episode.support[:, 0])
        case.check_stages(episode)
        case.check_prediction(case.method.predict(episode))
        if episode.shots == 1:
            case.check("loss.total", case.method.loss(episode)["query"][None])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pmms-1", "pmms-3"])
def test_gradients(test_data: Path, name: str) -> None:
    Case.load(test_data / "golden", name, PMMs).double().check_gradients()


@pytest.mark.parametrize("name", ["pmms-1", "pmms-3"])
def test_batch_statistics(test_data: Path, name: str) -> None:
    Case.load(test_data / "golden", name, PMMs).check_batch_statistics()
