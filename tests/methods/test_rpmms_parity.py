"""RPMMs against outputs of the authors' code: features, every step of every stage, ensembles, losses, gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fsseg_methods.rpmms import RPMMs
from tests.support.mixture_cases import Case

pytestmark = pytest.mark.real_data


@pytest.mark.parametrize("name", ["rpmms-1", "rpmms-2", "rpmms-3"])
def test_every_step(test_data: Path, name: str) -> None:
    case = Case.load(test_data / "golden", name, RPMMs)
    with torch.no_grad():
        middle, last = case.method.backbone.levels(case.images("query_rgb"), ("layer2", "layer3"))
        case.check("backbone.layer2", middle)
        case.check("backbone.layer3", last.relu())
        episode = case.encoded()
        case.check("query_feature", episode.query)
        case.check("support_feature", episode.support[:, 0])
        case.check_stages(episode)
        prediction = case.method.predict(episode)
        case.check_prediction(prediction)
        if episode.shots == 5:
            case.check("ensemble", prediction)
            return
        losses = case.method.loss(episode)
        for place, count in enumerate((1, 3, 6), start=1):
            case.check(f"loss.k{count}", losses[f"stage{place}"][None])
        case.check("loss.total", torch.stack(list(losses.values())).sum()[None])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rpmms-1", "rpmms-3"])
def test_gradients(test_data: Path, name: str) -> None:
    Case.load(test_data / "golden", name, RPMMs).double().check_gradients()


def test_batch_statistics(test_data: Path) -> None:
    Case.load(test_data / "golden", "rpmms-1", RPMMs).check_batch_statistics()
