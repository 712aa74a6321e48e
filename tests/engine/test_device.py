"""Names of devices, and what precision means."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from fsseg_bench.engine import device
from fsseg_bench.engine.device import (
    BACKENDS,
    CudaBackend,
    autocast,
    check_arithmetic,
    check_precision,
    default_threads,
    describe,
    deterministic_algorithms,
    exact,
    resolve_device,
    use_threads,
)
from fsseg_bench.errors import UserError
from fsseg_bench.records.request import Precision, RunRequest


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


def _flags() -> list[Any]:
    """What decides how cuDNN and cuBLAS multiply, as each of PyTorch's names for it has it."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    found: list[Any] = [cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision, matmul.fp32_precision]
    for holder in (cudnn, matmul):
        try:
            found.append(holder.allow_tf32)
        except RuntimeError:  # PyTorch refuses to read it where the names contradict each other
            found.append("contradictory")
    return [*found, cudnn.benchmark, cudnn.deterministic]


@pytest.fixture
def ampere(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    return torch.device("cuda")


def test_a_gpu_repeats_itself_unless_it_need_not(ampere: torch.device) -> None:
    assert not torch.are_deterministic_algorithms_enabled()
    with exact(ampere, deterministic=False):
        assert not torch.are_deterministic_algorithms_enabled()
        assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic) == (True, False)
        assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    with exact(ampere):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    with exact(torch.device("cpu")):
        assert not torch.are_deterministic_algorithms_enabled()


def test_the_guard_names_what_cannot_be_repeated_and_leaves_flags_as_they_were() -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with pytest.raises(UserError, match=r"^put_ has no deterministic form on a GPU.* with --nondeterministic"):  # noqa: SIM117
            with deterministic_algorithms():
                torch.zeros(3).put_(torch.tensor([0, 0]), torch.ones(2))  # refused on CPUs as well
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        with pytest.raises(RuntimeError, match="something else"), deterministic_algorithms():
            raise RuntimeError("something else")
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(("set_before", "then"), [(None, ":4096:8"), (":16:8", ":16:8")])
def test_what_makes_products_repeatable_is_set_before_anything_can_multiply(set_before: str | None, then: str) -> None:
    """PyTorch looks at it at the process's first product on a GPU, also outside the guard, and remembers the answer."""
    variables = {name: value for name, value in os.environ.items() if name != "CUBLAS_WORKSPACE_CONFIG"}
    variables |= {} if set_before is None else {"CUBLAS_WORKSPACE_CONFIG": set_before}
    code = "import os, fsseg_bench.engine.device; print(os.environ['CUBLAS_WORKSPACE_CONFIG'])"
    said = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == then


def test_products_that_can_no_longer_be_repeated_say_what_to_set() -> None:
    words = "this operation is not deterministic because it uses CuBLAS; set CUBLAS_WORKSPACE_CONFIG=:4096:8 or :16:8"
    with (
        pytest.raises(UserError, match=r"Set CUBLAS_WORKSPACE_CONFIG=:4096:8 before Python starts, or .*nondeterm"),
        deterministic_algorithms(),
    ):
        raise RuntimeError(words)


def test_pinned_memory_is_given_back_with_the_device_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what one run kept on the host would be missing where the next one measures what is free."""
    given: list[str] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: given.append("device"))
    monkeypatch.setattr(torch._C, "_host_emptyCache", lambda: given.append("host"), raising=False)
    CudaBackend().release_memory(torch.device("cuda"))
    assert given == ["device", "host"]


def test_only_a_gpu_can_be_nondeterministic() -> None:
    with pytest.raises(UserError, match="--nondeterministic is for GPUs, and this is cpu, "):
        check_arithmetic(torch.device("cpu"), RunRequest(nondeterministic=True))
    check_arithmetic(torch.device("cuda"), RunRequest(nondeterministic=True))
    check_arithmetic(torch.device("cpu"), RunRequest())


def _by_older_names() -> None:
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("high")


def _everywhere() -> None:
    torch.backends.fp32_precision = "tf32"
    torch.backends.cudnn.benchmark = True


@pytest.mark.parametrize("before", [lambda: None, _by_older_names, _everywhere])
def test_products_are_as_asked_whatever_was_set_before(before: Callable[[], None], ampere: torch.device) -> None:
    kept = torch.backends.fp32_precision, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    try:
        before()
        found = _flags()
        for precision in ("fp32", "bf16", "fp16"):
            with exact(ampere, precision):
                assert _flags() == ["ieee", "ieee", "ieee", False, False, False, True]
            assert _flags() == found
        with exact(ampere, "tf32"):
            assert _flags() == ["tf32", "tf32", "tf32", True, True, False, True]
        assert _flags() == found
    finally:
        torch.backends.fp32_precision, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = kept
        torch.backends.cudnn.benchmark = False


@pytest.mark.parametrize(("precision", "kind"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_half_precisions_are_autocast(precision: Precision, kind: torch.dtype) -> None:
    weights = torch.ones(2, 2)
    with autocast(torch.device("cpu"), precision):
        assert (weights @ weights).dtype == kind
    for full in ("fp32", "tf32"):
        with autocast(torch.device("cpu"), full):
            assert (weights @ weights).dtype == torch.float32


def test_tf32_is_refused_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"--precision tf32: .* and this is cpu, .*; use fp32"):
        exact(torch.device("cpu"), "tf32")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Turing")
    with pytest.raises(UserError, match="this is cuda: Turing"):
        check_precision(torch.device("cuda"), "tf32")
    check_precision(torch.device("cuda"), "fp16")


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("CUDA error: out of memory"), False),
    ],
)
def test_what_smaller_batches_would_help_against(error: Exception, memory: bool) -> None:
    assert BACKENDS["cuda"].is_out_of_memory(error) is memory
    assert not BACKENDS["cpu"].is_out_of_memory(error)


def test_as_many_threads_as_are_asked_for_and_the_next_run_has_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine of eight cores, three of which this process may use; PyTorch sees the eight."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name in ("at_start", "before", "used"):
        monkeypatch.setattr(device._Threads, name, 8)
    monkeypatch.setattr(device, "usable_cores", lambda: 3)
    own = torch.get_num_threads()
    try:
        torch.set_num_threads(8)
        seen = []
        for asked in (None, 5, None):
            use_threads(asked)
            seen.append((torch.get_num_threads(), default_threads()))
        assert seen == [(3, 3), (5, 3), (3, 3)]
        monkeypatch.setenv("OMP_NUM_THREADS", "8")
        assert default_threads() == 8
        monkeypatch.delenv("OMP_NUM_THREADS")
        torch.set_num_threads(6)  # as a script of the user's may
        for asked in (None, 2, None):
            use_threads(asked)
            seen.append((torch.get_num_threads(), default_threads()))
        assert seen[3:] == [(6, 6), (2, 6), (6, 6)]
    finally:
        torch.set_num_threads(own)
