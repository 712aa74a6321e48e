"""PPNet's parts, scores and losses against plain loops, its semantic branch, and what its gradients reach."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.engine.build import assemble
from fsseg_bench.engine.optimise import build_optimizer, prepare
from fsseg_bench.method import ClassLabels, Episode
from fsseg_bench.nn.prototypes import support_prototypes
from fsseg_bench.protocol.load import load_protocol
from fsseg_methods._ppnet.method import SemanticHead, drawn_numbers, part_scores
from fsseg_methods.panet import PANet
from fsseg_methods.ppnet import PPNet
from tests.support.heads import TinyBackbone, make, random_episode, random_masks

BASE = 15


def _episode(batch: int = 2, ways: int = 1, shots: int = 1, *, blocks: int = 6, **options: object) -> Episode:
    """A random episode whose masks are blocks of pixels, with labels over 15 base classes."""
    episode = random_episode(batch, ways, shots, **options)
    height, width = episode.size
    coarse = random_masks((batch, ways, shots, -(-height // blocks), -(-width // blocks)), 5, void=0.1)
    masks = coarse.repeat_interleave(blocks, dim=3).repeat_interleave(blocks, dim=4)[..., :height, :width]
    labels = ClassLabels(
        random_masks((batch, ways, shots, height, width), 7, ways=BASE),
        random_masks((batch, height, width), 8, ways=BASE),
    )
    return dataclasses.replace(episode, support_masks=masks, class_labels=labels)


def _method(**switches: object) -> PPNet:
    torch.manual_seed(0)
    return make(PPNet, TinyBackbone(), BASE, **switches)


def _rows(images: Tensor, masks: Tensor, zoom: int, size: tuple[int, int]) -> Tensor:
    """(R, C) from features (I, C, h, w) and masks (I, H, W): the plain way."""
    rows = []
    for image, mask in zip(images, masks, strict=True):
        grid = (zoom * image.shape[1], zoom * image.shape[2])
        kept = F.interpolate(mask[None, None].float(), size=grid)[0, 0] > 0
        if kept.sum() <= 10:
            grid, kept = size, F.interpolate(mask[None, None].float(), size=size)[0, 0] > 0
        full = F.interpolate(image[None], size=grid, mode="bilinear", align_corners=True)[0]
        rows.append(full[:, kept].T if kept.any() else torch.zeros(1, image.shape[0]))
    return torch.cat(rows)


def _clustered(rows: Tensor, uniform: Tensor, assignments: int = 10) -> Tensor:
    centres = rows[(uniform * len(rows)).long()]
    for step in range(assignments):
        nearest = torch.cdist(rows[None].double(), centres[None].double())[0].argmin(dim=1)
        empty = torch.zeros_like(centres) if step == assignments - 1 else centres
        means = [rows[nearest == j].mean(dim=0) if (nearest == j).any() else empty[j] for j in range(len(centres))]
        centres = torch.stack(means)
    return centres


def _score(features: Tensor, parts: Tensor) -> Tensor:
    """(h, w) of one image (C, h, w): 20 times the best cosine."""
    return 20 * torch.stack([F.cosine_similarity(features, p[:, None, None], dim=0) for p in parts]).amax(dim=0)


def _losses_by_loops(episode: Episode, weight: float) -> tuple[Tensor, Tensor]:
    """Query loss of the batch and alignment losses (B,)."""
    uniform = drawn_numbers(episode.seeds, episode.ways, 5)
    scores, losses = [], []
    for b in range(episode.batch):
        support, masks, query = episode.support[b], episode.support_masks[b], episode.query[b]
        whole = support_prototypes(support[None], masks[None], align_corners=True)[0]
        lists = [
            _rows(support.flatten(0, 1), masks.flatten(0, 1) == 0, 1, episode.size),
            *(_rows(s, m == 1, 2, episode.size) for s, m in zip(support, masks, strict=True)),
        ]
        parts = [_clustered(rows, u) + weight * g for rows, u, g in zip(lists, uniform[b, 0], whole, strict=True)]
        own = torch.stack([_score(query, p) for p in parts])
        scores.append(own)
        predicted = own.argmax(dim=0)
        total = torch.zeros(())
        back = []
        for c in range(episode.ways + 1):
            cells = predicted == c
            mean = (query * cells).sum(dim=(1, 2)) / (cells.sum() + 1e-5)
            back.append(_clustered(_rows(query[None], cells[None], 2, episode.size), uniform[b, 1, c]) + weight * mean)
        for n in range(episode.ways):
            for k in range(episode.shots if (predicted == n + 1).any() else 0):
                pair = torch.stack([_score(support[n, k], back[0]), _score(support[n, k], back[n + 1])])
                full = F.interpolate(pair[None], size=episode.size, mode="bilinear", align_corners=True)
                total = total + F.cross_entropy(full, masks[n, k].long()[None], ignore_index=255)
        losses.append(total / (episode.ways * episode.shots))
    full = F.interpolate(torch.stack(scores), size=episode.size, mode="bilinear", align_corners=True)
    return F.cross_entropy(full, episode.query_labels.long(), ignore_index=255), torch.stack(losses)


@pytest.mark.parametrize(("ways", "shots"), [(1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (2, 1), (3, 2)])
def test_losses_against_loops(ways: int, shots: int) -> None:
    episode = _episode(2, ways, shots, cells=(9, 7), size=(65, 51))
    method = _method()
    losses = method.loss(episode)
    assert list(losses) == ["query", "align", "semantic"]
    query, align = _losses_by_loops(episode, 0.5)
    torch.testing.assert_close(losses["query"], query, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(losses["align"], align.mean(), atol=1e-4, rtol=1e-4)


def test_semantic_loss_is_one_mean_over_the_images() -> None:
    episode = _episode(2, 1, 2)
    method = _method()
    images = torch.cat((episode.support.flatten(0, 2), episode.query))
    labels = torch.cat((episode.class_labels.support.flatten(0, 2), episode.class_labels.query)).long()
    full = F.interpolate(method.semantic(images), size=episode.size, mode="bilinear", align_corners=True)
    expected = F.cross_entropy(full, labels, ignore_index=255)
    torch.testing.assert_close(method.loss(episode)["semantic"], 0.1 * expected, atol=1e-5, rtol=1e-5)


def test_hand_computed_best_part() -> None:
    features = torch.tensor([[1.0, 0.0, 1.0], [0.0, 2.0, 1.0]]).view(1, 2, 1, 3)
    parts = torch.tensor([[[1.0, 0.0], [0.0, 0.0]], [[3.0, 3.0], [0.0, -1.0]]])[None]
    half = 0.5**0.5
    expected = torch.tensor([[1.0, 0.0, half], [half, half, 1.0]])
    torch.testing.assert_close(part_scores(features, parts, 20.0)[0, :, 0], 20 * expected)


def test_one_part_without_the_whole_is_a_mean_and_the_whole_alone_is_panet() -> None:
    episode = _episode(2, 1, 2)
    method = _method(part_weight=1e6)  # the centres vanish beside the whole prototypes
    panet = make(PANet, TinyBackbone(), align_corners=True)
    full = F.interpolate(panet.predict(episode), size=episode.size, mode="bilinear", align_corners=True)
    torch.testing.assert_close(method.predict(episode), full, atol=1e-3, rtol=0)


def test_no_semantic_branch_without_its_loss() -> None:
    parts_alone = _method(semantic_weight=0.0)
    assert {name.split(".")[0] for name, _ in parts_alone.named_parameters()} == {"backbone"}
    episode = dataclasses.replace(_episode(1), class_labels=None)
    assert list(parts_alone.loss(episode)) == ["query", "align"]
    with pytest.raises(ValueError, match="class_labels"):
        _method().loss(episode)


def test_weights_of_the_losses() -> None:
    episode = _episode(2)
    usual, other = _method().loss(episode), _method(align_weight=0.25, semantic_weight=0.4).loss(episode)
    torch.testing.assert_close(other["align"], usual["align"] / 4)
    torch.testing.assert_close(other["semantic"], usual["semantic"] * 4)
    assert list(_method(align_weight=0.0).loss(episode)) == ["query", "semantic"]


def test_gradients_reach_features_and_branch_but_not_through_predicted_masks() -> None:
    episode = _episode(2, 1, 2)
    support, query = episode.support.clone().requires_grad_(), episode.query.clone().requires_grad_()
    episode = dataclasses.replace(episode, support=support, query=query)
    method = _method()
    for name, value in method.loss(episode).items():
        gradients = torch.autograd.grad(value, (support, query), retain_graph=True)
        assert all(g.any() and g.isfinite().all() for g in gradients), name
    sum(method.loss(episode).values()).backward()
    assert all(p.grad.any() for p in method.semantic.parameters())
    scores = torch.randn(2, 2, 5, 4, requires_grad=True)
    method.alignment_loss(episode, scores, drawn_numbers((0, 1), 1, 5)).sum().backward()
    assert scores.grad is None


def test_starts_come_from_the_seed_of_each_episode_alone() -> None:
    episode = _episode(3)
    method = _method()
    torch.manual_seed(1)
    together = method.predict(episode)
    torch.manual_seed(2)
    assert torch.equal(method.predict(episode), together)
    swapped = dataclasses.replace(episode, seeds=(7, 1, 2))
    other = method.predict(swapped)
    assert not torch.equal(other[0], together[0])
    assert torch.equal(other[1:], together[1:])


def test_draws_in_the_order_of_the_authors() -> None:
    drawn = torch.rand(2, 3, 5, generator=torch.Generator().manual_seed(4))
    uniform = drawn_numbers((9, 4), 2, 5)[1]
    supports, queries = drawn.double()
    assert torch.equal(uniform[0], supports[[2, 0, 1]])  # ways first, then the background
    assert torch.equal(uniform[1], queries)


def test_empty_support_masks_and_void_supports_stay_finite() -> None:
    episode = _episode(3, 1, 2)
    masks = episode.support_masks.clone()
    masks[0] = 0
    masks[1, 0, 0] = 255
    masks[2] = 1
    support = episode.support.clone().requires_grad_()
    total = sum(_method().loss(dataclasses.replace(episode, support_masks=masks, support=support)).values())
    total.backward()
    assert total.isfinite()
    assert support.grad.isfinite().all()


def test_void_of_supports_is_background_on_request() -> None:
    episode = _episode(2)
    plain = dataclasses.replace(
        episode, support_masks=episode.support_masks.masked_fill(episode.support_masks == 255, 0)
    )
    torch.testing.assert_close(_method(void_in_bg=True).predict(episode), _method().predict(plain))


@pytest.mark.parametrize("semantic_weight", [0.0, 0.1])
def test_rates_of_the_semantic_branch(semantic_weight: float) -> None:
    recipe = PPNet.recipe(load_protocol("pascal5i"), 1)
    method = assemble(PPNet, "resnet18", "none", {"semantic_weight": semantic_weight}, 0)[0]
    prepare(method, recipe)
    rates = {id(p): group["lr"] for group in build_optimizer(method, recipe).param_groups for p in group["params"]}
    names = {name: rates[id(p)] for name, p in method.named_parameters() if id(p) in rates}
    assert not any(name.startswith(("backbone.conv1", "backbone.layer1", "backbone.layer2")) for name in names)
    assert names["backbone.layer3.0.bn1.bias"] == pytest.approx(5e-4)
    branch = {name: rate for name, rate in names.items() if name.startswith("semantic.")}
    assert len(branch) == (8 if semantic_weight else 0)
    assert all(rate == pytest.approx(1e-2 if name.endswith("bias") else 5e-3) for name, rate in branch.items())


def test_numbers_that_choose_the_starts_are_below_one() -> None:
    uniform = drawn_numbers(tuple(range(200)), 2, 5)
    assert uniform.shape == (200, 2, 3, 5)
    assert uniform.min() >= 0
    assert uniform.max() < 1


def test_sum_of_four_dilated_convolutions_of_rectified_features() -> None:
    torch.manual_seed(0)
    head = SemanticHead(5, 4)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    features = torch.randn(2, 5, 13, 29)
    expected = torch.zeros(2, 4, 13, 29)
    for branch, dilation in zip(head.branches, (6, 12, 18, 24), strict=True):
        padded = F.pad(features.clamp_min(0), (dilation,) * 4)
        for i in range(3):
            for j in range(3):
                rows, columns = slice(i * dilation, i * dilation + 13), slice(j * dilation, j * dilation + 29)
                expected += torch.einsum("oc,mchw->mohw", branch.weight[:, :, i, j], padded[:, :, rows, columns])
        expected += branch.bias[:, None, None]
    torch.testing.assert_close(head(features), expected, atol=2e-4, rtol=0)


def test_start_of_the_semantic_branch() -> None:
    torch.manual_seed(0)
    head = SemanticHead(2048, 16)
    assert all(not branch.bias.any() for branch in head.branches)
    assert [branch.weight.std().item() for branch in head.branches] == pytest.approx([0.01] * 4, rel=0.02)
