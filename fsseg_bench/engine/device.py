"""Device and precision."""

from __future__ import annotations

import contextlib

import torch

from fsseg_bench.errors import UserError
from fsseg_bench.records.request import Precision


def resolve_device(name: str) -> torch.device:
    """The device called ``name``: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:INDEX``.

    Raises:
        UserError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device {name}: not a device; use auto, cpu, cuda or cuda:INDEX") from None
    if device.type not in {"cpu", "cuda"}:
        raise UserError(f"--device {name}: only cpu and cuda are supported; use auto, cpu, cuda or cuda:INDEX")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise UserError(
                f"--device {name}: PyTorch sees no GPU here; use --device cpu, or install a build with CUDA"
            )
        if (device.index or 0) >= count:
            raise UserError(f"--device {name}: this machine has {count} GPU(s), numbered from 0")
    return device


def use_threads(count: int | None) -> None:
    """Lets so many threads compute on the CPU from now on; None changes nothing."""
    if count is not None and count != torch.get_num_threads():
        torch.set_num_threads(count)


def describe(device: torch.device) -> str:
    """The device in words, for the record."""
    if device.type == "cuda":
        return f"{device}: {torch.cuda.get_device_name(device)}"
    return f"cpu, {torch.get_num_threads()} threads"


def autocast(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager[object]:
    """The context that computes in ``precision``: nothing for fp32, bf16 autocast otherwise."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def exact(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """On a GPU: fp32 convolutions without TF32, and the same algorithms each time; nothing on a CPU."""
    if device.type == "cpu":
        return contextlib.nullcontext()
    flags: contextlib.AbstractContextManager[object] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    return flags


def synchronise(device: torch.device) -> None:
    """Waits until the device has done its work, so that a clock tells the truth."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
