"""Every built-in method on fake CUDA tensors, which have shapes and types but no numbers, in fp32 and under autocast.

PyTorch's own rules for CUDA decide here which operations a device refuses, what autocast makes of each, and which need
a number that is not there: a second opinion on what waits. What needs a driver (a backward pass) is left out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode

from fsseg_bench.engine.build import assemble
from fsseg_bench.engine.inference import levels_of
from fsseg_bench.engine.made_up import evaluation_episode, training_episode
from fsseg_bench.method import Method, Prediction, TrainingFree
from fsseg_bench.nn import bilinear
from fsseg_bench.registry import find_method, method_names
from fsseg_methods import _adaptive, _hsnet, _positional, insid3, ppnet_ud
from fsseg_methods._positional import Basis

SWITCHES = {"fwb": {"boosting": False}}
"""Boosting is a backward pass."""


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorMode]:
    """The mode, with what would ask for a driver answered."""
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    # superpixels need numbers
    monkeypatch.setattr(ppnet_ud, "slic_labels", lambda images, segments: images[:, 0].long())
    # and so do clusters and positional directions
    monkeypatch.setattr(insid3, "clusters_of", lambda cells, height: (cells[0].long(), 5))
    monkeypatch.setattr(_positional, "positional_basis", lambda empty, wanted: Basis(empty[:, 0, :3], 0.5, 0.5))
    caches = (bilinear._weights, bilinear._triangles, _adaptive._averages, _hsnet._taps)
    for cache in caches:
        cache.cache_clear()
    yield FakeTensorMode()
    for cache in caches:
        cache.cache_clear()


def faked(name: str, mode: FakeTensorMode) -> Method:
    """A method whose parameters and buffers are fakes of CUDA."""
    method = assemble(find_method(name), "resnet18-layer2", "none", SWITCHES.get(name, {}), seed=0, base_classes=3)[0]
    for module in method.modules():
        for tensors in (module._parameters, module._buffers):
            for key, tensor in tensors.items():
                if tensor is not None:
                    fake = mode.from_tensor(tensor)
                    with mode:
                        there = fake.detach().cuda()
                    kept = nn.Parameter(there, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else there
                    tensors[key] = kept  # type: ignore[assignment]
    return method


QUICK = ("canet", "dan", "fwb", "pgnet", "ppnet")
"""Methods that once asked for a number."""
SLOW = pytest.mark.slow


@pytest.mark.parametrize("precision", ["bf16", pytest.param("fp32", marks=SLOW)])
@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=SLOW) for name in method_names()])
def test_encoding_predicting_and_loss_need_no_number_of_the_device(
    name: str, precision: str, fakes: FakeTensorMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = faked(name, fakes)
    # whether a remembered map is read is drawn on the host, whose numbers are fakes here as well
    monkeypatch.setattr(type(method), "keeps_history", False)
    half = precision == "bf16"
    with fakes, torch.autocast("cuda", torch.bfloat16) if half else contextlib.nullcontext():
        episode = evaluation_episode(method, batch=2, shot=2)
        with torch.no_grad():
            result = method.predict(episode)
        losses = {} if isinstance(method, TrainingFree) else method.train().loss(training_episode(method, shot=2))
    logits, diagnostics = (result.logits, result.diagnostics) if isinstance(result, Prediction) else (result, {})
    assert logits.shape[:2] == (2, 2)
    assert {one.device.type for one in (logits, *diagnostics.values(), *losses.values())} == {"cuda"}
    assert {one.dtype for one in losses.values()} <= {torch.float32}
    encoded = levels_of(episode.query)[-1].dtype
    assert encoded == (torch.bfloat16 if half else torch.float32)


def test_what_waits_has_no_answer(fakes: FakeTensorMode) -> None:
    with fakes:
        tensor = torch.ones(3, device="cuda")
        with pytest.raises(DataDependentOutputException):
            tensor.sum().item()
        with pytest.raises(DynamicOutputShapeException):
            tensor[tensor > 0]
        with pytest.raises(RuntimeError, match="device"):
            tensor + torch.ones(3)
