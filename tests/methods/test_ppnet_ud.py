"""PPNet's graph over unlabelled images: what it reads, how it joins the parts, its alignment loss."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.method import ClassLabels, Episode
from fsseg_methods._ppnet.method import drawn_numbers
from fsseg_methods._ppnet.unlabelled import slic_labels
from fsseg_methods._shared import alignment_losses
from fsseg_methods.ppnet import PPNet
from fsseg_methods.ppnet_ud import PPNetUD, joint_alignment
from tests.support.heads import TinyBackbone, make, random_episode, random_masks
from tests.support.networks import noise_images

BASE, IMAGES, PLACES = 15, 3, 11


def _episode(batch: int = 2, ways: int = 1, shots: int = 1, *, channels: int = 6) -> Episode:
    """A random episode with superpixels that are more or less like its support features."""
    episode = random_episode(batch, ways, shots, channels)
    generator = torch.Generator().manual_seed(9)
    nodes = torch.randn(batch, ways, IMAGES, PLACES, channels, generator=generator)
    flags = (torch.rand(batch, ways, IMAGES, PLACES, generator=generator) < 0.8).float()
    labels = ClassLabels(
        random_masks(tuple(episode.support_masks.shape), 7, ways=BASE),
        random_masks((batch, *episode.size), 8, ways=BASE),
    )
    return dataclasses.replace(episode, class_labels=labels, unlabelled=(nodes * flags[..., None], flags))


def _method(channels: int = 6, **switches: object) -> PPNetUD:
    torch.manual_seed(0)
    return make(PPNetUD, TinyBackbone(channels), BASE, **{"unlabelled": IMAGES, "threshold": 0.0, "top": 4, **switches})


def _parts_by_loops(method: PPNetUD, episode: Episode, parts: Tensor, whole: Tensor) -> tuple[Tensor, set[int]]:
    """(B, N+1, P, C), and how many superpixels images keep."""
    sizes = set()
    graph, width = method.graph, method.graph.within.weight.shape[0]
    results = []
    for b in range(episode.batch):
        nodes, flags = (level[b].flatten(0, 1) for level in episode.unlabelled)
        for c in range(episode.ways + 1):
            current = parts[b, c]
            for start in range(0, len(nodes), method.switches.group):
                joined = []
                group = slice(start, start + method.switches.group)
                for image, there in zip(nodes[group], flags[group], strict=True):
                    x = image[there > 0]
                    cosines = F.cosine_similarity(x, whole[b, c][None], dim=1)
                    order = cosines.argsort(descending=True)[: method.switches.top]
                    x = x[order][cosines[order] > method.switches.threshold]
                    sizes.add(len(x))
                    if len(x) > 1:
                        embedded = graph.within(x)
                        attention = (embedded @ embedded.T / width**0.5).softmax(dim=1)
                        x = x + graph.transform(attention @ x).relu()
                    joined.append(x)
                x = torch.cat(joined)
                new = (graph.parts(current) @ graph.nodes(x).T / width**0.5).softmax(dim=1) @ x
                current = 0.8 * current + 0.2 * (new if len(x) else 0)
            results.append(current)
    return torch.stack(results).view_as(parts), sizes


@pytest.mark.parametrize(("ways", "shots"), [(1, 1), (1, 5), (2, 2)])
def test_parts_of_the_query_against_loops(ways: int, shots: int) -> None:
    episode = _episode(2, ways, shots)
    method = _method(threshold=0.5)
    parts = method.support_parts(episode, drawn_numbers(episode.seeds, ways, 5))
    expected, sizes = _parts_by_loops(method, episode, parts.prototypes, parts.whole)
    assert {0, 1, 2} <= sizes
    torch.testing.assert_close(method.query_parts(episode, parts), expected, atol=1e-5, rtol=1e-5)


def test_nothing_like_the_classes_only_shrinks_the_parts() -> None:
    episode = _episode(1)
    method = _method()
    nothing = dataclasses.replace(episode, unlabelled=tuple(torch.zeros_like(level) for level in episode.unlabelled))
    usual = make(PPNet, TinyBackbone(), BASE, assignments=20, part_weight=0.8)
    torch.testing.assert_close(method.predict(nothing), usual.predict(episode), atol=1e-4, rtol=0)
    assert not torch.allclose(method.predict(episode), usual.predict(episode), atol=1e-2)


def test_joint_alignment_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 2, 3, 2, 5, 4, generator=generator)
    labels = random_masks((2, 2, 3, 17, 13), 3)
    labels[0, 0, 1] = 255
    present = torch.tensor([[True, True, True], [True, False, True]])
    losses = []
    for b in range(2):
        total = torch.zeros(())
        for n in range(2):
            if present[b, n + 1]:
                full = F.interpolate(scores[b, n], size=(17, 13), mode="bilinear", align_corners=True)
                total = total + F.cross_entropy(full, labels[b, n].long(), ignore_index=255)
        losses.append(total / 6)
    torch.testing.assert_close(joint_alignment(scores, labels, present), torch.stack(losses))
    single = alignment_losses(scores[:, :, :1], labels[:, :, :1], present, align_corners=True)
    torch.testing.assert_close(joint_alignment(scores[:, :, :1], labels[:, :, :1], present), single)


def test_joint_alignment_is_about_k_times_smaller() -> None:
    episode = _episode(1, 1, 4)
    joint, apart = (_method(joint_align=value).loss(episode)["align"] for value in (True, False))
    assert 0.5 < 4 * joint / apart < 2


def test_superpixel_features_of_images() -> None:
    method = _method(segments=20)
    images = F.interpolate(noise_images(2, (6, 5)), size=(48, 40), mode="bilinear")  # plain noise has no segments
    nodes, flags = method.encode_unlabelled(images)
    assert nodes.shape == (2, 40, 6)
    assert not nodes.requires_grad
    features = method.encode(images)
    mean, std = (torch.tensor(v)[:, None, None] for v in (method.backbone.mean, method.backbone.std))
    labels = slic_labels((images * std + mean).clamp(0, 1), 20)[:, ::8, ::8]
    for m in range(2):
        for s in range(40):
            cells = features[m][:, labels[m] == s]
            assert bool(flags[m, s]) == bool(cells.shape[1])
            if cells.shape[1]:
                torch.testing.assert_close(nodes[m, s], cells.mean(dim=1))
    assert 1 < flags[0].sum() <= 30


def test_the_graph_stays_as_it_was_drawn_unless_asked_otherwise() -> None:
    episode = _episode(2, 1, 2)
    fixed, learned = _method(), _method(graph_trainable=True)
    for method in (fixed, learned):
        sum(method.loss(episode).values()).backward()
    assert all(p.grad is None and not p.requires_grad for p in fixed.graph.parameters())
    assert all(p.grad.any() for p in learned.graph.parameters())
    assert all(p.grad.any() for p in fixed.semantic.parameters())


def test_sizes_of_the_graph() -> None:
    assert _method(channels=16).graph.within.weight.shape == (16, 16)
    assert _method(width=3).graph.within.weight.shape == (3, 6)


def test_gradient_of_the_query_loss_passes_the_graph() -> None:
    episode = _episode(1)
    support = episode.support.clone().requires_grad_()
    _method().loss(dataclasses.replace(episode, support=support))["query"].backward()
    assert support.grad.any()
    assert support.grad.isfinite().all()


def test_what_it_asks_of_the_engine() -> None:
    method = _method()
    assert method.unlabelled_images == IMAGES
    assert method.reads_class_labels
    assert method.stochastic
    with pytest.raises(ValueError, match="unlabelled"):
        method.predict(dataclasses.replace(_episode(1), unlabelled=None))
