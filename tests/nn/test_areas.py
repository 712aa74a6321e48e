"""Shares of cells: pixels that lie in several count by their parts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fsseg_bench.nn.areas import cell_shares


@pytest.mark.parametrize("grid", [(3, 4), (5, 2), (7, 9), (1, 1), (9, 11)])
def test_equals_a_mean_over_a_fine_grid(grid: tuple[int, int]) -> None:
    """Each pixel repeated h (or w) times, so that cells hold whole numbers of the small ones."""
    masks = torch.rand(2, 1, 7, 9, dtype=torch.float64)
    fine = masks.repeat_interleave(grid[0], dim=2).repeat_interleave(grid[1], dim=3)
    expected = F.avg_pool2d(fine, (7, 9))
    torch.testing.assert_close(cell_shares(masks, grid), expected)


def test_bool_masks_and_any_axes() -> None:
    found = cell_shares(torch.tensor([[True, True, False]]).expand(2, 3, 1, 3), (1, 2))
    assert found.shape == (2, 3, 1, 2)
    torch.testing.assert_close(found[1, 2, 0], torch.tensor([1.0, 1 / 3]))
