"""Batch-norms over the batch of several processes, here of one: PyTorch's own, their gradients and statistics too."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.distributed as dist
from torch import nn

from fsseg_bench.engine.shared_norm import shared_norms


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A group of one, whose sums are its own; sizes of what was summed."""
    sizes: list[int] = []
    monkeypatch.setattr(dist, "all_reduce", lambda tensor, group: sizes.append(tensor.numel()))
    return sizes


NORMS = {
    "usual": nn.BatchNorm2d(4),
    "cumulative": nn.BatchNorm2d(4, momentum=None),
    "plain": nn.BatchNorm2d(4, affine=False),
    "without statistics": nn.BatchNorm2d(4, track_running_stats=False).eval(),
    "fixed": nn.BatchNorm2d(4).eval(),
}


@pytest.mark.parametrize("name", NORMS)
def test_it_is_the_batch_norm_of_pytorch(name: str, one_process: list[int]) -> None:
    torch.manual_seed(0)
    norm = copy.deepcopy(NORMS[name])
    if norm.affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    twin = copy.deepcopy(norm)
    for _ in range(2):
        images = (3 * torch.randn(3, 4, 5, 6) + 2).to(memory_format=torch.channels_last).requires_grad_()
        others = images.detach().clone().requires_grad_()
        weights = torch.randn(3, 4, 5, 6)
        with shared_norms(nn.Sequential(norm), None):
            found = norm(images)
        expected = twin(others)
        (found * weights).square().sum().backward()
        (expected * weights).square().sum().backward()
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(images.grad, others.grad, rtol=1e-4, atol=1e-4)
    for (key, value), (_, other) in zip(norm.named_parameters(), twin.named_parameters(), strict=True):
        torch.testing.assert_close(value.grad, other.grad, rtol=1e-4, atol=1e-4, msg=key)
    for (key, value), (_, other) in zip(norm.named_buffers(), twin.named_buffers(), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-5, atol=1e-5, msg=key)
    assert (one_process == []) == (name == "fixed")


def test_half_precision_comes_back_as_it_came_and_nothing_stays_behind(one_process: list[int]) -> None:
    norm = nn.BatchNorm1d(4)
    with shared_norms(nn.Sequential(norm), None):
        assert norm(torch.randn(8, 4).half()).dtype == torch.float16
    summed = len(one_process)
    norm(torch.randn(8, 4))
    assert len(one_process) == summed
    assert "forward" not in vars(norm)
