"""The contract tests find each broken contract, and pass what keeps it."""

from __future__ import annotations

import pytest
import torch

from fsseg_bench.engine.check import check_method
from fsseg_bench.method import Episode, Method, feature_map
from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.nn.losses import segmentation_loss
from fsseg_bench.nn.prototypes import cosine_scores, support_prototypes, unit_cells
from fsseg_bench.recipe import Recipe


class Good(Method):
    def predict(self, episode: Episode):
        prototypes = support_prototypes(feature_map(episode.support), episode.support_masks)
        return cosine_scores(unit_cells(feature_map(episode.query)).cells, prototypes)

    def loss(self, episode: Episode):
        return {"query": segmentation_loss(self.predict(episode), episode.query_labels)}

    @classmethod
    def recipe(cls, protocol, shot):
        return Recipe(iterations=1, batch=1, lr=0.1)


class WrongShape(Good):
    def predict(self, episode):
        return super().predict(episode)[:, :2]


class Random(Good):
    def predict(self, episode):
        logits = super().predict(episode)
        return logits + torch.randn_like(logits)


class LooksAtTheBatch(Good):
    def predict(self, episode):
        logits = super().predict(episode)
        return logits * logits.mean()


class BatchDependentEncoder(Good):
    def encode(self, images):
        return self.backbone(images - images.mean(dim=0))


class InPlace(Good):
    def predict(self, episode):
        episode.query.mul_(2)
        return super().predict(episode)


class NotFinite(Good):
    def predict(self, episode):
        return super().predict(episode) / (episode.support_masks == 1).sum()


class Detached(Good):
    def __init__(self, backbone):
        super().__init__(backbone)
        self.unused = torch.nn.Linear(2, 2)


class Raises(Good):
    def loss(self, episode):
        raise KeyError("nothing")


class BadRecipe(Good):
    @classmethod
    def recipe(cls, protocol, shot):
        return Recipe(iterations=1, batch=0, lr=0.1)


def failures(cls: type[Method]) -> set[str]:
    checks = check_method(cls, lambda: cls(build_backbone("resnet18-layer2")))
    return {check.name.partition(":")[0] for check in checks if not check.passed}


def test_a_good_method_passes() -> None:
    assert failures(Good) == set()


@pytest.mark.slow
def test_each_broken_contract_is_found() -> None:
    assert "logits" in failures(WrongShape)
    assert "evaluation is deterministic" in failures(Random)
    assert "batch equals one by one" in failures(LooksAtTheBatch)
    assert "features depend on the image alone" in failures(BatchDependentEncoder)
    assert "inputs are left as they were" in failures(InPlace)
    assert "empty support mask" in failures(NotFinite)
    assert failures(Detached) == {"loss"}
    assert failures(Raises) == {"loss"}
    assert failures(BadRecipe) == {"recipe"}
