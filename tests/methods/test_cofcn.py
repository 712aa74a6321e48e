"""co-FCN: sizes, annotations and head by hand and by loops, two trunks that learn apart, shots."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsseg_bench.engine.build import assemble
from fsseg_bench.engine.optimise import build_optimizer, prepare
from fsseg_bench.method import Episode
from fsseg_bench.nn.backbones import Backbone, build_backbone, folded
from fsseg_bench.protocol.load import load_protocol
from fsseg_methods.cofcn import CoFCN, support_vector, widen
from tests.support.heads import TinyBackbone, make, random_masks
from tests.support.networks import noise_images, shuffle_norms

VGG_PARAMETERS = 14_714_688


def _method(backbone: Backbone | None = None, **switches: float) -> CoFCN:
    """In evaluation mode, with scores that are not all 0 and trunks that have gone apart."""
    torch.manual_seed(0)
    method = make(CoFCN, backbone or TinyBackbone(), **switches).eval()
    with torch.no_grad():
        for parameter in (*method.score.parameters(), *method.conditioning.parameters()):
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return method


def _episode(method: CoFCN, batch: int, shots: int, size: tuple[int, int] = (40, 32), seed: int = 0) -> Episode:
    masks = random_masks((batch, 1, shots, *size), seed)
    support = method.encode_support(noise_images(batch * shots, size, seed), masks.flatten(0, 2))
    return Episode(
        support=tuple(level.unflatten(0, (batch, 1, shots)) for level in support),
        support_masks=masks,
        query=method.encode(noise_images(batch, size, seed + 1)),
        size=size,
        seeds=tuple(range(batch)),
        query_labels=random_masks((batch, *size), seed + 2),
    )


@pytest.mark.parametrize(("side", "cells"), [(500, 15), (417, 13), (321, 10), (65, 2), (33, 1)])
def test_stage_shapes_of_the_published_network(side: int, cells: int) -> None:
    with torch.device("meta"):
        method = make(CoFCN, build_backbone("vgg16", CoFCN.layout)).eval()
        images, masks = torch.empty(1, 3, side, side), torch.empty(1, side, side, dtype=torch.uint8)
        pool5 = method.backbone(images)
        query = method.encode(images)
        features = method.support_features(images, masks)
        vector, count = method.encode_support(images, masks)
    assert pool5.shape == (1, 512, cells + 6, cells + 6)
    assert query.shape == features.shape == (1, 256, cells, cells)
    assert (vector.shape, count.shape) == ((1, 256), (1, 1))
    assert (method.offset, method.backbone.stride) == (0, 32)
    assert (cells + 1) * 32 >= side  # the crop fits


@pytest.mark.parametrize(
    ("name", "stride", "width"), [("resnet50", 32, 256), ("resnet18-layer3", 16, 256), ("resnet18-layer2", 8, 128)]
)
def test_resnets_keep_the_size_of_their_maps(name: str, stride: int, width: int) -> None:
    for side in (65, 128, 417):
        with torch.device("meta"):
            method = make(CoFCN, build_backbone(name, CoFCN.layout)).eval()
            query = method.encode(torch.empty(1, 3, side, side))
        cells = -(-side // stride)
        assert query.shape == (1, width, cells, cells)
        assert method.offset == method.backbone.stride == stride
        assert method.offset + side <= (cells + 1) * stride  # the crop fits
    assert method.conditioning.conv1.weight.shape == (64, 5, 7, 7)


@pytest.mark.parametrize("name", ["vgg16", "resnet18-layer2"])
def test_the_branches_begin_as_copies(name: str) -> None:
    method = make(CoFCN, build_backbone(name, CoFCN.layout))
    query, support = dict(method.backbone.named_parameters()), dict(method.conditioning.named_parameters())
    own, wide = method.backbone.first_convolution, method.conditioning.first_convolution
    assert query.keys() == support.keys()
    for key, parameter in support.items():
        assert parameter is not query[key]
        assert parameter is wide.weight or torch.equal(parameter, query[key])
    assert torch.equal(wide.weight[:, :3], own.weight)
    for extra in (3, 4):
        torch.testing.assert_close(wide.weight[:, extra], own.weight.mean(dim=1))
    assert (own.in_channels, wide.in_channels) == (3, 5)
    assert wide.padding == own.padding
    assert torch.equal(method.support_fc6.weight, method.query_fc6.weight)
    assert not method.score.weight.any()
    assert not method.score.bias.any()


def test_widened_convolution_by_hand() -> None:
    layer = nn.Conv2d(3, 1, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, 2.0, 6.0]).view(1, 3, 1, 1))
    widen(layer, 2)
    assert layer.weight.flatten().tolist() == [1, 2, 6, 3, 3]
    assert layer(torch.ones(1, 5, 1, 1)).item() == 15


def test_each_side_trains_its_own_trunk() -> None:
    for detached, untouched in (("support", "conditioning"), ("query", "backbone")):
        method = _method()
        episode = _episode(method, 2, 2)
        support = tuple(level.detach() for level in episode.support) if detached == "support" else episode.support
        query = episode.query.detach() if detached == "query" else episode.query
        method.loss(dataclasses.replace(episode, support=support, query=query))["query"].backward()
        reached = {name.partition(".")[0] for name, p in method.named_parameters() if p.grad is not None}
        fc6 = "support_fc6" if detached == "support" else "query_fc6"
        every = {name.partition(".")[0] for name, _ in method.named_parameters()}
        assert every - reached == {untouched, fc6}


def _training_step(method: CoFCN, optimizer: torch.optim.Optimizer) -> None:
    masks = random_masks((2, 1, 1, 65, 65), 0)
    support, query = method.encode_training(noise_images(2), masks.flatten(0, 2), noise_images(2, seed=1))
    episode = Episode(
        support=tuple(level.unflatten(0, (2, 1, 1)) for level in support),
        support_masks=masks,
        query=query,
        size=(65, 65),
        seeds=(0, 1),
        query_labels=random_masks((2, 65, 65), 2),
    )
    optimizer.zero_grad()
    method.loss(episode)["query"].backward()
    optimizer.step()


@pytest.mark.parametrize("freeze", ["stem", "layer2", "all"])
@pytest.mark.parametrize("name", ["resnet18-layer3", pytest.param("vgg16", marks=pytest.mark.slow)])
def test_freezing_leaves_the_annotation_filters_to_learn(name: str, freeze: str, tmp_path: Path) -> None:
    """Else the mask never reaches the network; the pretrained stages of both trunks stay."""
    freeze = {"stem": "conv1", "layer2": "pool2"}.get(freeze, freeze) if name == "vgg16" else freeze
    backbone = build_backbone(name, CoFCN.layout)
    torch.save(backbone.state_dict(), tmp_path / "weights.pth")
    switches = {"width": 8}
    method, _ = assemble(CoFCN, name, str(tmp_path / "weights.pth"), switches, 0)
    recipe = dataclasses.replace(CoFCN.recipe(load_protocol("shapes5i"), 1), freeze=freeze, lr=0.1)
    prepare(method, recipe)
    optimizer = build_optimizer(method, recipe)
    before = {key: p.detach().clone() for key, p in method.named_parameters()}
    for _ in range(2):  # the last layer begins at 0 and hides those before it in the first step
        _training_step(method, optimizer)
    first = method.conditioning.first_convolution.weight
    assert first.grad[:, 3:].any()
    names = {id(p): key for key, p in method.named_parameters()}
    assert (first[:, 3:] != before[names[id(first)]][:, 3:]).any()
    stages = list(backbone.stages)
    held = stages if freeze == "all" else stages[: stages.index(freeze) + 1]
    for trunk, prefix in ((method.backbone, "backbone."), (method.conditioning, "conditioning.")):
        for key, parameter in trunk.named_parameters():
            if trunk.stage_of(key) in held and parameter is not first:
                assert torch.equal(parameter, before[prefix + key]), prefix + key


def test_the_conditioning_trunk_folds() -> None:
    trunk = _method(build_backbone("resnet18-layer2", CoFCN.layout)).conditioning
    shuffle_norms(trunk)
    images = torch.cat((noise_images(), noise_images(seed=1)[:, :2]), dim=1)
    with torch.no_grad():
        expected = trunk.eval()(images)
        torch.testing.assert_close(folded(trunk)(images), expected, atol=1e-5 * expected.abs().max().item(), rtol=0)


def test_annotations_by_hand() -> None:
    method = _method(dilation=3, annotation_value=128)
    mask = torch.tensor([[0, 0, 255, 255, 255, 1, 255]], dtype=torch.uint8)
    negative, positive = (method.annotations(mask[None])[0, :, 0] / 128).tolist()
    assert negative == [1, 1, 1, -1, -1, -1, -1]
    assert positive == [-1, -1, -1, -1, 1, 1, 1]
    plain = (_method(dilation=1, annotation_value=2).annotations(mask[None])[0, :, 0] / 2).tolist()
    assert plain == [[1, 1, -1, -1, -1, -1, -1], [-1, -1, -1, -1, -1, 1, -1]]


def test_default_annotation_is_as_strong_as_the_authors_beside_the_image() -> None:
    std = torch.tensor(TinyBackbone().std)
    assert CoFCN.Switches().annotation_value == pytest.approx(128 / 255 / std.mean().item(), abs=5e-3)


def test_the_mask_steers_the_support_alone() -> None:
    method = _method()
    images, masks = noise_images(1, (40, 32)), torch.zeros(1, 40, 32, dtype=torch.uint8)
    empty, _ = method.encode_support(images, masks)
    void, _ = method.encode_support(images, torch.full_like(masks, 255))
    masks[:, 10:20, 10:20] = 1
    marked, _ = method.encode_support(images, masks)
    assert method.mask_enters_encoder
    assert empty.isfinite().all()
    assert void.isfinite().all()
    assert not torch.equal(empty, marked)
    assert not torch.equal(empty, void)


def _by_loops(method: CoFCN, episode: Episode, images: tuple[Tensor, Tensor]) -> Tensor:
    """Logits of a single episode, from its support and query images, cell by cell."""
    supports, query = images
    collected = []
    for image, mask in zip(supports, episode.support_masks[0, 0], strict=True):
        marked = torch.cat((image, method.annotations(mask[None])[0]))[None]
        trunk = F.relu(method.conditioning.conv(marked))
        layer = method.support_fc6
        features = F.relu(F.conv2d(trunk, layer.weight, layer.bias, padding=3))
        collected.extend(features[0].flatten(1).T)
    vector = torch.stack(collected).mean(dim=0)
    layer = method.query_fc6
    features = F.relu(F.conv2d(F.relu(method.backbone.conv(query)), layer.weight, layer.bias, padding=3))[0]
    scores = torch.zeros(2, *features.shape[1:])
    for y in range(features.shape[1]):
        for x in range(features.shape[2]):
            both = torch.cat((vector, features[:, y, x]))
            hidden = F.relu(method.fc7.weight[:, :, 0, 0] @ both + method.fc7.bias)
            scores[:, y, x] = method.score.weight[:, :, 0, 0] @ hidden + method.score.bias
    triangle = 1 - (torch.arange(16) - 7.5).abs() / 8
    kernel = (triangle[:, None] * triangle).expand(2, 1, -1, -1)
    full = F.conv_transpose2d(scores[None], kernel, stride=8, groups=2)
    return full[..., 8 : 8 + query.shape[2], 8 : 8 + query.shape[3]]


@pytest.mark.parametrize("shots", [1, 2, 3, 4, 5])
def test_logits_against_loops(shots: int) -> None:
    method = _method()
    episode = _episode(method, 1, shots)
    expected = _by_loops(method, episode, (noise_images(shots, (40, 32), 0), noise_images(1, (40, 32), 1)))
    torch.testing.assert_close(method.predict(episode), expected, atol=1e-5, rtol=1e-4)
    loss = F.cross_entropy(expected, episode.query_labels.long(), ignore_index=255)
    torch.testing.assert_close(method.loss(episode)["query"], loss, atol=1e-5, rtol=1e-4)


def test_support_vector_by_hand() -> None:
    means = torch.tensor([[1.0, 0.0], [4.0, 8.0]]).view(1, 1, 2, 2)
    cells = torch.tensor([1.0, 3.0]).view(1, 1, 2, 1)
    masks = torch.zeros(1, 1, 2, 1, 1, dtype=torch.uint8)
    episode = Episode((means, cells), masks, torch.zeros(1), (1, 1), (0,))
    assert support_vector(episode).tolist() == [[13 / 4, 6.0]]


def test_dropout_takes_whole_channels_in_training_alone() -> None:
    method = _method()
    images = noise_images(1, (40, 32))
    usual = method.encode(images)
    assert torch.equal(method.encode(images), usual)
    method.train()
    dropped = method.encode(images)
    kept = dropped.flatten(2).any(dim=2)
    torch.testing.assert_close(dropped, 2 * usual * kept[:, :, None, None])
