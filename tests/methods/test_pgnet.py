"""PGNet: attention against loops, its pyramid, switches, the contract, and what is trained."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsseg_bench.engine.build import assemble
from fsseg_bench.method import Episode
from fsseg_methods.pgnet import GraphAttention, PGNet, pooled
from tests.support.heads import TinyBackbone, make, random_episode


def method(**switches: Any) -> PGNet:
    """A head of 6 channels in evaluation mode."""
    torch.manual_seed(0)
    return make(PGNet, TinyBackbone(), **switches).eval()


def maps_of(shots: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """A query, supports and their foreground cells, in float64; every support has some."""
    torch.manual_seed(1)
    query, support = torch.rand(2, 6, 5, 7).double(), torch.rand(2, shots, 6, 3, 4).double()
    cells = torch.rand(2, shots, 3, 4) < 0.4
    cells[:, :, 0, 0] = True
    return query, support, cells


def linear(layer: nn.Module, vector: Tensor) -> Tensor:
    assert isinstance(layer, nn.Linear)
    return layer.weight @ vector + layer.bias


def _unit_by_loops(
    unit: GraphAttention, query: list[Tensor], own: list[Tensor], nodes: list[Tensor], values: list[Tensor]
) -> list[Tensor]:
    outputs = []
    for q, g in zip(query, own, strict=True):
        scores = [float(linear(unit.phi, q) @ linear(unit.theta, node)) for node in nodes]
        powers = [math.exp(score - max(scores)) for score in scores]
        read = sum(p / sum(powers) * v for p, v in zip(powers, values, strict=True))
        outputs.append(linear(unit.fuse.linear, torch.cat((read, g))).clamp_min(0))
    return outputs


def _by_loops(built: PGNet, query: Tensor, support: Tensor, cells: Tensor) -> list[Tensor]:
    """Each unit's map of one episode, upsampled: query (C, h, w), support (K, C, h', w'), cells (K, h', w')."""
    nodes = [support[k, :, y, x] for k, y, x in cells.nonzero().tolist()]
    values = [linear(built.value, node).clamp_min(0) for node in nodes]
    h, w = query.shape[1:]
    own = torch.stack([linear(built.value, query[:, y, x]).clamp_min(0) for y in range(h) for x in range(w)])
    own = own.T.reshape(-1, h, w)
    maps = []
    for unit, grid in zip(built.units, built.switches.grids, strict=True):
        regions = (max(1, h // grid), max(1, w // grid))
        small = [F.adaptive_avg_pool2d(m[None], regions)[0].flatten(1).T for m in (query, own)]
        out = torch.stack(_unit_by_loops(unit, list(small[0]), list(small[1]), nodes, values))
        out = out.T.reshape(1, -1, *regions)
        maps.append(F.interpolate(out, size=(h, w), mode="bilinear")[0])
    mean = sum(values) / len(values)
    assert built.equal is not None
    equal = [
        linear(built.equal.linear, torch.cat((mean, own[:, y, x]))).clamp_min(0) for y in range(h) for x in range(w)
    ]
    return [*maps, torch.stack(equal).T.reshape(-1, h, w)]


@pytest.mark.parametrize("shots", [1, 2, 5])
@torch.no_grad()
def test_pyramid_against_loops(shots: int) -> None:
    built = method().double()
    query, support, cells = maps_of(shots)
    actual = built.pyramid(query, support, cells)
    for b in range(2):
        torch.testing.assert_close(actual[b], sum(_by_loops(built, query[b], support[b], cells[b])))


@torch.no_grad()
def test_concatenation() -> None:
    built = method(fusion="concat", grids=(1, 3)).double()
    query, support, cells = maps_of()
    assert built.merge is not None
    joined = torch.cat(_by_loops(built, query[0], support[0], cells[0]))
    expected = F.conv2d(joined[None], built.merge.weight, built.merge.bias)[0].clamp_min(0)
    torch.testing.assert_close(built.pyramid(query, support, cells)[0], expected)


@torch.no_grad()
def test_without_a_mask_background_cells_are_zero_nodes() -> None:
    built = method(masked=False, global_unit=False, grids=(1,)).double()
    query, support, cells = maps_of()
    nodes = list((support * cells[:, :, None])[0].permute(0, 2, 3, 1).reshape(-1, 6))
    values = [linear(built.value, node).clamp_min(0) for node in nodes]
    tokens = list(query[0].flatten(1).T)
    own = [linear(built.value, q).clamp_min(0) for q in tokens]
    expected = torch.stack(_unit_by_loops(built.units[0], tokens, own, nodes, values))
    torch.testing.assert_close(built.pyramid(query, support, cells)[0], expected.T.reshape(6, 5, 7))


@torch.no_grad()
def test_hand_computed_unit() -> None:
    """One channel, nodes 0 and log 3, query 1, all maps the identity: weights 1/4 and 3/4."""
    unit = GraphAttention(1)
    for parameter in unit.parameters():
        parameter.fill_(1.0 if parameter.ndim == 2 else 0.0)
    nodes = torch.tensor([[[0.0], [math.log(3)], [100.0]]])
    real = torch.tensor([[True, True, False]])
    out = unit(torch.ones(1, 1, 1), torch.full((1, 1, 1), 10.0), nodes, torch.tensor([[[4.0], [8.0], [1e3]]]), real)
    assert out.item() == pytest.approx(0.25 * 4 + 0.75 * 8 + 10)


@pytest.mark.parametrize("size", [(41, 41), (20, 20), (10, 10), (1, 1), (7, 3)])
def test_pooled(size: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, 41, 41)
    torch.testing.assert_close(pooled(maps, size), F.adaptive_avg_pool2d(maps, size))


def test_stages_at_the_authors_size() -> None:
    built = assemble(PGNet, "resnet50", "none", {}, 0)[0].eval()
    assert isinstance(built, PGNet)
    shapes = []
    for unit in built.units:
        unit.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape)))
    with torch.no_grad():
        features = built.encode(torch.randn(1, 3, 321, 321))
        assert features.shape == (1, 256, 41, 41)
        assert float(features.min()) == 0
        masks = torch.zeros(1, 1, 1, 321, 321, dtype=torch.uint8)
        masks[..., 100:200, 100:200] = 1
        logits = built.predict(Episode(features[:, None, None], masks, features, (321, 321), (0,)))
    assert shapes == [(1, 41 * 41, 256), (1, 20 * 20, 256), (1, 10 * 10, 256)]
    assert logits.shape == (1, 2, 41, 41)


def test_residual_blocks() -> None:
    built, episode = method(), random_episode()
    features = torch.randn(2, 6, 5, 4)
    built.pyramid = lambda *given: features
    expected = features
    for block in built.blocks:
        inner = F.conv2d(expected, block[0].weight, block[0].bias, padding=1).clamp_min(0)
        expected = (expected + F.conv2d(inner, block[2].weight, block[2].bias, padding=1)).clamp_min(0)
    torch.testing.assert_close(built.predict(episode), built.decode(expected))


def test_empty_void_and_tiny_masks() -> None:
    built, episode = method(), random_episode(3, 1, 1)
    masks = torch.zeros_like(episode.support_masks)
    masks[1] = 255
    masks[2, 0, 0, 1, 1] = 1  # between the pixels that the cells take: kept where it lies
    logits = built.predict(dataclasses.replace(episode, support_masks=masks))
    assert logits.isfinite().all()
    assert isinstance(episode.support, Tensor)
    assert isinstance(episode.query, Tensor)
    seen: list[Tensor] = []
    built.pyramid = lambda query, support, cells: seen.append(cells) or query
    built.predict(dataclasses.replace(episode, support_masks=masks))
    assert seen[0].flatten(1).sum(dim=1).tolist() == [0, 0, 1]
    assert bool(seen[0][2, 0, 0, 0])
