"""Every built-in method under the guard that a GPU's runs have: nothing in it lacks a deterministic form there.

No GPU is needed: what a training step asks of PyTorch is recorded, and compared with what PyTorch's documentation of
``torch.use_deterministic_algorithms`` says of GPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fsseg_bench.engine.build import assemble
from fsseg_bench.engine.device import deterministic_algorithms
from fsseg_bench.engine.made_up import evaluation_episode, training_episode
from fsseg_bench.method import Method
from fsseg_bench.registry import find_method, method_names
from tests.support.tiny_run import trained_methods

REFUSED = {
    *("avg_pool3d_backward", "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward"),
    *("adaptive_max_pool2d_backward", "adaptive_max_pool3d_backward", "max_pool3d_with_indices_backward"),
    *("fractional_max_pool2d_backward", "fractional_max_pool3d_backward", "max_unpool2d", "max_unpool3d"),
    *("upsample_linear1d_backward", "upsample_bilinear2d_backward", "upsample_bicubic2d_backward"),
    *("upsample_trilinear3d_backward", "_upsample_bilinear2d_aa_backward", "_upsample_bicubic2d_aa_backward"),
    *("reflection_pad1d_backward", "reflection_pad2d_backward", "reflection_pad3d_backward"),
    *("replication_pad1d_backward", "replication_pad2d_backward", "replication_pad3d_backward"),
    *("_ctc_loss_backward", "_embedding_bag_dense_backward", "put", "put_", "histc", "kthvalue"),
    *("grid_sampler_2d_backward", "grid_sampler_3d_backward"),
}
"""Operations without a deterministic form on a GPU in some version of PyTorch, whatever their arguments."""
GUARDED = {"gather", "scatter_add", "scatter_add_", "scatter", "scatter_", "index_put", "index_put_", "index_add"}
"""Operations (and ``gather``'s gradient) that have another form under the guard."""
NEED_THE_GUARD = {
    "bam": {"gather", "scatter_add"},
    "biopt": {"scatter_"},
    "dan": {"gather", "scatter_", "scatter_add"},
    "fwb": {"scatter"},
    "oslsm": {"index_put"},
    "panet": {"scatter_"},
    "pfenet": {"gather", "scatter_add"},
    "pgnet": {"gather", "scatter_", "scatter_add"},
    "ppnet": {"gather", "scatter", "scatter_"},
    "ppnet-ud": {"gather", "scatter", "scatter_"},
}
"""By method, which of these its training asks for; the others repeat themselves anyway."""


class Recorded(TorchDispatchMode):
    """Names of the operations within it, and what a GPU would refuse of them."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.refused: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.names.add(name)
        if name in REFUSED or _refused_so(name, args, kwargs or {}):
            self.refused.add(name)
        return func(*args, **(kwargs or {}))


def _refused_so(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether these arguments make it one that has no deterministic form."""
    if name == "nll_loss2d_forward":  # input, target, weight, reduction: sums alone are atomic
        return bool(args[3] != 0)
    if name == "cumsum":  # of whole numbers any order gives the same
        return bool(args[0].is_floating_point())
    if name == "bincount":
        return len(args) > 1 or kwargs.get("weights") is not None
    if name in {"median", "nanmedian"}:  # with indices
        return len(args) > 1 or bool(kwargs)
    return name == "scatter_reduce" and "prod" in (*args, *kwargs.values())


def built(name: str) -> Method:
    torch.manual_seed(0)
    return assemble(find_method(name), "resnet18-layer2", "none", {}, seed=0, base_classes=3)[0]


def train(method: Method) -> None:
    """A whole step: encode, loss, backward, and the optimiser's."""
    method.train()
    loss: Any = sum(method.loss(training_episode(method)).values())
    loss.backward()
    torch.optim.SGD(method.parameters(), lr=1e-3, momentum=0.9).step()


@pytest.mark.parametrize("name", method_names())
def test_training_and_prediction_ask_for_nothing_that_is_refused(name: str) -> None:
    method = built(name)
    if name in trained_methods():
        with deterministic_algorithms(), Recorded() as recorded:
            train(method)
        assert recorded.refused == set()
        assert recorded.names & GUARDED == NEED_THE_GUARD.get(name, set())
    with deterministic_algorithms(), Recorded() as recorded:
        method.predict(evaluation_episode(method, batch=2))
    assert recorded.refused == set()


def _maps() -> Tensor:
    return torch.randn(1, 3, 6, 6, requires_grad=True)


def _operations() -> Iterator[tuple[str, Callable[[], Tensor]]]:
    labels, grid = torch.zeros(1, 6, 6, dtype=torch.int64), torch.zeros(1, 4, 4, 2)
    yield "nll_loss2d_forward", lambda: F.cross_entropy(_maps(), labels)
    yield "upsample_bilinear2d_backward", lambda: F.interpolate(_maps(), size=(9, 9), mode="bilinear").sum()
    yield "_adaptive_avg_pool2d_backward", lambda: F.adaptive_avg_pool2d(_maps(), 4).square().sum()
    yield "adaptive_max_pool2d_backward", lambda: F.adaptive_max_pool2d(_maps(), 4).sum()
    yield "reflection_pad2d_backward", lambda: F.pad(_maps(), (1, 1, 1, 1), mode="reflect").square().sum()
    yield "grid_sampler_2d_backward", lambda: F.grid_sample(_maps(), grid, align_corners=False).sum()
    yield "cumsum", lambda: _maps().cumsum(0).sum()
    yield "median", lambda: _maps().median(dim=1).values.sum()


@pytest.mark.parametrize(("name", "operation"), list(_operations()))
def test_what_is_refused_is_found(name: str, operation: Callable[[], Tensor]) -> None:
    with Recorded() as recorded:
        operation().backward()
    assert recorded.refused == {name}


def test_pixel_losses_without_a_sum_are_not_refused() -> None:
    with Recorded() as recorded:
        F.cross_entropy(_maps(), torch.zeros(1, 6, 6, dtype=torch.int64), reduction="none").sum().backward()
        torch.bincount(torch.tensor([0, 2]))
        torch.ones(3, dtype=torch.int64).cumsum(0)
    assert recorded.refused == set()
