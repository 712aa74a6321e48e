"""PFENet's parts against their definitions: prior, vectors, pooling, pyramid, stages, and passes of training."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.engine.build import assemble
from fsseg_bench.nn import attention
from fsseg_bench.nn.backbones import build_backbone
from fsseg_methods import _prior
from fsseg_methods._adaptive import adaptive_average
from fsseg_methods.pfenet import PFENet, bin_sizes

SMALL = "resnet18"


def built(backbone: str = SMALL, **switches: object) -> PFENet:
    method = assemble(PFENet, backbone, "none", switches, 0)[0].eval()
    assert isinstance(method, PFENet)
    return method


def _prior_by_loops(query: Tensor, support: Tensor, weights: Tensor) -> Tensor:
    """(h, w) of one shot: query (C, h, w), support (C, h', w'), weights (h', w')."""
    best = torch.zeros(query.shape[1:], dtype=query.dtype)
    for y in range(query.shape[1]):
        for x in range(query.shape[2]):
            cosines = []
            for v in range(support.shape[1]):
                for u in range(support.shape[2]):
                    own, other = query[:, y, x].tolist(), (support[:, v, u] * weights[v, u]).tolist()
                    dot = sum(a * b for a, b in zip(own, other, strict=True))
                    cosines.append(dot / (math.hypot(*own) * math.hypot(*other) + 1e-7))
            best[y, x] = max(cosines)
    return (best - best.min()) / (best.max() - best.min() + 1e-7)


@pytest.mark.parametrize("looking", [True, False])
def test_the_prior_against_loops(looking: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Soft weights, a full, a partial and an empty mask, maps of unequal sides, a zero cell in the query."""
    monkeypatch.setattr(attention, "may_look", lambda tensor: looking)
    torch.manual_seed(0)
    query = torch.randn(2, 5, 3, 4, dtype=torch.float64).relu()
    query[0, :, 1, 2] = 0
    support = torch.randn(2, 3, 5, 4, 2, dtype=torch.float64).relu()
    weights = torch.rand(2, 3, 4, 2, dtype=torch.float64)
    weights[:, 1] *= weights[:, 1] > 0.5
    weights[:, 2] = 0
    priors = _prior.prior_masks(query, support, weights)
    for b in range(2):
        for k in range(3):
            expected = _prior_by_loops(query[b], support[b, k], weights[b, k])
            torch.testing.assert_close(priors[b, k], expected, atol=1e-9, rtol=0)
    assert float(priors[:, :2].amax()) == pytest.approx(1, abs=1e-5)
    assert not bool(priors[:, 2].any())


def test_masks_on_cells_and_vectors_by_hand() -> None:
    """Corners aligned: of 5 x 5 pixels, 3 x 3 cells have every other one; void is background."""
    masks = torch.zeros(1, 1, 5, 5, dtype=torch.uint8)
    masks[..., 0, :3] = 1
    masks[..., 2, :] = 255
    weights = _prior.cell_weights(masks, torch.empty(1, 1, 7, 3, 3))
    assert weights[0, 0].tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]
    features = torch.arange(9.0).view(1, 1, 1, 3, 3) + 1
    assert float(_prior.support_vectors(features, weights)) == pytest.approx(3 / 2.0005)
    assert float(_prior.support_vectors(features, 0 * weights)) == 0
    assert _prior.cell_weights(masks, torch.empty(3, 3, dtype=torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize("size", [(13, 9), (60, 60), (5, 4), (1, 1), (13, 2)])
def test_adaptive_average_against_pytorch(size: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, 13, 9, dtype=torch.float64, requires_grad=True)
    pooled, expected = adaptive_average(maps, size), F.adaptive_avg_pool2d(maps, size)
    torch.testing.assert_close(pooled, expected)
    weight = torch.randn_like(expected)
    actual_gradient, gradient = (torch.autograd.grad((out * weight).sum(), maps)[0] for out in (pooled, expected))
    torch.testing.assert_close(actual_gradient, gradient)


def test_sides_of_the_pyramid() -> None:
    assert bin_sizes((1.0, 0.5, 0.25, 0.125), (81, 60)) == [(81, 60), (40, 30), (20, 15), (10, 7)]
    assert bin_sizes((60, 30, 15, 8), (53, 41)) == [(60, 60), (30, 30), (15, 15), (8, 8)]
    assert bin_sizes((0.01, 1.5), (7, 7)) == [(1, 1), (1, 1)]


def test_the_merge_is_the_convolution_of_what_it_joins() -> None:
    torch.manual_seed(0)
    merge = _prior.Merge(4)
    query, vector, prior = torch.randn(2, 4, 3, 5), torch.randn(2, 4), torch.rand(2, 1, 3, 5)
    together = torch.cat((query, vector[:, :, None, None].expand(-1, -1, 3, 5), prior), dim=1)
    torch.testing.assert_close(merge(query, vector, prior), merge.joined(together).relu())


@pytest.mark.parametrize(
    ("backbone", "stages", "channels"),
    [
        ("resnet18", ("layer2", "layer3", "layer4"), 384),
        ("resnet50", ("layer2", "layer3", "layer4"), 1536),
        ("resnet18-layer3", ("layer3",), 256),
        ("vgg16", ("pool3", "pool4", "conv5"), 768),
        ("vgg16-pool4", ("pool4",), 512),
    ],
)
def test_which_stages_are_read(backbone: str, stages: tuple[str, ...], channels: int) -> None:
    trunk = build_backbone(backbone, PFENet.layout)
    assert _prior.stages_of(trunk) == stages
    assert _prior.middle_channels(trunk) == channels


@torch.no_grad()
@pytest.mark.parametrize("backbone", [SMALL, "resnet18-layer2"])
def test_the_deep_stage_of_a_support_sees_its_object_alone(backbone: str) -> None:
    method = built(backbone)
    images = torch.randn(2, 3, 49, 65)
    nothing, everything = torch.zeros(2, 49, 65, dtype=torch.uint8), torch.ones(2, 49, 65, dtype=torch.uint8)
    deep = method.encode_support(images, nothing)[1]
    assert torch.equal(deep[0], deep[1])
    middle, whole = method.encode_support(images, everything)
    torch.testing.assert_close(whole, method.encode(images)[1])
    assert not torch.equal(whole[0], whole[1])
    assert torch.equal(middle, method.encode_support(images, nothing)[0])
    assert middle.shape[2:] == whole.shape[2:] == (7, 9)


@torch.no_grad()
def test_each_pass_of_training_has_statistics_of_its_own() -> None:
    """Queries, then the first supports of all episodes, then their second ones."""
    method = built(dropout=0.0)
    method.backbone.set_batch_norm("stats")
    method.train()
    state = {name: value.clone() for name, value in method.state_dict().items()}
    supports, queries = torch.randn(2, 2, 3, 33, 33), torch.randn(2, 3, 33, 33)
    masks = torch.ones(2, 2, 33, 33, dtype=torch.uint8)
    support, query = method.encode_training(supports.flatten(0, 1), masks.flatten(0, 1), queries)
    after = {name: value.clone() for name, value in method.state_dict().items()}
    method.load_state_dict(state)
    for mine, expected in zip(query, method.encode(queries), strict=True):
        assert torch.equal(mine, expected)
    for k in range(2):
        alone = method.encode_support(supports[:, k], masks[:, k])
        for mine, expected in zip(support, alone, strict=True):
            assert torch.equal(mine.unflatten(0, (2, 2))[:, k], expected)
    assert all(torch.equal(value, after[name]) for name, value in method.state_dict().items())
    assert int(after["backbone.bn1.num_batches_tracked"]) == int(state["backbone.bn1.num_batches_tracked"]) + 3


def test_the_heads_drop_channels_only_at_full_width() -> None:
    rates = {
        backbone: sorted(m.p for m in built(backbone).modules() if isinstance(m, torch.nn.Dropout2d))
        for backbone in ("resnet18-layer2", "resnet18")
    }
    assert rates == {"resnet18-layer2": [], "resnet18": [0.1] * 5 + [0.5] * 2}
