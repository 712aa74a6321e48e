"""The latent graph against loops over classes, images and superpixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_methods._ppnet.graph import LatentGraph, gathered, like_prototypes

B, L, V, S, C, P = 2, 3, 5, 7, 6, 4


def case() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Nodes (B, V, S, C), flags (B, V, S), whole prototypes (B, L, C), parts (B, L, P, C)."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    valid = (torch.rand(B, V, S, generator=generator) < 0.8).float()
    whole = normal(B, L, C)
    nodes = normal(B, V, S, C) + whole.repeat(1, 2, 1)[:, :V, None]
    whole[1, 2] = 0  # a class that is like nothing
    return nodes, valid, whole, normal(B, L, P, C)


def chosen(nodes: Tensor, valid: Tensor, prototype: Tensor, top: int, threshold: float) -> Tensor:
    """Kept superpixels (n, C) of one image, most alike first."""
    there = nodes[valid > 0]
    cosines = F.cosine_similarity(there, prototype[None], dim=1)
    order = cosines.argsort(descending=True)[:top]
    return there[order][cosines[order] > threshold]


def inside_by_loops(graph: LatentGraph, x: Tensor) -> Tensor:
    if len(x) <= 1:
        return x
    embedded = x @ graph.within.weight.T
    weights = (embedded @ embedded.T / graph.within.weight.shape[0] ** 0.5).softmax(dim=1)
    return x + (weights @ x @ graph.transform.weight.T).clamp_min(0)


def renewed_by_loops(
    graph: LatentGraph, parts: Tensor, images: list[Tensor], group: int, momentum: float, width: int
) -> Tensor:
    for start in range(0, len(images), group):
        x = torch.cat([inside_by_loops(graph, image) for image in images[start : start + group]])
        new = torch.zeros_like(parts)
        if len(x):
            scores = (parts @ graph.parts.weight.T) @ (x @ graph.nodes.weight.T).T / width**0.5
            new = scores.softmax(dim=1) @ x
        parts = momentum * parts + (1 - momentum) * new
    return parts


def test_selection_and_renewal_against_loops() -> None:
    nodes, valid, whole, parts = case()
    torch.manual_seed(0)
    graph = LatentGraph(C, width=3)
    kept = like_prototypes(nodes, valid, whole, top=3, threshold=0.3)
    actual = graph(parts, gathered(nodes, kept.places), kept.mask, group=2, momentum=0.8)
    sizes = set()
    for b in range(B):
        for c in range(L):
            images = [chosen(nodes[b, v], valid[b, v], whole[b, c], 3, 0.3) for v in range(V)]
            assert kept.mask[b, c].sum(dim=1).tolist() == [len(image) for image in images]
            sizes |= {len(image) for image in images}
            expected = renewed_by_loops(graph, parts[b, c], images, 2, 0.8, 3)
            torch.testing.assert_close(actual[b, c], expected, atol=1e-5, rtol=1e-5)
    assert sizes == {0, 1, 2, 3}
    torch.testing.assert_close(actual[1, 2], 0.8**3 * parts[1, 2])  # nothing kept in any of the three groups


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


def test_size_without_biases() -> None:
    assert sum(p.numel() for p in LatentGraph(2048).parameters()) == 7_340_032


def test_gradient_reaches_parts_and_every_layer() -> None:
    nodes, valid, whole, parts = case()
    torch.manual_seed(0)
    graph, parts = LatentGraph(C, width=3), parts.requires_grad_()
    kept = like_prototypes(nodes, valid, whole, top=4, threshold=0.0)
    graph(parts, gathered(nodes, kept.places), kept.mask, group=5, momentum=0.5).square().sum().backward()
    assert parts.grad.isfinite().all()
    assert all(p.grad.any() and p.grad.isfinite().all() for p in graph.parameters())
