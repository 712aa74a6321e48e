"""FWB's passes in training, its taps, starts and recipe, and the contract of methods."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fsseg_bench.nn.backbones import build_backbone
from fsseg_methods.fwb import FWB
from tests.support.heads import make
from tests.support.networks import changed_keys, copied_state, noise_images, random_backbone


def test_training_passes() -> None:
    """The query moves the batch-norm statistics once; the supports read them, without gradient."""
    method = make(FWB, random_backbone("resnet18-layer2")).train()
    twin = make(FWB, random_backbone("resnet18-layer2")).train()
    supports, queries = noise_images(3, (33, 33), seed=1), noise_images(2, (33, 33), seed=2)
    before = copied_state(method.backbone)
    support, query = method.encode_training(supports, torch.zeros(3, 33, 33, dtype=torch.uint8), queries)
    wanted_query = twin.encode(queries)
    with torch.no_grad():
        wanted_support = twin.eval().encode(supports)
    for actual, wanted in zip((*support, *query), (*wanted_support, *wanted_query), strict=True):
        assert torch.equal(actual, wanted)
    assert all(level.requires_grad for level in query)
    assert not any(level.requires_grad for level in support)
    moved = changed_keys(before, method.backbone)
    assert moved
    assert all("running" in key or "num_batches" in key for key in moved)
    assert {int(t) for key, t in method.backbone.state_dict().items() if "num_batches" in key} == {1}
    assert method.backbone.training
    method.backbone.set_batch_norm("eval")
    method.encode_training(supports, torch.zeros(3, 33, 33, dtype=torch.uint8), queries)
    assert not any(m.training for m in method.backbone.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize(
    ("name", "levels", "low", "top", "head"),
    [
        ("vgg16", ("pool2", "pool5"), (128, 17, 21), (512, 9, 11), 147_842),
        ("resnet50", ("layer1", "layer4"), (256, 17, 21), (2048, 9, 11), 295_298),
        ("resnet18", ("layer1", "layer4"), (64, 17, 21), (512, 9, 11), 74_114),
        ("resnet18-layer3", ("layer1", "layer3"), (64, 17, 21), (256, 9, 11), 74_114),
        ("resnet18-layer2", ("layer1", "layer2"), (64, 17, 21), (128, 9, 11), 74_114),
    ],
)
def test_taps_and_parameters(
    name: str, levels: tuple[str, str], low: tuple[int, ...], top: tuple[int, ...], head: int
) -> None:
    method = make(FWB, build_backbone(name, FWB.layout)).eval()
    with torch.no_grad():
        features = method.encode(noise_images(1, (65, 81)))
    assert method.levels == levels
    assert [tuple(level.shape) for level in features] == [(1, *low), (1, *top)]
    assert features[0].min() >= 0
    assert features[1].min() < 0
    assert sum(p.numel() for p in method.exit.parameters()) == head


def test_start_and_momentum_of_the_released_models() -> None:
    torch.manual_seed(0)
    vgg, resnet = (make(FWB, build_backbone(name, FWB.layout)) for name in ("vgg16", "resnet18"))
    norms = [[m for m in method.backbone.modules() if isinstance(m, nn.BatchNorm2d)] for method in (vgg, resnet)]
    assert len(norms[0]) == 13
    assert {norm.momentum for norm in norms[0]} == {0.1}
    assert {norm.momentum for norm in norms[1]} == {0.05}
    assert float(resnet.exit.inner.weight.detach().std()) == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)
    assert float(resnet.exit.outer.weight.detach().std()) == pytest.approx(1.0, rel=0.2)
    assert float(vgg.exit.inner.weight.detach().abs().max()) <= (128 * 9) ** -0.5
