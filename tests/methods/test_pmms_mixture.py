"""Expectation-maximisation of prototypes: hand-computed, and against float64 loops over cells."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fsseg_methods._pmms.mixture import component_probabilities, fit_mixtures, mixture_starts, probability_map


def _by_loops(features: Tensor, masks: Tensor, starts: Tensor, kappa: float, iterations: int) -> Tensor:
    """(B, G, K, C) in float64: every masked cell written out as a vector, zero cells included."""
    B, G, n = masks.shape
    K = starts.shape[1]
    result = torch.zeros(B, G, *starts.shape[1:], dtype=torch.float64)
    for b in range(B):
        for g in range(G):
            cells = [masks[b, g, i].double() * features[b, :, i].double() for i in range(n)]
            mu = [vector.double() for vector in starts[b]]
            for _ in range(iterations):
                sums = [torch.zeros_like(mu[0]) for _ in range(K)]
                totals = [1e-6] * K
                for cell in cells:
                    weights = [math.exp(kappa * float(cell @ vector - cell.norm())) for vector in mu]
                    for k in range(K):
                        z = weights[k] / sum(weights)
                        totals[k] += z
                        sums[k] = sums[k] + z * cell
                mu = [s / t / (1e-6 + float((s / t).norm())) for s, t in zip(sums, totals, strict=True)]
            result[b, g] = torch.stack(mu)
    return result


def _random(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("K", [1, 3, 6])
@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_against_loops(K: int, scale: float) -> None:
    features = scale * _random((2, 5, 12), 0).relu()
    share = _random((2, 1, 12), 1).clamp(0, 1)  # zeros, ones and soft values
    masks = torch.cat((share, 1 - share), dim=1)
    (starts,) = mixture_starts((3, 4), 5, (K,))
    fitted = fit_mixtures(features.double(), masks.double(), starts.double())
    torch.testing.assert_close(fitted, _by_loops(features, masks, starts, 20.0, 10), atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(fit_mixtures(features, masks, starts).double(), fitted, atol=2e-4, rtol=0)


def test_hand_computed_iteration() -> None:
    """Two unit cells along the axes, two starts on them, kappa = ln 3: each start owns 3/4 and 1/4."""
    features = torch.eye(2)[None]
    starts = torch.eye(2)[None]
    fitted = fit_mixtures(features, torch.ones(1, 1, 2), starts, kappa=math.log(3), iterations=1)
    near, far = 3 / math.sqrt(10), 1 / math.sqrt(10)
    torch.testing.assert_close(fitted[0, 0], torch.tensor([[near, far], [far, near]]), atol=1e-5, rtol=0)


def test_one_component_is_the_direction_of_the_masked_mean() -> None:
    features = torch.tensor([[3.0, 0.0, 7.0], [0.0, 4.0, 7.0]])[None]
    fitted = fit_mixtures(features, torch.tensor([[[1.0, 1.0, 0.0]]]), torch.ones(1, 1, 2))
    torch.testing.assert_close(fitted[0, 0, 0], torch.tensor([0.6, 0.8]), atol=1e-5, rtol=0)


def test_cells_outside_the_mask_shrink_a_prototype_that_owns_nothing() -> None:
    """One cell (1, 0), one cell outside; the second start owns 1/(1 + 8e7) of the first and 1/2 of the other."""
    features, starts = torch.tensor([[[1.0, 9.0], [0.0, 9.0]]]), torch.eye(2)[None]
    inside, both = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[1.0]]])
    kappa = math.log(8e7)
    shrunk = fit_mixtures(features, inside, starts, kappa=kappa, iterations=1)[0, 0, 1]
    torch.testing.assert_close(shrunk, torch.tensor([0.025 / 1.025, 0.0]), atol=1e-4, rtol=0)
    without = fit_mixtures(features[..., :1], both, starts, kappa=kappa, iterations=1)[0, 0, 1]
    assert without[0] > 0.99  # 1.2e-2 / (1e-6 + 1.2e-2): no zero cell, no shrinking


def test_a_prototype_that_owns_nothing_dies_and_stays_dead() -> None:
    features, starts = torch.tensor([[[40.0, 40.0], [0.0, 0.0]]]), torch.eye(2)[None]
    masks = torch.tensor([[[1.0, 0.0]]])
    for iterations in (1, 10):
        fitted = fit_mixtures(features, masks, starts, iterations=iterations)[0, 0]
        torch.testing.assert_close(fitted, torch.tensor([[1.0, 0.0], [0.0, 0.0]]), atol=1e-6, rtol=0)


def test_an_empty_mask_gives_zero_prototypes() -> None:
    (starts,) = mixture_starts((0,), 4, (3,))
    features = _random((1, 4, 6), 0).requires_grad_()
    fitted = fit_mixtures(features, torch.zeros(1, 2, 6), starts)
    assert not fitted.any()
    fitted.sum().backward()
    assert features.grad.isfinite().all()


def test_gradient_of_the_last_means_with_ownership_fixed() -> None:
    """With one component every cell is owned whole, so the gradient is that of the normalised masked mean."""
    features = _random((1, 4, 6), 0).double().requires_grad_()
    masks = _random((1, 1, 6), 1).double().clamp(0, 1)
    starts = torch.ones(1, 1, 4, dtype=torch.float64)
    towards = _random((4,), 2).double()
    (fit_mixtures(features, masks, starts)[0, 0, 0] @ towards).backward()
    again = features.detach().requires_grad_()
    mean = (again[0] * masks[0]).sum(dim=1) / (1e-6 + 6)
    (mean / (1e-6 + mean.norm()) @ towards).backward()
    torch.testing.assert_close(features.grad, again.grad)


def test_the_same_bits_in_every_batch() -> None:
    features, masks = _random((5, 37, 61), 0), _random((5, 2, 61), 1).clamp(0, 1)
    (starts,) = mixture_starts(range(5), 37, (6,))
    together = fit_mixtures(features, masks, starts)
    for b in range(5):
        alone = fit_mixtures(features[b : b + 1], masks[b : b + 1], starts[b : b + 1])
        assert torch.equal(alone[0], together[b])


def test_hand_computed_probability_map() -> None:
    """One cell (1, 0); two prototypes a group with inner products ln 6, ln 2 | ln 1, ln 3."""
    prototypes = torch.tensor([[6.0, 2.0], [1.0, 3.0]]).log()[None, ..., None] * torch.tensor([1.0, 0.0])
    query = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).requires_grad_()
    parts = component_probabilities(query, prototypes).flatten()
    torch.testing.assert_close(parts, torch.tensor([6.0, 2.0, 1.0, 3.0]) / 12)
    whole = probability_map(query, prototypes)
    torch.testing.assert_close(whole.flatten(), torch.tensor([8.0, 4.0]) / 12)
    assert not whole.requires_grad


def test_starts_are_seeded_unit_vectors_and_depend_on_their_own_episode() -> None:
    one, three = mixture_starts((7, 8), 256, (1, 3))
    assert one.shape == (2, 1, 256)
    assert three.shape == (2, 3, 256)
    for start in (one, three):
        torch.testing.assert_close(start.norm(dim=-1), torch.ones(start.shape[:2]), atol=1e-5, rtol=0)
    assert torch.equal(mixture_starts((8,), 256, (1, 3))[1][0], three[1])
    assert not torch.equal(three[0], three[1])
    assert abs(float(three.mean())) < 0.01
