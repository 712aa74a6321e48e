"""What a head operation sees and gives back."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from fsseg_bench.nn.itemwise import itemwise


class Pair(NamedTuple):
    total: Tensor
    twice: Tensor


def test_on_cpu_it_sees_one_item_at_a_time_on_aligned_row_major_memory() -> None:
    seen: list[tuple[int, bool, int]] = []

    @itemwise
    def watch(x: Tensor) -> Tensor:
        seen.append((x.shape[0], x.is_contiguous(), x.data_ptr() % 64))
        return x

    odd = torch.randn(3, 7, 5, 3)
    assert torch.equal(watch(odd), odd)
    last = torch.randn(3, 8, 5, 3).contiguous(memory_format=torch.channels_last)
    assert torch.equal(watch(last), last)
    shifted = torch.randn(106)[1:].view(1, 7, 5, 3)
    assert torch.equal(watch(shifted), shifted)
    assert seen == [(1, True, 0)] * 7


def test_options_are_shared_and_named_tuples_joined() -> None:
    @itemwise
    def both(x: Tensor, y: Tensor, *, factor: float) -> Pair:
        return Pair((x * y).sum(dim=1), factor * x)

    x, y = torch.randn(4, 3), torch.randn(4, 3)
    result = both(x, y, factor=2.0)
    assert isinstance(result, Pair)
    torch.testing.assert_close(result.total, (x * y).sum(dim=1))
    assert torch.equal(result.twice, 2 * x)


def test_gradients_pass() -> None:
    @itemwise
    def square(x: Tensor) -> Tensor:
        return x * x

    x = torch.randn(3, 5, requires_grad=True)
    square(x).sum().backward()
    assert torch.equal(x.grad, 2 * x.detach())


def test_autocast_does_not_reach_it_and_half_precision_becomes_float32() -> None:
    @itemwise
    def product(x: Tensor, y: Tensor) -> Tensor:
        return x @ y

    x, y = torch.randn(2, 8, 16), torch.randn(2, 16, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (x @ y).dtype == torch.bfloat16
        assert torch.equal(product(x, y), product(x, y).float())
        inside = product(x, y)
    assert torch.equal(inside, product(x, y))
    assert product(x.bfloat16(), y.half()).dtype == torch.float32
    assert product(x.double(), y.double()).dtype == torch.float64


def test_positional_arguments_must_be_tensors() -> None:
    @itemwise
    def scale(x: Tensor, factor: float) -> Tensor:
        return factor * x

    with pytest.raises(TypeError, match="not float"):
        scale(torch.randn(2), 2.0)
