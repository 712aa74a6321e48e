"""PMMs: batch-norm in the head, the probability map as history, K shots as one mixture, parameter counts."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fsseg_bench.engine.build import assemble
from fsseg_bench.errors import UserError
from fsseg_bench.method import Episode
from fsseg_methods._pmms.mixture import fit_mixtures, probability_map
from fsseg_methods.pmms import PMMs
from tests.support.heads import TinyBackbone, make, random_episode


def _method(**switches: Any) -> PMMs:
    torch.manual_seed(0)
    return make(PMMs, TinyBackbone(16), **switches).eval()


def _episode(batch: int = 2, shots: int = 1) -> Episode:
    episode = random_episode(batch, 1, shots, 16, cells=(6, 5), size=(41, 35))
    return dataclasses.replace(episode, support=episode.support.relu(), query=episode.query.relu())


def test_batch_norm_in_the_head_and_dropout_in_the_pyramid_alone() -> None:
    method = _method()
    normed = (method.mid.embed[1], method.activation.norm, method.activation.merge[1], method.classify.project[1])
    assert all(isinstance(m, nn.BatchNorm2d) for m in normed)
    dropped = [name for name, m in method.named_modules() if isinstance(m, nn.Dropout2d)]
    assert len(dropped) == 5
    assert all(name.startswith("classify.aspp.") for name in dropped)
    assert method.activation.merge[0].in_channels == 16


@pytest.mark.parametrize("shots", [1, 2, 3, 4, 5])
def test_all_shots_make_one_mixture_whose_map_is_the_history(shots: int) -> None:
    """The head by hand: tiled prototypes through the joined convolution, summed; cells of all shots in one EM."""
    method, episode = _method(), _episode(shots=shots)
    shown = (episode.support_masks[:, 0] == 1).float(), (episode.support_masks[:, 0] == 0).float()

    def small(masks: Tensor) -> Tensor:
        return nn.functional.interpolate(masks, size=(6, 5), mode="bilinear", align_corners=True).flatten(1)

    cells = torch.cat([episode.support[:, 0, k].flatten(2) for k in range(shots)], dim=2)
    (start,) = method.starts(episode)
    fitted = fit_mixtures(cells, torch.stack([small(masks) for masks in shown], dim=1), start)
    total = torch.zeros(2, 16, 6, 5)
    for prototype in fitted[:, 0].unbind(dim=1):
        tiled = prototype[:, :, None, None].expand(-1, -1, 6, 5)
        joined = method.activation.join.joined(torch.cat((episode.query, tiled), dim=1))
        total += method.activation.norm(joined).relu()
    likely = probability_map(episode.query, fitted)
    history = torch.stack((likely[:, 1], likely[:, 0]), dim=1)
    expected = method.classify(method.refine(method.activation.merge(total), history))
    torch.testing.assert_close(method.predict(episode), expected, atol=1e-5, rtol=1e-5)


def test_loss_is_the_cross_entropy() -> None:
    method, episode = _method(), _episode()
    full = nn.functional.interpolate(method.predict(episode), size=(41, 35), mode="bilinear", align_corners=False)
    expected = nn.functional.cross_entropy(full, episode.query_labels.long(), ignore_index=255)
    losses = method.loss(episode)
    assert list(losses) == ["query"]
    torch.testing.assert_close(losses["query"], expected)


@pytest.mark.parametrize("support_grad", [False, True])
def test_gradient_reaches_the_query_and_the_supports_only_if_asked(support_grad: bool) -> None:
    method, episode = _method(support_grad=support_grad), _episode()
    support, query = episode.support.clone().requires_grad_(), episode.query.clone().requires_grad_()
    method.loss(dataclasses.replace(episode, support=support, query=query))["query"].backward()
    assert query.grad.any()
    assert (support.grad is not None) is support_grad


def test_switches_reach_the_mixture() -> None:
    episode = _episode()
    usual = _method().predict(episode)
    for switches in ({"components": 4}, {"kappa": 5.0}, {"em_iterations": 1}, {"void_in_bg": True}):
        assert not torch.allclose(_method(**switches).predict(episode), usual), switches
    with pytest.raises(UserError, match="components"):
        assemble(PMMs, "resnet18-layer2", "none", {"components": 0}, 0)


def test_batched_equals_one_by_one() -> None:
    method, episode = _method(), _episode(3)
    together = method.predict(episode)
    for i in range(3):
        torch.testing.assert_close(method.predict(episode.item(i))[0], together[i], atol=1e-6, rtol=1e-5)


def test_an_empty_mask_stays_finite() -> None:
    episode = _episode()
    empty = dataclasses.replace(episode, support_masks=torch.zeros_like(episode.support_masks))
    assert _method().predict(empty).isfinite().all()
