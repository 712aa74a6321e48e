"""K-means over feature rows against the plain way: enlarge the features, list the rows, loop over them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_methods._ppnet import parts
from fsseg_methods._ppnet.parts import Rows, drawn_rows, part_centres, row_counts, rows_of_masks

SIZE, CELLS = (51, 37), (7, 5)


@pytest.fixture(autouse=True, params=["looking at masks", "looking at nothing"])
def _form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU's form, which leaves out what is empty, and the one that reads no number, as on a GPU."""
    if request.param == "looking at nothing":
        monkeypatch.setattr(parts, "may_look", lambda tensor: False)


def listed(features: Tensor, masks: Tensor, zoom: int, size: tuple[int, int] = SIZE) -> Tensor:
    """Rows (R, C) of images (I, C, h, w) under masks (I, H, W), one image after the other."""
    rows = []
    for image, mask in zip(features, masks, strict=True):
        grid = (zoom * image.shape[1], zoom * image.shape[2])
        kept = F.interpolate(mask[None, None].double(), size=grid, mode="nearest")[0, 0] > 0
        if kept.sum() <= 10:
            grid, kept = size, F.interpolate(mask[None, None].double(), size=size, mode="nearest")[0, 0] > 0
        full = F.interpolate(image[None], size=grid, mode="bilinear", align_corners=True)[0]
        rows.append(full[:, kept].T if kept.any() else torch.zeros(1, image.shape[0], dtype=image.dtype))
    return torch.cat(rows)


def kmeans(rows: Tensor, starts: Tensor, assignments: int) -> Tensor:
    """Centres (P, C), differentiable in the last means."""
    centres = rows[starts].detach()
    for step in range(assignments):
        nearest = (rows.detach()[:, None] - centres).square().sum(dim=2).argmin(dim=1)
        if step < assignments - 1:
            centres = centres.clone()
            for j in range(len(starts)):
                if (nearest == j).any():
                    centres[j] = rows.detach()[nearest == j].mean(dim=0)
    means = [rows[nearest == j].mean(dim=0) if (nearest == j).any() else rows[0] * 0 for j in range(len(starts))]
    return torch.stack(means)


def boxes(*corners: tuple[int, int, int, int]) -> Tensor:
    """Masks (len, H, W) of one box each: top, left, height, width."""
    masks = torch.zeros(len(corners), *SIZE, dtype=torch.bool)
    for mask, (top, left, height, width) in zip(masks, corners, strict=True):
        mask[top : top + height, left : left + width] = True
    return masks


# way 0: a large and a tiny object (below 10 cells at twice the size); way 1: nothing, then a middling object
FOREGROUND = boxes((5, 4, 30, 22), (20, 20, 6, 5), (0, 0, 0, 0), (10, 3, 20, 20))
# the third image shows a sliver of background only (10 cells or fewer at the features' size)
BACKGROUND = ~FOREGROUND & torch.tensor([True, True, False, True])[:, None, None] | boxes(
    (0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 12, 12), (0, 0, 0, 0)
)
OWNERS = ((0, 1), (0, 1), (0, 2), (0, 2))


def support_case(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Rows, list[Tensor]]:
    """Features (2, 4, C, h, w) of two episodes with the masks above, their rows, and the same as lists."""
    features = torch.randn(2, 4, 6, *CELLS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    masks = torch.stack((BACKGROUND, FOREGROUND), dim=1).expand(2, -1, -1, -1, -1)
    rows = rows_of_masks(masks, OWNERS, CELLS, SIZE, (1, 2))
    every = [
        (listed(f, BACKGROUND, 1), listed(f[:2], FOREGROUND[:2], 2), listed(f[2:], FOREGROUND[2:], 2)) for f in features
    ]
    return features.to(dtype), rows, every


def test_the_lists_are_as_long_as_the_plain_ones() -> None:
    _, rows, every = support_case()
    assert rows.lists == 3
    assert len(rows.grids) == 3  # the features' size, twice that, the image's
    assert row_counts(rows).tolist() == [[len(r) for r in lists] for lists in every]
    assert rows.blank.nonzero().tolist() == [[0, 2, 1], [1, 2, 1]]


@pytest.mark.parametrize("assignments", [1, 2, 10])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_centres_and_gradient_against_loops(assignments: int, seed: int) -> None:
    features, rows, _ = support_case()
    uniform = torch.rand(2, 3, 5, generator=torch.Generator().manual_seed(seed))
    starts = drawn_rows(row_counts(rows), uniform)
    ours = features.clone().requires_grad_()
    actual = part_centres(ours, rows, starts, assignments)
    weights = torch.randn_like(actual)
    (actual * weights).sum().backward()
    theirs = features.clone().requires_grad_()
    total = 0.0
    for b in range(2):
        lists = (
            listed(theirs[b], BACKGROUND, 1),
            listed(theirs[b, :2], FOREGROUND[:2], 2),
            listed(theirs[b, 2:], FOREGROUND[2:], 2),
        )
        for number, own in enumerate(lists):
            expected = kmeans(own, starts[b, number], assignments)
            torch.testing.assert_close(actual[b, number], expected, atol=1e-11, rtol=0)
            total = total + (expected * weights[b, number]).sum()
    total.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-11, rtol=0)


def one_list(values: list[float]) -> tuple[Tensor, Rows]:
    """Twelve cells in a line, with one feature each, all in one list."""
    features = torch.tensor(values, dtype=torch.float32).view(1, 1, 1, 1, 12)
    masks = torch.ones(1, 1, 1, 1, 12, dtype=torch.bool)
    return features, rows_of_masks(masks, ((0,),), (1, 12), (1, 12), (1,))


def test_hand_computed() -> None:
    features, rows = one_list([0, 0, 1, 1, 2, 2, 10, 10, 11, 11, 12, 12])
    # from 0 and 2: {0, 0, 1, 1 (ties, to the first)} and the rest, whose means are 0.5 and 8.75
    starts = torch.tensor([[[0, 4]]])
    torch.testing.assert_close(part_centres(features, rows, starts, 1).flatten(), torch.tensor([0.5, 8.75]))
    # from 0.5 and 8.75: {0, 0, 1, 1, 2, 2} and {10, 10, 11, 11, 12, 12}
    torch.testing.assert_close(part_centres(features, rows, starts, 2).flatten(), torch.tensor([1.0, 11.0]))


def test_a_repeated_start_takes_nothing_first_and_keeps_its_place() -> None:
    features, rows = one_list([0, 0, 1, 1, 2, 2, 10, 10, 11, 11, 12, 12])
    starts = torch.tensor([[[0, 0, 6]]])
    # the second centre is the first's twin: empty, a zero vector at the end
    torch.testing.assert_close(part_centres(features, rows, starts, 1).flatten(), torch.tensor([1.0, 0.0, 11.0]))
    # then the first has moved to 1, and the second, still at 0, takes the zeros
    torch.testing.assert_close(part_centres(features, rows, starts, 2).flatten(), torch.tensor([1.5, 0.0, 11.0]))
    features = features.requires_grad_()
    part_centres(features, rows, starts, 1)[0, 0, 1].backward()
    assert not features.grad.any()


def test_more_centres_than_rows() -> None:
    features = torch.randn(1, 1, 3, 4, 4)
    masks = torch.zeros(1, 1, 1, 32, 32, dtype=torch.bool)
    masks[0, 0, 0, 9, 5:7] = True
    rows = rows_of_masks(masks, ((0,),), (4, 4), (32, 32), (2,))
    assert row_counts(rows).tolist() == [[2]]
    expected = listed(features[0], masks[0, :, 0], 2, (32, 32))
    centres = part_centres(features, rows, torch.tensor([[[1, 0, 1, 0, 0]]]), 10)
    torch.testing.assert_close(centres[0, 0, :2], expected.flip(0))
    assert not centres[0, 0, 2:].any()


def test_an_empty_list_has_one_row_of_zeros() -> None:
    masks = torch.zeros(1, 2, 1, 20, 20, dtype=torch.bool)
    features = torch.randn(1, 2, 3, 4, 4, requires_grad=True)
    rows = rows_of_masks(masks, ((0,), (0,)), (4, 4), (20, 20), (2,))
    assert row_counts(rows).tolist() == [[2]]
    centres = part_centres(features, rows, torch.zeros(1, 1, 5, dtype=torch.long), 3)
    assert not centres.any()
    centres.sum().backward()
    assert not features.grad.any()


def test_ten_cells_are_few_and_eleven_enough() -> None:
    masks = torch.zeros(1, 2, 1, 8, 8, dtype=torch.bool)
    masks[0, 0, 0, 0] = masks[0, 1, 0, 0] = True
    masks[0, 0, 0, 1, :2] = masks[0, 1, 0, 1, :3] = True
    rows = rows_of_masks(masks, ((0,), (1,)), (8, 8), (16, 16), (1,))
    assert row_counts(rows).tolist() == [[40, 11]]  # of ten cells, four pixels each


def test_single_precision_and_every_batch_has_the_same_bits() -> None:
    features, rows, every = support_case(torch.float32)
    starts = drawn_rows(row_counts(rows), torch.rand(2, 3, 5, generator=torch.Generator().manual_seed(0)))
    together = part_centres(features, rows, starts, 10)
    for b in range(2):
        own = Rows(rows.owners, rows.blank[b : b + 1], tuple(grid[b : b + 1] for grid in rows.grids))
        assert torch.equal(part_centres(features[b : b + 1], own, starts[b : b + 1], 10)[0], together[b])
        for number in range(3):
            expected = kmeans(every[b][number], starts[b, number], 10)
            torch.testing.assert_close(together[b, number].double(), expected, atol=1e-5, rtol=0)


def test_drawn_rows_cover_the_list_and_stay_inside() -> None:
    uniform = torch.tensor([0.0, 0.249, 0.25, 0.5, 0.99999999]).double().view(1, 1, 5)
    assert drawn_rows(torch.tensor([[4]]), uniform).tolist() == [[[0, 0, 1, 2, 3]]]
    assert drawn_rows(torch.tensor([[1]]), torch.ones(1, 1, 1).double()).tolist() == [[[0]]]
