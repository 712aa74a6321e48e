"""Rank-weighted attention by hand, and against loops over nodes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fsseg_methods._dan.rank_attention import (
    SignRule,
    rank_attention,
    rank_factors,
    rank_weighted,
    ranks,
    without_sign,
)

SCORES = torch.tensor([[[4.0, 0.0, 2.0], [2.0, 1.0, -3.0]]])
BY_HAND: dict[SignRule, list[list[float]]] = {
    "relu": [[1, 0, 1], [0.5, 0.75, 0]],  # means 3, 0.5, 1: factors 1/4, 3/4, 2/4
    "shift": [[1, 0, 1.5], [1.25, 2, 0]],  # 4 0 2 and 5 4 0, means 4.5, 2, 1: factors 1/4, 2/4, 3/4
    "signed": [[1, 0, 1.5], [0.5, 0.5, -2.25]],  # means 3, 0.5, -0.5: factors 1/4, 2/4, 3/4
}


@pytest.mark.parametrize("rule", BY_HAND)
def test_by_hand(rule: SignRule) -> None:
    real = torch.ones(1, 3, dtype=torch.bool)
    torch.testing.assert_close(rank_weighted(SCORES, real, rule), torch.tensor([BY_HAND[rule]]))


@pytest.mark.parametrize("rule", BY_HAND)
def test_nodes_that_are_not_real_take_part_in_nothing(rule: SignRule) -> None:
    more = torch.tensor([[[9.0, 4.0, -9.0, 0.0, 2.0], [9.0, 2.0, -9.0, 1.0, -3.0]]])
    real = torch.tensor([[False, True, False, True, True]])
    weighted = rank_weighted(more, real, rule)
    torch.testing.assert_close(weighted[:, :, real[0]], torch.tensor([BY_HAND[rule]]))


def test_ranks_in_descending_order_earlier_first() -> None:
    importance = torch.tensor([[0.5, 2.0, 0.5, -1.0, 7.0], [1.0, 1.0, 1.0, 1.0, 1.0]])
    real = torch.tensor([[True, True, True, True, False], [True, False, True, True, True]])
    assert ranks(importance, real).tolist() == [[2, 1, 3, 4, 5], [1, 5, 2, 3, 4]]
    factors = rank_factors(importance, real)
    torch.testing.assert_close(factors[0, :4], torch.tensor([2 / 5, 1 / 5, 3 / 5, 4 / 5]))


def test_ranks_damp_the_dominant_node() -> None:
    torch.manual_seed(0)
    scores = torch.rand(1, 50, 20) * torch.linspace(1, 8, 20)
    real = torch.ones(1, 20, dtype=torch.bool)
    plain = scores.softmax(dim=2).mean(dim=1)
    ranked = rank_weighted(scores, real, "relu").softmax(dim=2).mean(dim=1)
    assert ranked.max() < plain.max()
    assert _spread(ranked) > 1.3 * _spread(plain)


def _spread(weights: Tensor) -> float:
    """How many nodes take part: the exponential of the entropy."""
    return math.exp(-float((weights * weights.log()).sum()))


def test_no_gradient_through_ranks() -> None:
    scores = SCORES.clone().requires_grad_()
    real = torch.ones(1, 3, dtype=torch.bool)
    rank_weighted(scores, real, "relu").sum().backward()
    torch.testing.assert_close(scores.grad, torch.tensor([[[0.25, 0, 0.5], [0.25, 0.75, 0]]]))


def test_shift_without_any_node_is_finite() -> None:
    assert without_sign(SCORES, torch.zeros(1, 3, dtype=torch.bool), "shift").isfinite().all()


def _random(batch: int = 3, shots: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    query = torch.randn(batch, 7, 3, 4, generator=generator, dtype=torch.float64)
    support = torch.randn(batch, shots, 7, 2, 5, generator=generator, dtype=torch.float64)
    cells = torch.rand(batch, shots, 2, 5, generator=generator) < 0.5
    cells[1] = False
    cells[1, 0, 1, 3] = True  # a single node
    return query, support, cells


@pytest.mark.parametrize("rule", BY_HAND)
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
