"""Average linkage against SciPy's, on random and clustered cells, with ties, and cut at any height."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from torch import Tensor

from fsseg_methods._clusters import Distances, average_linkage, cosine_distances


def cells(count: int, groups: int, noise: float, seed: int = 0, channels: int = 24) -> Tensor:
    """(C, N) of unit length: noise around the directions of groups of very different sizes."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(groups, channels, generator=generator) + 0.3
    shares = torch.rand(groups, generator=generator) ** 3 + 1e-3
    chosen = torch.multinomial(shares, count, replacement=True, generator=generator)
    drawn = centres[chosen] + noise * torch.randn(count, channels, generator=generator)
    return torch.nn.functional.normalize(drawn, dim=1).mT.contiguous()


def by_first_appearance(labels: np.ndarray) -> np.ndarray:
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def of_scipy(distances: Distances, height: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels and the heights of merges strictly below ``height``; SciPy's own cut includes it."""
    tree = linkage(squareform(distances, checks=False), "average")
    labels = fcluster(tree, np.nextafter(height, -np.inf), "distance")
    return by_first_appearance(labels), np.sort(tree[tree[:, 2] < height, 2])


@pytest.mark.parametrize("height", [0.15, 0.4, 0.8, np.inf])
@pytest.mark.parametrize(
    ("count", "groups", "noise"),
    [(2, 1, 1.0), (60, 60, 0.0), (300, 1, 1.0), (300, 7, 0.4), (700, 40, 0.7), (700, 3, 2)],
)
def test_partition_and_heights_are_scipys(count: int, groups: int, noise: float, height: float) -> None:
    distances = cosine_distances(cells(count, groups, noise))
    labels, heights = of_scipy(distances, height)
    found = average_linkage(distances, height)
    assert np.array_equal(found.labels, labels)
    assert found.number == labels.max() + 1
    np.testing.assert_allclose(found.heights, heights, rtol=0, atol=1e-12)


def test_several_partitions_are_tested() -> None:
    """That the cases above are not all of one cluster, or of single cells."""
    numbers = [average_linkage(cosine_distances(cells(*case)), 0.4).number for case in ((300, 7, 0.4), (700, 40, 0.7))]
    assert all(5 < number < 200 for number in numbers), numbers


def test_a_merge_at_the_height_is_not_made() -> None:
    distances = np.array([[0, 0.5, 1], [0.5, 0, 1], [1, 1, 0]])
    assert average_linkage(distances.copy(), 0.5).number == 3
    assert average_linkage(distances.copy(), np.nextafter(0.5, 1)).labels.tolist() == [0, 0, 1]
    assert average_linkage(distances.copy(), np.nextafter(1, 2)).number == 1


def test_averages_count_cells_and_not_clusters() -> None:
    """Places on a line: 0 and 1 merge first, then 2.1 at a mean of two distances, and 7.5 at one of three."""
    places = np.array([0, 1, 2.1, 7.5])
    found = average_linkage(np.abs(places[:, None] - places), np.inf)
    np.testing.assert_allclose(found.heights, [1, (2.1 + 1.1) / 2, (7.5 + 6.5 + 5.4) / 3])


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_cells_to_merge(count: int) -> None:
    found = average_linkage(np.zeros((count, count)), 0.4)
    assert (found.number, found.labels.tolist(), found.heights.tolist()) == (count, list(range(count)), [])


def test_equal_cells_are_together_whatever_the_order() -> None:
    generator = torch.Generator().manual_seed(1)
    groups = torch.randint(0, 5, (80,), generator=generator)
    directions = torch.eye(5)[groups].mT.contiguous()
    found = average_linkage(cosine_distances(directions), 0.4)
    assert np.array_equal(found.labels, by_first_appearance(groups.numpy()))


@pytest.mark.parametrize("count", [1, 255, 256, 300, 513])
def test_distances_in_blocks_are_those_of_the_whole(count: int) -> None:
    given = cells(count, 3, 1.0)
    distances = cosine_distances(given)
    assert np.array_equal(distances, distances.T)
    whole = 1 - given.double().mT @ given.double()
    whole.fill_diagonal_(0)
    np.testing.assert_allclose(distances, whole.numpy(), rtol=0, atol=1e-6)
    assert np.array_equal(distances, distances.astype(np.float32)), "numbers of float32"
