"""PANet against outputs of the authors' code: features, prototypes, scores, losses, gradients."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fsseg_bench.method import Episode
from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.nn.bilinear import resize
from fsseg_bench.nn.losses import image_losses
from fsseg_bench.nn.prototypes import masked_average
from fsseg_methods.panet import PANet, query_prototypes, support_scores
from tests.support import golden
from tests.support.golden import Golden
from tests.support.heads import make

pytestmark = pytest.mark.real_data


class Case(NamedTuple):
    golden: Golden
    method: PANet
    parameters: dict[str, Tensor]
    """By their names in the case."""
    support_images: Tensor
    query_images: Tensor
    support_masks: Tensor
    query_labels: Tensor

    def episode(self, features: Tensor) -> Episode:
        """Features of all images, supports (way, shot, episode) first, as an episode."""
        B, N, K = self.support_masks.shape[:3]
        support = features[: N * K * B].unflatten(0, (N, K, B)).permute(2, 0, 1, 3, 4, 5)
        height, width = self.query_labels.shape[1:]
        query = features[N * K * B :]
        return Episode(support, self.support_masks, query, (height, width), tuple(range(B)), self.query_labels)

    def images(self) -> Tensor:
        """Supports (way, shot, episode), then queries, as the authors' code orders them."""
        return torch.cat((self.support_images.flatten(0, 2), self.query_images))

    def check(self, name: str, actual: Tensor) -> None:
        self.golden.check(name, actual)


@pytest.fixture(scope="module", params=["panet-1", "panet-2", "panet-3"])
def case(request: pytest.FixtureRequest, test_data: Path) -> Case:
    return load(test_data, request.param)


def load(test_data: Path, name: str) -> Case:
    """The case with its method, filled."""
    data = golden.load(test_data / "golden", name)
    method = make(PANet, build_backbone("vgg16"))
    convolutions = [m for m in method.backbone.modules() if isinstance(m, nn.Conv2d)]
    parameters = data.fill_all([p for m in convolutions for p in (m.weight, m.bias)])
    mask = data.input("support_mask")
    colour = 2 * data.input("colour")
    support = data.input("support_noise") + mask[:, :, :, None] * colour[:, None, None, :, None, None]
    other = np.zeros_like(mask)
    if any(entry["name"] == "support_other" for entry in data.info["inputs"]):
        other = data.input("support_other") * (1 - mask)
        support += other[:, :, :, None] * np.roll(colour, -1, axis=0)[:, None, None, :, None, None]
    query_mask = data.input("query_mask")
    labels = np.zeros(query_mask.shape[1:], np.uint8)
    for way, shown in enumerate(query_mask):
        labels[shown == 1] = way + 1
    query = data.input("query_noise") + np.concatenate((np.zeros((1, 3)), colour))[labels].transpose(0, 3, 1, 2)
    support_labels = np.where(other == 1, 255, mask).astype(np.uint8)
    if "void" in data.info["construction"]:
        support_labels[_edges(mask)] = 255
        labels[_edges(labels)] = 255
    return Case(
        data,
        method,
        parameters,
        torch.from_numpy(support),
        torch.from_numpy(query.astype(np.float32)),
        torch.from_numpy(support_labels).permute(2, 0, 1, 3, 4),
        torch.from_numpy(labels),
    )


def _edges(values: np.ndarray) -> np.ndarray:
    """Pixels whose right or lower neighbour has another value."""
    edge = np.zeros(values.shape, bool)
    edge[..., :, :-1] |= values[..., :, :-1] != values[..., :, 1:]
    edge[..., :-1, :] |= values[..., :-1, :] != values[..., 1:, :]
    return edge


def test_features(case: Case) -> None:
    stages = case.method.backbone.stages
    with torch.no_grad():
        outputs = case.method.backbone.levels(case.images(), stages)
    assert len(stages) == 9
    for stage, output in zip(stages, outputs, strict=True):
        case.check(f"features.{stage}", output)


def test_head_and_losses(case: Case) -> None:
    with torch.no_grad():
        episode = case.episode(case.method.encode(case.images()))
        scores = case.method.predict(episode)
        own, _ = query_prototypes(episode.query, scores)
        losses = case.method.loss(episode)
    features, masks = episode.support, episode.support_masks
    for name, label in (("support_fg_prototype", 1), ("support_bg_prototype", 0)):
        means = masked_average(features.flatten(0, 2), masks.flatten(0, 2)[:, None] == label)
        case.check(name, means.view(*features.shape[:4]))
    case.check("prototypes", case.method.prototypes(episode))
    case.check("query_scores", scores)
    case.check("logits", resize(scores, episode.size))
    case.check("query_prototypes", own)
    case.check("support_scores", support_scores(episode.support, own, 20.0))
    case.check("query_loss_per_episode", image_losses(scores, case.query_labels))
    case.check("align_loss_per_episode", case.method.alignment_loss(episode, scores))
    case.check("query_loss", losses["query"])
    case.check("align_loss", losses["align"])
    case.check("total_loss", losses["query"] + losses["align"])


def test_gradients(case: Case) -> None:
    """In float64: in float32 the processor decides on which side of a ReLU a feature near 0 falls."""
    method = deepcopy(case.method).double()
    doubled = case._replace(
        method=method, support_images=case.support_images.double(), query_images=case.query_images.double()
    )
    sum(method.loss(doubled.episode(method.encode(doubled.images()))).values()).backward()
    convolutions = [m for m in method.backbone.modules() if isinstance(m, nn.Conv2d)]
    parameters = (p for m in convolutions for p in (m.weight, m.bias))
    case.golden.check_gradients(dict(zip(case.parameters, parameters, strict=True)), 3)
