"""DAN's attention and decoder by hand, against loops over nodes and against plain PyTorch."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsseg_methods.dan import (
    FusionDecoder,
    RefinementFusion,
    SignRule,
    rank_attention,
    rank_factors,
    without_sign,
)


def test_ranks_in_descending_order_earlier_first() -> None:
    importance = torch.tensor([[0.5, 2.0, 0.5, -1.0, 7.0], [1.0, 1.0, 1.0, 1.0, 1.0]], requires_grad=True)
    real = torch.tensor([[True, True, True, True, False], [True, False, True, True, True]])
    factors = rank_factors(importance, real)
    assert not factors.requires_grad
    torch.testing.assert_close(5 * factors, torch.tensor([[2.0, 1.0, 3.0, 4.0, 5.0], [1.0, 5.0, 2.0, 3.0, 4.0]]))


def test_signs_by_hand() -> None:
    scores, real = torch.tensor([[[4.0, -2.0, 9.0], [2.0, -3.0, -9.0]]]), torch.tensor([[True, True, False]])
    assert without_sign(scores, real, "relu").tolist() == [[[4, 0, 9], [2, 0, 0]]]
    assert without_sign(scores, real, "shift")[..., :2].tolist() == [[[6, 0], [5, 0]]]
    assert without_sign(scores, ~(real | True), "shift").isfinite().all()


def _random(batch: int = 3, shots: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    query = torch.randn(batch, 7, 3, 4, generator=generator, dtype=torch.float64)
    support = torch.randn(batch, shots, 7, 2, 5, generator=generator, dtype=torch.float64)
    cells = torch.rand(batch, shots, 2, 5, generator=generator) < 0.5
    cells[1] = False
    cells[1, 0, 1, 3] = True  # a single node
    return query, support, cells


@pytest.mark.parametrize("rule", ["relu", "shift", "signed"])
@pytest.mark.parametrize("rerank", [True, False])
def test_against_loops(rule: SignRule, rerank: bool) -> None:
    query, support, cells = _random()
    actual = rank_attention(query, support, cells, keys=3, rerank=rerank, rule=rule)
    assert actual.shape == (3, 4, 3, 4)
    for b in range(3):
        nodes = [
            support[b, k, :, y, x] for k in range(2) for y in range(2) for x in range(5) if bool(cells[b, k, y, x])
        ]
        places = [(y, x) for y in range(3) for x in range(4)]
        table = [[float(query[b, :3, y, x] @ node[:3]) / math.sqrt(3) for node in nodes] for y, x in places]
        for (y, x), row in zip(places, _reference(table, rerank, rule), strict=True):
            powers = [math.exp(a) for a in row]
            expected = sum(p * node[3:] for p, node in zip(powers, nodes, strict=True)) / sum(powers)
            torch.testing.assert_close(actual[b, :, y, x], expected)


def _reference(table: list[list[float]], rerank: bool, rule: SignRule) -> list[list[float]]:
    """Scores, one row a query cell, weighed as the specification says; plain Python."""
    if rule == "relu":
        table = [[max(a, 0.0) for a in row] for row in table]
    elif rule == "shift":
        table = [[a - min(row) for a in row] for row in table]
    if not rerank:
        return table
    count = len(table[0])
    means = [sum(row[j] for row in table) / len(table) for j in range(count)]
    rank = [1 + sum(other > mean for other in means) for mean in means]
    return [[a * r / (count + 1) for a, r in zip(row, rank, strict=True)] for row in table]


def test_an_episode_reads_the_same_bits_in_every_batch() -> None:
    query, support, cells = (t.float() if t.is_floating_point() else t for t in _random(4, 3))
    together = rank_attention(query, support, cells, keys=3)
    alone = [rank_attention(query[i : i + 1], support[i : i + 1], cells[i : i + 1], keys=3) for i in range(4)]
    assert torch.equal(together, torch.cat(alone))


def test_no_nodes_read_nothing_and_the_order_of_shots_does_not_matter() -> None:
    query, support, cells = _random()
    assert not rank_attention(query, support, torch.zeros_like(cells), keys=3).any()
    turned = rank_attention(query, support.flip(1), cells.flip(1), keys=3)
    torch.testing.assert_close(turned, rank_attention(query, support, cells, keys=3))


def _conv(layer: nn.Module, inputs: Tensor) -> Tensor:
    assert isinstance(layer, nn.Conv2d)
    return F.conv2d(inputs, layer.weight, layer.bias, padding=layer.kernel_size[0] // 2)


def _fused(step: RefinementFusion, coarse: Tensor, fine: Tensor) -> Tensor:
    enlarged = F.interpolate(coarse, size=fine.shape[2:], mode="bilinear", align_corners=False)
    lateral = F.relu(_conv(step.lateral[0], fine))
    fused = F.relu(_conv(step.fuse[0], torch.cat((enlarged, lateral), dim=1)))
    return fused + _conv(step.refine[1], F.relu(_conv(step.refine[0][0], fused)))


def test_one_step() -> None:
    torch.manual_seed(0)
    step = RefinementFusion(5, 3, 4).double()
    coarse, fine = torch.randn(2, 5, 3, 4, dtype=torch.float64), torch.randn(2, 3, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(step(coarse, fine), _fused(step, coarse, fine))
    assert sum(p.numel() for p in step.parameters()) == 9 * (3 * 4 + 9 * 4 + 2 * 4 * 4) + 4 * 4


def test_the_whole_decoder() -> None:
    torch.manual_seed(0)
    decoder = FusionDecoder((6, 5, 2), (8, 7, 3)).double()
    maps = [torch.randn(2, c, s, s, dtype=torch.float64) for c, s in ((6, 2), (5, 3), (2, 6))]
    decoded = F.relu(_conv(decoder.start[0], maps[0]))
    for step, fine in zip(decoder.steps, maps[1:], strict=True):
        assert isinstance(step, RefinementFusion)
        decoded = _fused(step, decoded, fine)
    torch.testing.assert_close(decoder(maps), _conv(decoder.classify, decoded))


def test_one_map_alone() -> None:
    decoder = FusionDecoder((6,), (4,))
    assert decoder([torch.randn(1, 6, 3, 3)]).shape == (1, 2, 3, 3)
    assert len(decoder.steps) == 0
