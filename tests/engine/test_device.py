"""Names of devices, and what precision means."""

from __future__ import annotations

import pytest
import torch

from fsseg_bench.engine.device import autocast, describe, exact, resolve_device
from fsseg_bench.errors import UserError


def test_auto_takes_a_gpu_if_there_is_one() -> None:
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert describe(torch.device("cpu")).startswith("cpu, ")


@pytest.mark.parametrize("name", ["warp", "mps", "cuda:x", ""])
def test_other_devices_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="use auto, cpu, cuda or cuda:INDEX"):
        resolve_device(name)


def test_a_gpu_number_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UserError, match=r"has 2 GPU\(s\), numbered from 0"):
        resolve_device("cuda:2")


def test_fp32_on_a_gpu_is_not_tf32() -> None:
    before = torch.backends.cudnn.allow_tf32
    with exact(torch.device("cuda")):
        assert torch.backends.cudnn.allow_tf32 is False
        assert torch.backends.cudnn.deterministic is True
    assert torch.backends.cudnn.allow_tf32 == before


def test_bf16_is_autocast() -> None:
    weights = torch.ones(2, 2)
    with autocast(torch.device("cpu"), "bf16"):
        assert (weights @ weights).dtype == torch.bfloat16
    with autocast(torch.device("cpu"), "fp32"):
        assert (weights @ weights).dtype == torch.float32
