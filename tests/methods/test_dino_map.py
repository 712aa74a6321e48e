"""DINO + MAP against naive loops, and against the stored case of Meta's tokens."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fsseg_bench.engine.build import build_method
from fsseg_bench.engine.check import check_method
from fsseg_bench.errors import UserError
from fsseg_bench.method import Episode, Method
from fsseg_bench.registry import card_of
from fsseg_methods._positional import positional_basis
from fsseg_methods.dino_map import DinoMap, prototypes
from tests.support import golden

SMALL = "resnet18-layer2"


def method(backbone: str = SMALL, **switches: Any) -> Method:
    return build_method("dino-map", backbone, "none", **switches).eval()


def episode(model: Method, ways: int = 1, shots: int = 1, seed: int = 0) -> Episode:
    """Noise of 41 x 33 pixels, whose cells no whole number of pixels fills; masks with void."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(ways * shots + 1, 3, 41, 33, generator=generator)
    masks = torch.randint(0, 3, (1, ways, shots, 41, 33), generator=generator, dtype=torch.uint8)
    masks[masks == 2] = 255
    with torch.no_grad():
        features = model.encode(images)
    assert isinstance(features, Tensor)
    support = features[:-1].view(1, ways, shots, *features.shape[1:])
    return Episode(support=support, support_masks=masks, query=features[-1:], size=(41, 33), seeds=(0,))


def share(mask: np.ndarray, i: int, j: int, h: int, w: int) -> float:
    """Of cell (i, j) of h x w that a mask covers, pixel by pixel."""
    H, W = mask.shape
    top, left, tall, wide = i * H / h, j * W / w, H / h, W / w
    total = 0.0
    for y in range(H):
        for x in range(W):
            part = max(0.0, min(top + tall, y + 1) - max(top, y)) * max(0.0, min(left + wide, x + 1) - max(left, x))
            total += part * mask[y, x]
    return total / (tall * wide)


def naive(one: Episode, alpha: float = 20.0) -> np.ndarray:
    """Cosines (N+1, h, w), cell by cell."""
    assert isinstance(one.support, Tensor)
    assert isinstance(one.query, Tensor)
    support, query, masks = one.support[0].double().numpy(), one.query[0].double().numpy(), one.support_masks[0].numpy()
    N, K, C, h, w = support.shape
    sums = np.zeros((N + 1, C))
    for n in range(N):
        for k in range(K):
            for i in range(h):
                for j in range(w):
                    token = support[n, k, :, i, j]
                    token = token / max(np.linalg.norm(token), 1e-12)
                    sums[0] += share(masks[n, k] == 0, i, j, h, w) * token
                    sums[n + 1] += share(masks[n, k] == 1, i, j, h, w) * token
    scores = np.zeros((N + 1, *query.shape[1:]))
    for c in range(N + 1):
        for i in range(query.shape[1]):
            for j in range(query.shape[2]):
                token = query[:, i, j]
                lengths = np.linalg.norm(token) * np.linalg.norm(sums[c])
                scores[c, i, j] = alpha * token @ sums[c] / max(lengths, 1e-12)
    return scores


@pytest.mark.parametrize(("ways", "shots"), [(1, 1), (2, 2)])
def test_scores_equal_naive_loops(ways: int, shots: int) -> None:
    model = method()
    one = episode(model, ways, shots)
    scores = model.predict(one)
    assert isinstance(scores, Tensor)
    assert scores.shape == (1, ways + 1, 6, 5)
    np.testing.assert_allclose(scores[0].numpy(), naive(one), rtol=1e-4, atol=1e-4)


def test_a_threshold_takes_the_backgrounds_place() -> None:
    one = episode(method(), ways=2)
    expected = naive(one, alpha=10.0)
    scores = method(threshold=0.3, alpha=10.0).predict(one)
    assert isinstance(scores, Tensor)
    assert torch.equal(scores[:, 0], torch.full_like(scores[:, 0], 3.0))
    np.testing.assert_allclose(scores[0, 1:].numpy(), expected[1:], rtol=1e-4, atol=1e-4)


def test_directions_are_removed_before_anything_is_averaged() -> None:
    plain, model = method(), method(directions=3)
    one = episode(plain)
    black = torch.tensor([-m / s for m, s in zip(plain.backbone.mean, plain.backbone.std, strict=True)])
    with torch.no_grad():
        empty = plain.encode(black.view(1, 3, 1, 1).expand(1, 3, 41, 33))
    assert isinstance(empty, Tensor)
    u = positional_basis(empty[0], 3).directions

    def without(cells: Tensor) -> Tensor:
        moved = cells.movedim(-3, -1)
        return torch.nn.functional.normalize(moved - moved @ u @ u.mT, dim=-1).movedim(-1, -3)

    assert isinstance(one.support, Tensor)
    assert isinstance(one.query, Tensor)
    expected = naive(dataclasses.replace(one, support=without(one.support), query=without(one.query)))
    scores = model.predict(one)
    assert isinstance(scores, Tensor)
    np.testing.assert_allclose(scores[0].numpy(), expected, rtol=1e-3, atol=1e-3)
    assert not np.allclose(scores[0].numpy(), naive(one), atol=0.1)


@pytest.mark.parametrize(("layer", "stage"), [(-1, "layer2"), (0, "stem"), (-2, "layer1")])
def test_which_layer_is_read(layer: int, stage: str) -> None:
    model = method(layer=layer)
    images = torch.randn(1, 3, 41, 33)
    with torch.no_grad():
        (level,) = model.backbone.levels(images, (stage,))
        torch.testing.assert_close(model.encode(images), level / level.norm(dim=1, keepdim=True), rtol=1e-4, atol=1e-5)


def test_the_final_norm_can_be_left_out() -> None:
    pytest.importorskip("timm", reason="timm is not installed (the extra timm)")
    images = torch.randn(1, 3, 48, 32)
    for norm, layer in ((True, -1), (False, -1), (True, 2)):
        model = method("timm:test_vit", norm=norm, layer=layer)
        torch.nn.init.normal_(model.backbone.network.norm.bias)
        stage = model.backbone.stages[layer]
        read = model.backbone.levels if norm else model.backbone.levels_before_norm
        with torch.no_grad():
            tokens, found = read(images, (stage,))[0], model.encode(images)
        torch.testing.assert_close(found, tokens / tokens.norm(dim=1, keepdim=True), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"layer": 3}, r"layer=3: resnet18-layer2 has 3 stages, 0 to 2 or -1 to -3"),
        ({"threshold": 1.5}, "threshold is 1.5; it must be at least -1 and at most 1"),
        ({"directions": 2, "layer": 0}, "directions are those of the last stage"),
        ({"directions": None, "norm": False}, "directions are those of the last stage"),
    ],
)
def test_switches_that_contradict_each_other(switches: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        method(**switches)


def test_the_contract_on_a_transformer() -> None:
    pytest.importorskip("timm", reason="timm is not installed (the extra timm)")
    checks = check_method(DinoMap, lambda: method("timm:test_vit"), card_of("dino-map"))
    assert not [f"{check.name}: {check.detail}" for check in checks if not check.passed]


@pytest.mark.real_data
def test_the_stored_case(test_data: Path) -> None:
    """Prototypes and scores in double precision from Meta's tokens, of which one in 29 numbers is stored."""
    pytest.importorskip("timm", reason="timm is not installed (the extra timm)")
    case = golden.load(test_data / "golden", "dinov2-1")
    model = method("timm:vit_small_patch14_dinov2:meta")
    state = {}
    for entry in case.info["parameters"]:
        state[f"network.{entry['name']}"] = torch.empty(entry["shape"])
        case.fill(entry, state[f"network.{entry['name']}"])
    model.backbone.load_state_dict(state)
    noise, mask, colour = (torch.from_numpy(case.input(name)) for name in ("noise", "mask", "colour"))
    images = noise + 2 * mask[:, None] * colour.view(1, 3, 1, 1)
    with torch.no_grad():
        features = model.encode(images)
    assert isinstance(features, Tensor)
    masks = mask[0].to(torch.uint8).view(1, 1, 1, 98, 126)
    support = features[:1].view(1, 1, 1, *features.shape[1:])
    one = Episode(support=support, support_masks=masks, query=features[1:], size=(98, 126), seeds=(0,))
    case.check("map.prototypes", prototypes(support, masks)[0])
    scores = model.predict(one)
    assert isinstance(scores, Tensor)
    case.check("map.scores", scores[0])
