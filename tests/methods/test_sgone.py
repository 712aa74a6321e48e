"""SG-One: sizes, both branches and the similarity by hand and by loops, fusion of shots, rates of its parts."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsseg_bench.engine.optimise import build_optimizer, prepare
from fsseg_bench.method import Episode
from fsseg_bench.nn.backbones import Backbone, build_backbone
from fsseg_bench.protocol.load import load_protocol
from fsseg_methods.sgone import SGOne, similarity, united
from tests.support.heads import TinyBackbone, make, random_masks
from tests.support.networks import noise_images

SIZE = (40, 32)


def _method(backbone: Backbone | None = None, **switches: Any) -> SGOne:
    torch.manual_seed(0)
    method = make(SGOne, backbone or TinyBackbone(), **switches).eval()
    with torch.no_grad():
        for layer in (method.guidance, *method.side, method.fuse, method.exit):
            layer.bias.uniform_(-0.2, 0.2)
    return method


def _episode(method: SGOne, batch: int, shots: int, size: tuple[int, int] = SIZE) -> Episode:
    masks = random_masks((batch, 1, shots, *size), 0)
    support = method.encode(noise_images(batch * shots, size, 0))
    return Episode(
        support=tuple(level.unflatten(0, (batch, 1, shots)) for level in support),
        support_masks=masks,
        query=method.encode(noise_images(batch, size, 1)),
        size=size,
        seeds=tuple(range(batch)),
        query_labels=random_masks((batch, *size), 2),
    )


# --- sizes ---


@pytest.mark.parametrize(("side", "cells"), [(321, 41), (500, 63), (417, 53)])
def test_stage_shapes_of_the_published_network(side: int, cells: int) -> None:
    with torch.device("meta"):
        method = make(SGOne, build_backbone("vgg16", SGOne.layout)).eval()
        images = torch.empty(1, 3, side, side)
        levels = method.trunk(images)
        steps = method.side_path(levels)
        branch, guidance = method.encode(images)
        logits = method.head(branch, torch.empty(1, 1, cells, cells))
    assert [tuple(level.shape) for level in levels] == [(1, c, cells, cells) for c in (256, 512, 512)]
    assert {tuple(step.shape) for step in (*steps, branch)} == {(1, 128, cells, cells)}
    assert guidance.shape == (1, 512, cells, cells)
    assert logits.shape == (1, 2, cells + 2, cells + 2)


@pytest.mark.parametrize(
    ("name", "levels", "width", "guidance"),
    [
        ("vgg16", ("pool3", "pool4", "pool5"), 128, 512),
        ("resnet50", ("layer2", "layer3", "layer4"), 128, 512),
        ("resnet18-layer3", ("layer2", "layer3"), 128, 256),
        ("resnet18-layer2", ("layer2",), 128, 128),
    ],
)
def test_levels_that_exist(name: str, levels: tuple[str, ...], width: int, guidance: int) -> None:
    with torch.device("meta"):
        method = make(SGOne, build_backbone(name, SGOne.layout)).eval()
        branch, guide = method.encode(torch.empty(1, 3, 65, 65))
    assert method.levels == levels
    assert (branch.shape, guide.shape) == ((1, width, 9, 9), (1, guidance, 9, 9))


def test_initial_weights_of_both_branches_are_xavier() -> None:
    method = make(SGOne, build_backbone("resnet18-layer3"))
    for layer in (method.guidance, *method.side):
        bound = (6 / (9 * (layer.in_channels + layer.out_channels))) ** 0.5
        assert 0.95 * bound < layer.weight.abs().max() <= bound
        assert not layer.bias.any()


def test_initial_weights_after_the_product_are_pytorch_s() -> None:
    """Uniform to 1/sqrt(inputs), weights and biases: the authors initialise neither convolution."""
    method = make(SGOne, build_backbone("resnet18-layer3"))
    for layer, area in ((method.fuse, 9), (method.exit, 1)):
        bound = (area * layer.in_channels) ** -0.5
        assert 0.95 * bound < layer.weight.abs().max() <= bound
        assert 0 < layer.bias.abs().max() <= bound


# --- the published way, with features at image size ---


def _official(method: SGOne, supports: Tensor, masks: Tensor, query: Tensor) -> list[Tensor]:
    """Logits (1, 2, h, w) of each shot, and of their mean vector, of one episode."""

    def convolved(layer: nn.Conv2d, features: Tensor) -> Tensor:
        return F.conv2d(features, layer.weight, layer.bias, padding=layer.padding)

    def guidance(images: Tensor) -> Tensor:
        return convolved(method.guidance, F.relu(method.backbone(images)))

    vectors = []
    for image, mask in zip(supports, masks, strict=True):
        full = F.interpolate(guidance(image[None]), size=mask.shape, mode="bilinear")[0]
        vectors.append((full * mask).sum(dim=(1, 2)) / mask.sum())
    (side,) = method.side
    branch = convolved(side, F.relu(method.backbone(query)))
    results = []
    for vector in (*vectors, torch.stack(vectors).mean(dim=0)):
        cosine = F.cosine_similarity(guidance(query), vector[None, :, None, None], dim=1)[:, None]
        results.append(convolved(method.exit, F.relu(convolved(method.fuse, branch * cosine))))
    return results


@pytest.mark.parametrize("shots", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("padding", [0, 1])
def test_logits_are_the_published_ones(shots: int, padding: int) -> None:
    method = _method(exit_padding=padding)
    episode = _episode(method, 1, shots)
    shown = (episode.support_masks[0, 0] == 1).float()
    expected = _official(method, noise_images(shots, SIZE, 0), shown, noise_images(1, SIZE, 1))[-1]
    assert expected.shape == (1, 2, 5 + 2 * padding, 4 + 2 * padding)
    torch.testing.assert_close(method.predict(episode), expected, atol=1e-5, rtol=1e-4)
    full = F.interpolate(expected, size=SIZE, mode="bilinear")
    loss = F.cross_entropy(full, episode.query_labels.long(), ignore_index=255)
    torch.testing.assert_close(method.loss(episode)["query"], loss, atol=1e-5, rtol=1e-4)


def test_void_in_fg() -> None:
    method = _method(void_in_fg=True)
    episode = _episode(method, 1, 2)
    shown = (episode.support_masks[0, 0] > 0).float()
    expected = _official(method, noise_images(2, SIZE, 0), shown, noise_images(1, SIZE, 1))[-1]
    torch.testing.assert_close(method.predict(episode), expected, atol=1e-5, rtol=1e-4)
    full = F.interpolate(expected, size=SIZE, mode="bilinear")
    loss = F.cross_entropy(full, (episode.query_labels > 0).long())
    torch.testing.assert_close(method.loss(episode)["query"], loss, atol=1e-5, rtol=1e-4)


def test_max_fusion_is_the_union_of_the_shots() -> None:
    method = _method(fusion="max")
    episode = _episode(method, 1, 5)
    shown = (episode.support_masks[0, 0] == 1).float()
    every = _official(method, noise_images(5, SIZE, 0), shown, noise_images(1, SIZE, 1))[:-1]
    labels = [F.interpolate(one, size=SIZE, mode="bilinear").argmax(dim=1) for one in every]
    union = torch.stack(labels).amax(dim=0)
    logits = method.predict(episode)
    assert logits.shape == (1, 2, *SIZE)
    assert torch.equal(logits.argmax(dim=1), union)
    single = _episode(method, 1, 1)
    assert torch.equal(method.predict(single), _method().predict(single))


# --- by hand ---


def test_united_by_hand() -> None:
    # three shots, two pixels; foreground less background: 1, -1, 3 and -2, -5, 0
    logits = torch.tensor([[[1.0, 2.0], [2.0, 0.0]], [[4.0, 5.0], [3.0, 0.0]], [[0.0, 7.0], [3.0, 7.0]]])
    result = united(logits.view(1, 3, 2, 1, 2))
    assert result.view(2, 2).tolist() == [[0.0, 7.0], [3.0, 7.0]]
    assert result.argmax(dim=1).flatten().tolist() == [1, 0]  # a draw is background


def test_similarity_by_hand() -> None:
    guidance = torch.tensor([[3.0, 0.0, -8.0, 0.0], [4.0, 2.0, 6.0, 0.0]]).view(1, 2, 2, 2)
    alike = similarity(guidance, torch.tensor([[6.0, 8.0]]))
    torch.testing.assert_close(alike.flatten(), torch.tensor([1.0, 0.8, 0.0, 0.0]))
    assert not similarity(guidance, torch.zeros(1, 2)).any()


def test_side_path_by_hand() -> None:
    method = _method(build_backbone("resnet18-layer3"), width=1)
    with torch.no_grad():
        for layer, weights in zip(method.side, ((-1.0, -1.0), (5.0, -2.0)), strict=True):
            layer.weight.zero_()
            layer.bias.zero_()
            layer.weight[0, 0, 1, 1], layer.weight[0, 1, 1, 1] = weights
        levels = (torch.full((1, 128, 2, 2), 3.0), torch.full((1, 256, 2, 2), 4.0))
        first, last = method.side_path(levels)
    assert first.unique().tolist() == [0.0]  # ReLU of -6
    assert last.unique().tolist() == [-8.0]  # 5 * 0 - 2 * 4, no ReLU


def test_padding_rings_the_logits_with_the_bias() -> None:
    method = _method()
    logits = method.predict(_episode(method, 1, 1))[0]
    ring = torch.ones(logits.shape[1:], dtype=torch.bool)
    ring[1:-1, 1:-1] = False
    assert torch.equal(logits[:, ring], method.exit.bias[:, None].expand(-1, int(ring.sum())))
    zoomed_out = _method(exit_padding=0).predict(_episode(method, 1, 1))[0]
    torch.testing.assert_close(logits[:, 1:-1, 1:-1], zoomed_out)


# --- batches, masks, gradients ---


@pytest.mark.parametrize("value", [0, 255])
def test_a_support_that_shows_nothing(value: int) -> None:
    method = _method()
    episode = _episode(method, 2, 2)
    nothing = dataclasses.replace(episode, support_masks=torch.full_like(episode.support_masks, value))
    assert not method.vectors(nothing).any()
    loss = method.loss(nothing)["query"]
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())


def test_gradients_reach_all_parts_through_query_and_support() -> None:
    for detached in ("query", "support"):
        method = _method()
        episode = _episode(method, 2, 2)
        own = tuple(level.detach() for level in getattr(episode, detached))
        method.loss(dataclasses.replace(episode, **{detached: own}))["query"].backward()
        reached = {name.partition(".")[0] for name, p in method.named_parameters() if p.grad is not None}
        parts = {"backbone", "guidance", "side", "fuse", "exit"}
        assert reached == (parts - {"side"} if detached == "query" else parts)


def test_rates_of_the_parts() -> None:
    recipe = SGOne.recipe(load_protocol("pascal5i"), 1)
    method = make(SGOne, build_backbone("resnet18-layer3"))
    prepare(method, recipe)
    rates = {id(p): group["lr"] for group in build_optimizer(method, recipe).param_groups for p in group["params"]}
    by_name = {name: rates.get(id(p)) for name, p in method.named_parameters()}
    assert by_name["guidance.weight"] == pytest.approx(1e-4)
    assert by_name["guidance.bias"] == pytest.approx(2e-4)
    for part in ("side.0", "side.1", "fuse", "exit"):
        assert by_name[f"{part}.weight"] == pytest.approx(1e-5)
        assert by_name[f"{part}.bias"] == pytest.approx(2e-5)
    assert by_name["backbone.conv1.weight"] == pytest.approx(1e-5)
