"""The closed-form inner loop against autograd on PyTorch's own cosine similarity and cross-entropy."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fsseg_bench.errors import UserError
from fsseg_bench.nn.prototypes import unit_cells
from fsseg_methods._inner import InnerSwitches, inner_labels, inner_loop

EXACT = {"atol": 1e-12, "rtol": 1e-12}
CELLS = (6, 5)


def _options(**changes: Any) -> InnerSwitches:
    values: dict[str, Any] = {
        "steps": 10,
        "eta": 0.1,
        "alpha_inner": 20.0,
        "inner_reduction": "sum",
        "inner_pixel_ref": 0.0,
        "proto_unit_norm": False,
        "inner_grad": "first",
        "inner_res": "feature",
    }
    return InnerSwitches(**{**values, **changes})


def _case(
    classes: int = 2,
    batch: int = 3,
    channels: int = 8,
    size: tuple[int, int] = CELLS,
    ignored: bool = True,
    norm: float = 5.0,
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(classes)
    query = norm * torch.randn(batch, channels, *CELLS, generator=generator, dtype=torch.float64)
    prototypes = norm * torch.randn(batch, classes, channels, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, classes, (batch, *size), generator=generator)
    if ignored:
        share = torch.rand(labels.shape, generator=generator)
        labels = labels.masked_fill(share < 0.2, 255)
        labels[0] = labels[0].masked_fill(share[0] < 0.5, 255)  # other numbers of labelled cells in each item
    return query, prototypes, labels


def _reference_loss(query: Tensor, prototypes: Tensor, labels: Tensor, options: InnerSwitches) -> Tensor:
    """The inner loss (B,) as published code would write it."""
    cosines = F.cosine_similarity(query[:, None], prototypes[..., None, None], dim=2)
    scores = options.alpha_inner * cosines
    if options.inner_res == "input":
        scores = F.interpolate(scores, size=labels.shape[1:], mode="bilinear", align_corners=False)
    losses = []
    for score, label in zip(scores, labels, strict=True):
        mean = options.inner_reduction == "mean" or options.inner_pixel_ref > 0
        factor = options.inner_pixel_ref if options.inner_reduction == "sum" and options.inner_pixel_ref > 0 else 1.0
        loss = F.cross_entropy(score[None], label[None], ignore_index=255, reduction="mean" if mean else "sum")
        losses.append(factor * loss)
    return torch.stack(losses)


def _reference_loop(
    query: Tensor, prototypes: Tensor, labels: Tensor, options: InnerSwitches, *, second: bool = False
) -> list[Tensor]:
    """The prototypes after 0..T steps, by autograd."""
    start = prototypes / prototypes.norm(dim=2, keepdim=True) if options.proto_unit_norm else prototypes
    track = [start if second else start.detach().requires_grad_()]
    for _ in range(options.steps):
        loss = _reference_loss(query, track[-1], labels, options).sum()
        (gradient,) = torch.autograd.grad(loss, track[-1], create_graph=second)
        track.append(track[-1] - options.eta * gradient)
    return track


VARIANTS: list[dict[str, Any]] = [
    {"inner_reduction": "sum", "eta": 0.01},
    {"inner_reduction": "sum", "inner_pixel_ref": 50.0, "eta": 0.05},
    {"inner_reduction": "mean"},
    {"inner_reduction": "mean", "proto_unit_norm": True},
    {"inner_reduction": "sum", "inner_pixel_ref": 7.0, "proto_unit_norm": True},
    {"inner_reduction": "mean", "alpha_inner": 5.0, "eta": 0.5},
    {"inner_reduction": "mean", "inner_res": "input", "eta": 1.0},
]


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_single_gradients_equal_autograd(classes: int, variant: dict[str, Any]) -> None:
    options = _options(**{**variant, "steps": 1})
    query, prototypes, labels = _case(classes, size=(23, 17) if options.inner_res == "input" else CELLS)
    result = inner_loop(unit_cells(query).cells, prototypes, labels, options=options)
    start, end = (t.detach() for t in _reference_loop(query, prototypes, labels, options))
    ours = (start - result.prototypes) / options.eta
    assert (start - end).abs().max() > 1e-4
    torch.testing.assert_close(ours, (start - end) / options.eta, **EXACT)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_ten_steps_losses_and_angles_equal_autograd(classes: int, variant: dict[str, Any]) -> None:
    options = _options(**variant)
    query, prototypes, labels = _case(classes, size=(23, 17) if options.inner_res == "input" else CELLS)
    result = inner_loop(unit_cells(query).cells, prototypes, labels, options=options)
    track = [t.detach() for t in _reference_loop(query, prototypes, labels, options)]
    torch.testing.assert_close(result.prototypes, track[-1], **EXACT)
    means = [_reference_loss(query, t, labels, _options(**{**variant, "inner_reduction": "mean"})) for t in track]
    torch.testing.assert_close(result.losses, torch.stack(means, dim=1), **EXACT)
    cosines = torch.stack([F.cosine_similarity(t, track[0], dim=2) for t in track], dim=1).clamp(-1, 1)
    assert result.angles.shape == (3, 11, classes)
    torch.testing.assert_close(result.angles, cosines.arccos().rad2deg(), atol=1e-5, rtol=0)
    assert result.angles[:, -1].min() > 0.1


def test_tiny_angles_are_exact() -> None:
    query, prototypes, labels = _case(norm=1e4, ignored=False)
    result = inner_loop(unit_cells(query).cells, prototypes, labels, options=_options(steps=1))
    moved = _reference_loop(query, prototypes, labels, _options(steps=1))[1].detach() - prototypes
    expected = (moved.norm(dim=2) / prototypes.norm(dim=2)).rad2deg()  # the step is orthogonal to the prototype
    assert expected.max() < 1e-4
    torch.testing.assert_close(result.angles[:, 1], expected, atol=0, rtol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("variant", VARIANTS[1:5], ids=str)
def test_second_order_equals_create_graph(classes: int, variant: dict[str, Any]) -> None:
    options = _options(**{**variant, "inner_grad": "second", "steps": 5})
    query, prototypes, labels = _case(classes)
    outcome = []
    for closed in (True, False):
        q, p = query.clone().requires_grad_(), prototypes.clone().requires_grad_()
        if closed:
            end = inner_loop(unit_cells(q).cells, p, labels, options=options).prototypes
        else:
            end = _reference_loop(q, p, labels, options, second=True)[-1]
        weights = torch.linspace(-1, 1, end.numel(), dtype=torch.float64).view_as(end)
        outcome.append(torch.autograd.grad((weights * end).sum(), (q, p)))
    scale = [float(t.abs().max()) for t in outcome[1]]
    for ours, theirs, largest in zip(*outcome, scale, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12 * largest, rtol=1e-10)


@pytest.mark.parametrize("unit_norm", [False, True])
def test_first_order_passes_the_outer_gradient_to_the_start_alone(unit_norm: bool) -> None:
    query, prototypes, labels = _case(2)
    query.requires_grad_()
    prototypes.requires_grad_()
    options = _options(inner_reduction="mean", proto_unit_norm=unit_norm)
    end = inner_loop(unit_cells(query).cells, prototypes, labels, options=options).prototypes
    weights = torch.randn_like(end)
    grad_query, grad_start = torch.autograd.grad((weights * end).sum(), (query, prototypes), allow_unused=True)
    start = prototypes / prototypes.norm(dim=2, keepdim=True) if unit_norm else prototypes
    (expected,) = torch.autograd.grad((weights * start).sum(), prototypes)
    assert grad_query is None
    torch.testing.assert_close(grad_start, expected, **EXACT)


def test_all_gradient_modes_give_the_same_bits_forward() -> None:
    query, prototypes, labels = _case(3)
    cells = unit_cells(query.float()).cells
    prototypes = prototypes.float().requires_grad_()
    ends = [
        inner_loop(cells, prototypes, labels, options=_options(inner_grad=mode, inner_reduction="mean")).prototypes
        for mode in ("first", "second", "leaf")
    ]
    assert [end.requires_grad for end in ends] == [True, True, False]
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])


def test_one_step_by_hand() -> None:
    # one cell q = (1, 0), P_0 = (0, 2), P_1 = (3, 0), labelled 0: cosines 0 and 1, pi_1 = sigmoid(20) = 1 - 2.06e-9
    cells = torch.tensor([1.0, 0.0], dtype=torch.float64).view(1, 2, 1, 1)
    prototypes = torch.tensor([[[0.0, 2.0], [3.0, 0.0]]], dtype=torch.float64)
    labels = torch.zeros(1, 1, 1, dtype=torch.int64)
    result = inner_loop(cells, prototypes, labels, options=_options(steps=1))
    residual = 1 / (1 + math.exp(-20))
    # v_0 = -20 residual q, orthogonal to P_0, divided by |P_0| = 2; v_1 is parallel to P_1: no tangent
    expected = torch.tensor([[[0.1 * 20 * residual / 2, 2.0], [3.0, 0.0]]], dtype=torch.float64)
    torch.testing.assert_close(result.prototypes, expected, **EXACT)
    assert result.losses[0, 0].item() == pytest.approx(20, abs=1e-8)
    assert result.angles[0, 1].tolist() == pytest.approx([math.degrees(math.atan(residual / 2)), 0], abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("unit_norm", [False, True])
def test_a_zero_prototype_stays_zero(dtype: torch.dtype, unit_norm: bool) -> None:
    query, prototypes, labels = (t.to(dtype) if t.is_floating_point() else t for t in _case(3))
    prototypes[0, 2] = 0
    options = _options(inner_reduction="mean", proto_unit_norm=unit_norm, inner_grad="second")
    query.requires_grad_()
    result = inner_loop(unit_cells(query).cells, prototypes.requires_grad_(), labels, options=options)
    assert not result.prototypes[0, 2].any()
    assert result.prototypes[1:].all()
    result.prototypes.sum().backward()
    assert query.grad is not None
    assert query.grad.isfinite().all()
    assert prototypes.grad is not None
    assert prototypes.grad.isfinite().all()


def test_everything_ignored_changes_nothing() -> None:
    query, prototypes, labels = _case(2)
    result = inner_loop(unit_cells(query).cells, prototypes, torch.full_like(labels, 255), options=_options())
    assert torch.equal(result.prototypes, prototypes)
    assert not result.losses.any()


def test_no_steps() -> None:
    query, prototypes, labels = _case(2)
    result = inner_loop(unit_cells(query).cells, prototypes, labels, options=_options(steps=0))
    assert torch.equal(result.prototypes, prototypes)
    assert result.losses.shape == (3, 1)
    assert not result.angles.any()


def test_labels_are_the_most_similar_prototypes() -> None:
    query, prototypes, _ = _case(3)
    cosines = F.cosine_similarity(query[:, None], prototypes[..., None, None], dim=2)
    cells = unit_cells(query).cells
    assert torch.equal(inner_labels(cells, prototypes, size=None), cosines.argmax(dim=1))
    full = F.interpolate(cosines, size=(23, 17), mode="bilinear")
    assert torch.equal(inner_labels(cells, prototypes, size=(23, 17)), full.argmax(dim=1))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("variant", [VARIANTS[3], VARIANTS[6]], ids=str)
def test_the_same_bits_in_every_batch(classes: int, variant: dict[str, Any]) -> None:
    options = _options(**variant)
    query, prototypes, _ = (t.float() if t.is_floating_point() else t for t in _case(classes, 8, 37))
    cells = unit_cells(query).cells
    labels = inner_labels(cells, prototypes, size=(23, 17) if options.inner_res == "input" else None)
    parts = [inner_loop(cells[i : i + 1], prototypes[i : i + 1], labels[i : i + 1], options=options) for i in range(8)]
    for count in (1, 3, 8):
        result = inner_loop(cells[:count], prototypes[:count], labels[:count], options=options)
        for together, alone in zip(result, zip(*parts[:count], strict=True), strict=True):
            assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"proto_unit_norm": True}, "proto_unit_norm=false"),
        ({"proto_unit_norm": True, "inner_pixel_ref": 2809.0}, "proto_unit_norm=false"),
    ],
)
def test_options_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        _options(**changes)
