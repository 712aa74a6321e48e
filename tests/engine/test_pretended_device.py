"""The pretended GPU itself: it refuses what a GPU refuses, lists what waits, and computes like the CPU."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsseg_bench.engine.device import backend_of
from fsseg_bench.nn.host import sent
from tests.support.pretended import WAITS as OPERATIONS
from tests.support.pretended import MixedError, Pretended
from tests.support.pretended_backend import pretend
from tests.support.waits import Wait, watched

UNPINNED = "copy to the device from memory that is not pinned"
HOST = torch.arange(6.0).view(2, 3)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    return pretend(monkeypatch)


@pytest.fixture
def x(device: torch.device) -> Tensor:
    return HOST.to(device)


def calls(function: Callable[[], Any]) -> list[str]:
    with watched() as waits:
        function()
    return [one.call for one in waits]


WAITS: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "item": (lambda x: x.sum().item(), "_local_scalar_dense"),
    "float": (lambda x: float(x[0, 0]), "_local_scalar_dense"),
    "bool": (lambda x: bool((x > 0).any()), "_local_scalar_dense"),
    "allclose": (lambda x: torch.allclose(x, x), "allclose"),
    "tolist": (lambda x: x.tolist(), "tolist"),
    "equal": (lambda x: torch.equal(x, x), "equal"),
    "cpu": (lambda x: x.cpu(), "copy to the host"),
    "to": (lambda x: x.to("cpu"), "copy to the host"),
    "copy_ to the host": (lambda x: torch.empty(2, 3).copy_(x), "copy to the host"),
    "nonzero": (lambda x: x.nonzero(), "nonzero"),
    "where": (lambda x: torch.where(x > 1), "nonzero"),
    "argwhere": (lambda x: torch.argwhere(x > 1), "nonzero"),
    "masked_select": (lambda x: x.masked_select(x > 1), "masked_select"),
    "a mask as an index": (lambda x: x[x > 1], "index by a mask"),
    "a mask of rows": (lambda x: x[x[:, 0] > 1], "index by a mask"),
    "rows at a mask": (lambda x: x.__setitem__(x[:, 0] > 1, x[:1].clone()), "index_put_ by a mask"),
    "an index of the host": (lambda x: x[torch.tensor([1, 0])], "index by a host tensor"),
    "unique": (lambda x: torch.unique(x), "_unique2"),
    "unique rows": (lambda x: torch.unique(x, dim=0), "unique_dim"),
    "unique_consecutive": (lambda x: torch.unique_consecutive(x), "unique_consecutive"),
    "unique_consecutive rows": (lambda x: torch.ops.aten.unique_dim_consecutive(x, 0), "unique_dim_consecutive"),
    "_unique": (lambda x: torch._unique(x), "_unique"),
    "histc": (lambda x: torch.histc(x, 3), "histc"),
    "bincount": (lambda x: torch.bincount(x.flatten().long()), "bincount"),
    "repeat_interleave": (lambda x: x[0].repeat_interleave(x[1].long()), "repeat_interleave"),
    "one_hot of unknown size": (lambda x: F.one_hot(x.long()), "_local_scalar_dense"),
    "multinomial": (lambda x: x.multinomial(1), "multinomial"),
    "inverse": (lambda x: torch.linalg.inv(x[:, 1:]), "_linalg_check_errors"),
    "a copy to the device": (lambda x: HOST.to(x.device), UNPINNED),
    "non_blocking alone": (
        lambda x: HOST.to(x.device, non_blocking=True),
        UNPINNED,
    ),
    "pinned alone": (lambda x: HOST.pin_memory().to(x.device), "copy to the device"),
    "copy_ to the device": (lambda x: x.copy_(HOST), UNPINNED),
    "several copies": (lambda x: torch._foreach_copy_([x], [HOST]), UNPINNED),
    "a tensor of numbers": (lambda x: torch.tensor([1.0, 2.0], device=x.device), UNPINNED),
    "new_tensor": (lambda x: x.new_tensor([1.0, 2.0]), UNPINNED),
    "pickle": (lambda x: torch.save(x, io.BytesIO()), "pickle"),
    "synchronise": (lambda x: backend_of(x.device).synchronise(x.device), "synchronise"),
    "reading a copy": (lambda x: backend_of(x.device).to_host(x)(), "to_host"),
}
"""What waits on a GPU, and under which name it is listed."""

NO_WAITS: dict[str, Callable[[Tensor], Any]] = {
    "arithmetic": lambda x: (x * 2 + 1).softmax(dim=1) @ x.mT,
    "a number of the host": lambda x: x * torch.tensor(3.0),
    "factories": lambda x: (torch.zeros(2, device=x.device), torch.arange(3, device=x.device), x.new_ones(2)),
    "random numbers": lambda x: (torch.rand(2, device=x.device), F.dropout(x)),
    "an index of the device": lambda x: x[:, torch.arange(2, device=x.device)],
    "a slice": lambda x: x[:1, 1:],
    "a number at a mask": lambda x: x.__setitem__(x > 1, 0.0),
    "where with three": lambda x: torch.where(x > 1, x, 0.0),
    "one_hot of known size": lambda x: F.one_hot(x.long(), 6),
    "repeat_interleave by a number": lambda x: x.repeat_interleave(2, dim=0),
    "sorting": lambda x: (x.argsort(dim=1), x.topk(2), x.cumsum(dim=0)),
    "a pinned copy": lambda x: HOST.pin_memory().to(x.device, non_blocking=True),
    "sent": lambda x: sent(HOST, x.device),
    "to_device": lambda x: backend_of(x.device).to_device(HOST, x.device),
    "the beginning of a copy": lambda x: backend_of(x.device).to_host(x),
    "the host's own work": lambda x: HOST.sum().item(),
}
"""What does not."""

MIXES: dict[str, Callable[[Tensor], Any]] = {
    "a sum": lambda x: x + HOST,
    "a product": lambda x: HOST @ x.mT,
    "where": lambda x: torch.where(HOST > 1, x, x),
    "cat": lambda x: torch.cat((x, HOST)),
    "a host's map at the device's index": lambda x: HOST[x[0].long() * 0],
    "a convolution": lambda x: F.conv1d(x, torch.ones(1, 2, 1)),
    "in place": lambda x: x.add_(HOST),
    "rows of the host": lambda x: x.__setitem__(torch.arange(1, device=x.device), HOST[:1]),
    "numpy": lambda x: x.numpy(),
    "its address": lambda x: x.data_ptr(),
    "a generator of the host": lambda x: torch.rand(2, device=x.device, generator=torch.Generator()),
    "noise of the host": lambda x: x.normal_(generator=torch.Generator()),
    "a copy that nothing waits for": lambda x: x.to("cpu", non_blocking=True),
}
"""What a GPU refuses, or gives wrong numbers for."""


@pytest.mark.parametrize("name", WAITS)
def test_what_waits_is_listed(name: str, x: Tensor) -> None:
    function, expected = WAITS[name]
    assert calls(lambda: function(x))[:1] == [expected]


def test_every_operation_that_is_said_to_wait_is_in_the_table() -> None:
    assert {call for _, call in WAITS.values()} >= OPERATIONS


@pytest.mark.parametrize("name", NO_WAITS)
def test_what_does_not_wait_is_not(name: str, x: Tensor) -> None:
    assert calls(lambda: NO_WAITS[name](x)) == []


@pytest.mark.parametrize("name", MIXES)
def test_host_and_device_do_not_mix(name: str, x: Tensor) -> None:
    with pytest.raises((MixedError, TypeError)):
        MIXES[name](x)


def test_what_the_device_is_past_is_not_waited_for(device: torch.device, x: Tensor) -> None:
    backend = backend_of(device)
    first, early = backend.mark(device), backend.to_host(x)
    second, late, third = backend.mark(device), backend.to_host(x), backend.mark(device)
    assert calls(lambda: [late(), late(), early()]) == ["to_host"]
    assert calls(lambda: backend.seconds_between(first, second)) == []
    assert calls(lambda: backend.seconds_between(second, third)) == ["seconds_between"]
    assert torch.equal(early(), HOST)


def test_waits_inside_inference_mode_are_listed_too(x: Tensor) -> None:
    with torch.inference_mode():
        assert calls(lambda: F.linear(x, x).sum().item()) == ["_local_scalar_dense"]
        with pytest.raises(MixedError):
            F.linear(x, HOST)


def test_a_wait_in_a_backward_pass_is_named_by_its_node(x: Tensor) -> None:
    class Waits(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, given: Tensor) -> Tensor:
            return given * 1

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            gradient.sum().item()
            return gradient

    start = x.clone().requires_grad_()
    with watched() as waits:
        Waits.apply(start).sum().backward()
    assert waits == [Wait("_local_scalar_dense", "backward of WaitsBackward")]


def test_only_what_runs_inside_the_block_is_listed(x: Tensor) -> None:
    with watched() as outer:
        x.sum().item()
        with watched() as inner:
            x.nonzero()
    x.sum().item()
    assert [[one.call for one in log] for log in (outer, inner)] == [["_local_scalar_dense", "nonzero"], ["nonzero"]]


def trained(device: torch.device) -> Iterator[Tensor]:
    """Numbers of two steps of a small network on ``device``."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(4, 2, 1))
    network.to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for step in range(2):
        torch.manual_seed(step)
        images, labels = torch.randn(2, 3, 6, 6), torch.randint(2, (2, 4, 4))
        loss = F.cross_entropy(network(sent(images, device)), sent(labels, device))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        yield loss.detach()
    yield from network.state_dict().values()


def test_it_trains_like_the_cpu(device: torch.device) -> None:
    with watched() as waits:
        there = list(trained(device))
    # moving the network to the device is a copy of each parameter and buffer
    assert [one.call for one in waits if "copy to the device" not in one.call] == []
    here = list(trained(torch.device("cpu")))
    assert len(here) == len(there) == 11
    for expected, found in zip(here, there, strict=True):
        assert isinstance(found, Pretended)
        assert found.device.type == "pretended"
        torch.testing.assert_close(found.inner, expected, rtol=0, atol=0)


def test_a_network_keeps_its_parameters_when_it_moves_and_a_copy_has_its_own(device: torch.device) -> None:
    network = nn.Linear(2, 2)
    before = list(network.parameters())
    network.to(device)
    assert all(one is two for one, two in zip(before, network.parameters(), strict=True))
    other = copy.deepcopy(network)
    assert isinstance(other.weight, nn.Parameter)
    assert isinstance(other.weight, Pretended)
    with torch.no_grad():
        other.weight.zero_()
    assert network.weight.inner.abs().sum() > 0


def test_what_is_saved_loads_on_the_host(device: torch.device) -> None:
    network, file = nn.Linear(2, 2).to(device), io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    assert state["weight"].device.type == "cpu"
    assert torch.equal(state["weight"], network.weight.inner)


def test_views_share_their_numbers(x: Tensor) -> None:
    x[0].fill_(7)
    x.view(6)[5] = 8
    assert x.tolist() == [[7, 7, 7], [3, 4, 8]]
