"""The prototype mixture models: how stages and shots are combined, what learns, where the map enters."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn

from fsseg_bench.method import Episode
from fsseg_bench.nn.backbones import build_backbone
from fsseg_bench.nn.bilinear import resize
from fsseg_methods._pmms.method import Mixtures, group_masks
from fsseg_methods._pmms.mixture import fit_mixtures, probability_map
from fsseg_methods.pmms import PMMs
from fsseg_methods.rpmms import RPMMs
from tests.support.heads import TinyBackbone, make, random_episode

M = TypeVar("M", PMMs, RPMMs)


def _method(**switches: Any) -> RPMMs:
    return _on_tiny(RPMMs, **switches)


def _on_tiny(cls: type[M], **switches: Any) -> M:
    torch.manual_seed(0)
    return make(cls, TinyBackbone(16), **switches).eval()


def _episode(batch: int = 2, shots: int = 1) -> Episode:
    """With features as the encoder gives them, 16 channels and nowhere negative."""
    episode = random_episode(batch, 1, shots, 16, cells=(6, 5), size=(41, 35))
    return dataclasses.replace(episode, support=episode.support.relu(), query=episode.query.relu())


def test_dropout_without_batch_norm_in_the_head() -> None:
    method = _method()
    head = (method.activation, method.refine, method.classify)
    assert not [m for part in head for m in part.modules() if isinstance(m, nn.BatchNorm2d)]
    assert sum(isinstance(m, nn.Dropout2d) for part in head for m in part.modules()) == 2 + 5 + 1
    assert not [m for m in method.mid.modules() if isinstance(m, nn.Dropout2d)]
    assert isinstance(method.mid.embed[1], nn.BatchNorm2d)
    assert method.activation.merge[0].in_channels == 16 + 2


def test_each_stage_reads_the_softmax_before() -> None:
    """By hand from the parts: zeros, then the previous stage's softmax; the map enters beside the activation."""
    method, episode = _method(), _episode()
    part = method.activation.join.of_map(episode.query)
    history = torch.zeros(2, 2, 6, 5)
    for mixtures, actual in zip(method.mixtures(episode), method.stage_logits(episode), strict=True):
        expected = method.classify(method.refine(method.activation(part, mixtures), history))
        torch.testing.assert_close(actual, expected)
        history = expected.softmax(dim=1)
        other = Mixtures(mixtures.foreground, mixtures.likely.flip(1))
        assert not torch.allclose(method.activation(part, other), method.activation(part, mixtures))


def test_hand_computed_activation() -> None:
    """Two prototypes, one channel, one cell: ReLU(q - p) summed, plus the map, through weights of 1."""
    method = make(RPMMs, TinyBackbone(1)).eval()
    activation = method.activation
    for convolution in (activation.join.joined, activation.merge[0]):
        nn.init.zeros_(convolution.weight)
        nn.init.zeros_(convolution.bias)
    with torch.no_grad():
        activation.join.joined.weight[0, :, 1, 1] = torch.tensor([1.0, -1.0])
        activation.merge[0].weight[0, :, 1, 1] = torch.tensor([1.0, 10.0, 100.0])
    part = activation.join.of_map(torch.full((1, 1, 1, 1), 3.0))
    likely = torch.tensor([0.25, 0.75]).view(1, 2, 1, 1)
    actual = activation(part, Mixtures(torch.tensor([[[2.0], [5.0]]]), likely))  # (3 - 2) + 0
    torch.testing.assert_close(actual.flatten(), torch.tensor([1.0 + 2.5 + 75.0]))


@pytest.mark.parametrize("shots", [1, 2, 3, 4, 5])
def test_several_shots_average_the_stages_softmaxes(shots: int) -> None:
    method, episode = _method(), _episode(shots=shots)
    stages = method.stage_logits(episode)
    if shots == 1:
        assert torch.equal(method.predict(episode), stages[-1])
    else:
        expected = sum(x.softmax(dim=1) for x in stages) / 5
        torch.testing.assert_close(method.predict(episode), expected)
    method.switches = dataclasses.replace(method.switches, five_shot_ensemble=False)
    assert torch.equal(method.predict(episode), stages[-1])


def test_loss_is_the_cross_entropy_of_every_stage() -> None:
    method, episode = _method(), _episode()
    losses = method.loss(episode)
    labels = episode.query_labels.long()
    assert list(losses) == ["stage1", "stage2", "stage3"]
    for logits, loss in zip(method.stage_logits(episode), losses.values(), strict=True):
        full = nn.functional.interpolate(logits, size=(41, 35), mode="bilinear", align_corners=False)
        torch.testing.assert_close(loss, nn.functional.cross_entropy(full, labels, ignore_index=255))


def test_masks_meet_features_softly_and_void_is_neither() -> None:
    masks = torch.tensor([[1, 0, 0], [1, 255, 0], [1, 0, 0]], dtype=torch.uint8).view(1, 1, 1, 3, 3)
    groups = group_masks(masks, (2, 5)).view(2, 2, 5)
    assert groups[:, 0].tolist() == [[1.0, 0.5, 0.0, 0.0, 0.0], [0.0, 0.5, 1.0, 1.0, 1.0]]
    whole = group_masks(masks, (3, 3)).view(2, 3, 3)
    assert whole[:, 1, 1].tolist() == [0.0, 0.0]
    assert group_masks(masks, (3, 3), void_in_bg=True).view(2, 3, 3)[:, 1, 1].tolist() == [0.0, 1.0]
    many = group_masks(torch.cat((masks, 1 - masks.clamp_max(1)), dim=2), (3, 3))
    assert many.shape == (1, 2, 18)
    reference = resize((masks == 1).float(), (3, 3), align_corners=True)
    assert torch.equal(many[0, 0, :9], reference.flatten())


@pytest.mark.parametrize("support_grad", [False, True])
def test_gradient_reaches_the_query_and_the_supports_only_if_asked(support_grad: bool) -> None:
    method, episode = _method(support_grad=support_grad), _episode()
    support, query = episode.support.clone().requires_grad_(), episode.query.clone().requires_grad_()
    losses = method.loss(dataclasses.replace(episode, support=support, query=query))
    sum(losses.values()).backward()
    assert query.grad.any()
    assert (support.grad is not None) is support_grad
    assert not support_grad or bool(support.grad.any())


@pytest.mark.parametrize("support_grad", [False, True])
def test_supports_pass_first_with_statistics_of_their_own(support_grad: bool) -> None:
    method = make(RPMMs, TinyBackbone(8), support_grad=support_grad).train()
    supports, queries = torch.randn(4, 3, 16, 16), 2 + torch.randn(2, 3, 16, 16)
    norm, convolution = method.mid.embed[1], method.mid.embed[0]
    support, query = method.encode_training(supports, torch.ones(4, 16, 16, dtype=torch.uint8), queries)
    assert support.requires_grad is support_grad
    assert query.requires_grad
    with torch.no_grad():
        batches = [convolution(method.backbone(images).relu()) for images in (supports, queries)]
        moved = torch.zeros(8)
        for batch in batches:
            moved = 0.9 * moved + 0.1 * batch.mean(dim=(0, 2, 3))
    torch.testing.assert_close(norm.running_mean, moved)
    for features, batch in zip((support, query), batches, strict=True):
        spread = batch.var(dim=(0, 2, 3), unbiased=False, keepdim=True)
        expected = ((batch - batch.mean(dim=(0, 2, 3), keepdim=True)) / (spread + 1e-5).sqrt()).relu()
        torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)


def test_joint_passes_share_their_statistics() -> None:
    method = make(RPMMs, TinyBackbone(8), separate_passes=False).train()
    supports, queries = torch.randn(4, 3, 16, 16), 2 + torch.randn(2, 3, 16, 16)
    masks = torch.ones(4, 16, 16, dtype=torch.uint8)
    together = torch.cat(method.encode_training(supports, masks, queries))
    torch.testing.assert_close(together, method.encode(torch.cat((supports, queries))))


def test_starts_come_from_the_episode() -> None:
    method, episode = _method(), _episode(3)
    together = method.predict(episode)
    torch.manual_seed(99)
    assert torch.equal(method.predict(episode), together)
    for i in range(3):
        torch.testing.assert_close(method.predict(episode.item(i))[0], together[i], atol=1e-6, rtol=1e-5)
    other = method.predict(dataclasses.replace(episode, seeds=(7, 8, 9)))
    assert not torch.equal(other, together)


def test_an_empty_mask_stays_finite() -> None:
    method, episode = _method(support_grad=True), _episode()
    support = episode.support.clone().requires_grad_()
    empty = dataclasses.replace(episode, support=support, support_masks=torch.zeros_like(episode.support_masks))
    sum(method.loss(empty).values()).backward()
    assert method.predict(empty).isfinite().all()
    assert support.grad.isfinite().all()


def test_the_extra_convolution_of_vgg_belongs_to_the_trunk() -> None:
    method = make(RPMMs, build_backbone("vgg16", RPMMs.layout), width=8)
    assert sum(p.numel() for p in method.backbone.extra.parameters()) == 512 * 512 * 9 + 512
    assert method.encode(torch.randn(1, 3, 33, 33)).shape == (1, 8, 5, 5)


def test_batch_norm_in_the_head_and_dropout_in_the_pyramid_alone() -> None:
    method = _on_tiny(PMMs)
    normed = (method.mid.embed[1], method.activation.norm, method.activation.merge[1], method.classify.project[1])
    assert all(isinstance(m, nn.BatchNorm2d) for m in normed)
    dropped = [name for name, m in method.named_modules() if isinstance(m, nn.Dropout2d)]
    assert len(dropped) == 5
    assert all(name.startswith("classify.aspp.") for name in dropped)
    assert method.activation.merge[0].in_channels == 16


@pytest.mark.parametrize("shots", [1, 2, 3, 4, 5])
def test_all_shots_make_one_mixture_whose_map_is_the_history(shots: int) -> None:
    """The head by hand: tiled prototypes through the joined convolution, summed; cells of all shots in one EM."""
    method, episode = _on_tiny(PMMs), _episode(shots=shots)
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


def test_switches_reach_the_mixture() -> None:
    episode = _episode()
    usual = _on_tiny(PMMs).predict(episode)
    for switches in ({"components": 4}, {"kappa": 5.0}, {"em_iterations": 1}, {"void_in_bg": True}):
        assert not torch.allclose(_on_tiny(PMMs, **switches).predict(episode), usual), switches
