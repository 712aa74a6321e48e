"""Superpixels and the latent graph: SLIC's labels, means against a loop, attention by hand."""

from __future__ import annotations

import sys

import pytest
import torch

from fsseg_bench.errors import UserError
from fsseg_methods._ppnet.unlabelled import LatentGraph, slic_labels, superpixel_means


def test_means_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 5, 4, generator=generator)
    labels = torch.randint(0, 9, (2, 20, 16), generator=generator)
    labels[1] = labels[1].clamp(max=4)
    found = superpixel_means(features, labels, places=9)
    for m in range(2):
        small = labels[m, ::4, ::4]
        for s in range(9):
            cells = features[m][:, small == s]
            expected = cells.mean(dim=1) if cells.shape[1] else torch.zeros(3)
            torch.testing.assert_close(found.features[m, s], expected)
            assert found.valid[m, s] == bool(cells.shape[1])


def test_hand_computed_and_surplus_labels_are_left_out() -> None:
    features = torch.tensor([[[[1.0, 3.0], [5.0, 8.0]]]])
    labels = torch.tensor([[[0, 0], [2, 7]]])
    found = superpixel_means(features, labels, places=3)
    assert found.features.flatten().tolist() == [2.0, 0.0, 5.0]
    assert found.valid.tolist() == [[1.0, 0.0, 1.0]]


def test_superpixels_that_vanish_at_the_features_resolution_have_no_place() -> None:
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[0, 1, 1] = 1  # cells read pixels 0 and 4
    found = superpixel_means(torch.ones(1, 2, 2, 2), labels, places=2)
    assert found.valid.tolist() == [[1.0, 0.0]]


def test_slic_follows_the_picture_and_depends_on_it_alone() -> None:
    picture = torch.zeros(3, 64, 64)
    picture[0, :, :23] = 0.9
    picture[2, :, 23:] = 0.7
    other = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    labels = slic_labels(torch.stack((picture, other)), segments=16)
    assert labels.shape == (2, 64, 64)
    assert labels.dtype == torch.int64
    assert torch.equal(slic_labels(picture[None], segments=16)[0], labels[0])
    left, right = labels[0, :, :23].unique(), labels[0, :, 23:].unique()
    assert not set(left.tolist()) & set(right.tolist())
    assert 8 <= len(left) + len(right) <= 32


def test_slic_needs_no_more_than_twice_the_segments() -> None:
    pictures = torch.rand(3, 3, 65, 97, generator=torch.Generator().manual_seed(1))
    pictures[1] = 0.5
    assert slic_labels(pictures, segments=100).max() < 200


def test_without_scikit_image_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(UserError, match="superpixels need scikit-image"):
        slic_labels(torch.zeros(1, 3, 8, 8))


def test_hand_computed_attention() -> None:
    graph = LatentGraph(2, width=1)
    with torch.no_grad():
        graph.parts.weight.copy_(torch.tensor([[1.0, 0.0]]))
        graph.nodes.weight.copy_(torch.tensor([[0.0, 1.0]]))
    parts = torch.tensor([[[[2.0, 0.0], [0.0, 5.0]]]])
    nodes = torch.tensor([[[[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]]]])
    kept = torch.tensor([[[[True, True, False]]]])
    # scores of part 0: 2 * (0, 1); of part 1: 0 * (0, 1)
    share = 1 / (1 + torch.tensor(2.0).exp())
    expected = torch.stack((torch.stack((share, 1 - share)), torch.tensor([0.5, 0.5])))
    torch.testing.assert_close(graph.attend(parts, nodes, kept)[0, 0], expected)


def test_one_superpixel_is_left_as_it_is() -> None:
    graph = LatentGraph(2, width=1)
    nodes = torch.rand(1, 1, 2, 2, 2) + 1
    kept = torch.tensor([[[[True, False], [True, True]]]])
    with torch.no_grad():
        graph.transform.weight.fill_(1.0)
    inside = graph.inside(nodes, kept)
    assert torch.equal(inside[0, 0, 0, 0], nodes[0, 0, 0, 0])
    assert not inside[0, 0, 0, 1].any()
    assert (inside[0, 0, 1] > nodes[0, 0, 1]).all()
