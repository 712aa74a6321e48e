"""What the device can do at the most, measured: the fractions of the other parts are of these."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import torch
import torch.nn.functional as F

from benchmarks.gpu_rows import Row
from fsseg_bench.engine.device import backend_of, exact
from fsseg_bench.records.request import Precision

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_LEAST_SECONDS = 0.2
_MIB = 2**20


def limits(device: torch.device, toy: bool) -> list[Row]:
    """Matrix products, convolutions and copies; ``toy`` makes them small enough for a CPU."""
    rows = []
    for precision in precisions_of(device):
        with exact(device, precision, deterministic=False):
            rows.append(Row("limits", f"matrix products, {precision}", _matmul(device, precision, toy), "TFLOP/s"))
            rows.append(Row("limits", f"convolutions, {precision}", _convolution(device, precision, toy), "TFLOP/s"))
    size = (8 if toy else 512) * _MIB
    block, host = torch.zeros(size, dtype=torch.uint8, device=device), torch.zeros(size, dtype=torch.uint8)
    backend = backend_of(device)
    inside = seconds_of(device, block.clone)
    rows.append(Row("limits", "copies on the device, read and written", 2 * size / inside / 1e9, "GB/s"))
    if backend.is_gpu:
        pinned = host.pin_memory()
        rows.append(
            Row("limits", "copies to it, pinned", size / seconds_of(device, lambda: pinned.to(device)) / 1e9, "GB/s")
        )
        rows.append(
            Row("limits", "copies to it, pageable", size / seconds_of(device, lambda: host.to(device)) / 1e9, "GB/s")
        )
    return rows


def precisions_of(device: torch.device) -> tuple[Precision, ...]:
    """Those in which the device computes at a speed worth knowing."""
    backend = backend_of(device)
    if not backend.is_gpu:
        return "fp32", "bf16"
    known: tuple[Precision, ...] = get_args(Precision)
    return tuple(one for one in known if one != "tf32" or backend.has_tf32(device))


def seconds_of(device: torch.device, work: Callable[[], object]) -> float:
    """Seconds of one call, from as many as take a fifth of a second, after two that warm up."""
    backend = backend_of(device)
    for _ in range(2):
        work()
    calls, spent = 1, 0.0
    while True:
        backend.synchronise(device)
        begin = backend.mark(device)
        for _ in range(calls):
            work()
        spent = backend.seconds_between(begin, backend.mark(device))
        if spent >= _LEAST_SECONDS:
            return spent / calls
        calls *= max(2, min(16, round(_LEAST_SECONDS / max(spent, 1e-5))))


def _matmul(device: torch.device, precision: str, toy: bool) -> float:
    side = 512 if toy else 8192
    a = torch.randn(side, side, device=device, dtype=_TYPES.get(precision, torch.float32))
    return 2 * side**3 / seconds_of(device, lambda: a @ a) / 1e12


def _convolution(device: torch.device, precision: str, toy: bool) -> float:
    """A 3 x 3 convolution as in the last stage of a ResNet-50 at 417 px: 512 channels, 53 x 53 cells, 8 images."""
    count, channels, cells = (1, 64, 27) if toy else (8, 512, 53)
    kind = _TYPES.get(precision, torch.float32)
    images = torch.randn(count, channels, cells, cells, device=device, dtype=kind)
    images = images.to(memory_format=torch.channels_last)
    kernel = torch.randn(channels, channels, 3, 3, device=device, dtype=kind).to(memory_format=torch.channels_last)
    operations = 2 * count * channels**2 * 9 * cells**2
    return operations / seconds_of(device, lambda: F.conv2d(images, kernel, padding=1)) / 1e12
