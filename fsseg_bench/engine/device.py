"""What differs between devices: the only place that knows what a GPU is, and what precision means there."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from fsseg_bench.engine.memory import give_back
from fsseg_bench.errors import UserError
from fsseg_bench.machine import limits
from fsseg_bench.machine.here import processor
from fsseg_bench.machine.limits import usable_cores
from fsseg_bench.nn.host import sent
from fsseg_bench.records.request import Precision, RunRequest

_NAMES = "use auto, cpu, cuda or cuda:INDEX"
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_AMPERE = (8, 0)
_REFUSED = " does not have a deterministic implementation"  # how PyTorch words it, after the operation's name
_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
# At the first matrix product on a GPU, deterministic or not, PyTorch looks whether this is set, and never again: where
# it is not, all later products under its guard of determinism are refused.
os.environ.setdefault(_CUBLAS, ":4096:8")
_HALVES: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Backend:
    """The CPU; and what every other kind of device answers for itself.

    A *wait* is any call that makes this process wait for the device. On the CPU there is none: its work is done when a
    call returns.
    """

    is_gpu = False
    """Whether it computes beside this process, with memory of its own."""

    def count(self) -> int:
        """How many such devices this process may use."""
        return 1

    def alone(self, number: int) -> dict[str, str]:
        """What the environment of a process must say so that it sees the device ``number`` of these, and no other."""
        return {}

    def describe(self, device: torch.device) -> str:
        """The device in words, for the record."""
        return f"cpu, {torch.get_num_threads()} threads"

    def model(self, device: torch.device) -> str:
        """Its model: two of one model compute alike."""
        return f"cpu: {processor()}"

    collectives = "gloo"
    """The library by which processes exchange tensors that lie there."""

    def choose(self, device: torch.device) -> None:
        """Makes it the one that this process uses where none is named."""

    def synchronise(self, device: torch.device) -> None:
        """Waits until the device has done its work."""

    def free_memory(self, device: torch.device) -> int:
        """Bytes that can be had there now; where the system does not say, 4 GiB."""
        return limits.free_memory()

    def memory(self, device: torch.device) -> int:
        """Bytes of a GPU, whoever uses them; of the CPU those that are free."""
        return self.free_memory(device)

    def peak_memory(self, device: torch.device) -> int:
        """The most bytes taken: on a GPU since :meth:`forget_peak`, on the CPU by the process so far; 0 if unknown."""
        try:
            import resource
        except ImportError:  # not a POSIX system
            return 0
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return largest if sys.platform == "darwin" else largest * 1024

    def forget_peak(self, device: torch.device) -> None:
        """Begins to measure the peak of a GPU's memory anew."""

    def release_memory(self, device: torch.device) -> None:
        """Gives memory that is kept for later, but not in use, back to the device."""
        give_back()

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether smaller batches would help against the error."""
        return False

    def to_device(self, tensor: Tensor, device: torch.device) -> Tensor:
        """A host tensor on the device, without a wait; one that is there already is given back."""
        return tensor

    def to_host(self, tensor: Tensor) -> Callable[[], Tensor]:
        """Begins to copy a tensor to the host; what it returns gives the copy, and waits for this copy alone.

        On the CPU the tensor itself is given: do not write into it meanwhile.
        """
        return lambda: tensor

    def host_bytes(self, tensor: Tensor) -> int:
        """Bytes of the host's memory that the copy of :meth:`to_host` takes."""
        return tensor.nbytes

    def mark(self, device: torch.device) -> Any:
        """A point in the device's work, for :meth:`seconds_between`; without a wait."""
        return time.perf_counter()

    def seconds_between(self, first: Any, second: Any) -> float:
        """Seconds from one mark to another; a GPU must have passed both, or it is waited for."""
        return float(second - first)

    def has_tf32(self, device: torch.device) -> bool:
        """Whether it can multiply fp32 numbers rounded to ten bits, which is faster."""
        return False

    def exact(self, *, tf32: bool, deterministic: bool) -> contextlib.AbstractContextManager[object]:
        """Products of fp32 numbers in full, or of their TF32 rounding; the same algorithms each time or the fastest."""
        return contextlib.nullcontext()


_NO_MEMORY = ("CUDA out of memory", "CUDA error: out of memory", "_STATUS_ALLOC_FAILED", "DEVICE_ALLOCATION_FAILED")
"""In messages of the allocator for pinned memory, of cuBLAS and of cuDNN."""


class CudaBackend(Backend):
    """NVIDIA's GPUs."""

    is_gpu = True

    def count(self) -> int:
        """As :meth:`Backend.count`; 0 where there is none."""
        return torch.cuda.device_count() if torch.cuda.is_available() else 0

    def alone(self, number: int) -> dict[str, str]:
        """By the driver's own variable; where it is set, numbers are places in its list."""
        seen = [name.strip() for name in os.environ.get(_VISIBLE, "").split(",") if name.strip()]
        return {_VISIBLE: seen[number] if seen else str(number)}

    def describe(self, device: torch.device) -> str:
        """Number and name."""
        return f"{device}: {torch.cuda.get_device_name(device)}"

    def model(self, device: torch.device) -> str:
        """Its name."""
        return torch.cuda.get_device_name(device)

    collectives = "nccl"

    def choose(self, device: torch.device) -> None:
        """As PyTorch's current device."""
        torch.cuda.set_device(device)

    def synchronise(self, device: torch.device) -> None:
        """Waits for all streams."""
        torch.cuda.synchronize(device)

    def free_memory(self, device: torch.device) -> int:
        """What the driver calls free."""
        return torch.cuda.mem_get_info(device)[0]

    def memory(self, device: torch.device) -> int:
        """As the driver says."""
        return torch.cuda.get_device_properties(device).total_memory

    def peak_memory(self, device: torch.device) -> int:
        """What tensors took at the most."""
        return torch.cuda.max_memory_allocated(device)

    def forget_peak(self, device: torch.device) -> None:
        """From now on."""
        torch.cuda.reset_peak_memory_stats(device)

    def release_memory(self, device: torch.device) -> None:
        """Gives PyTorch's cached blocks back, and the host's pinned ones: it keeps those, too, for later copies."""
        torch.cuda.empty_cache()
        torch._C._host_emptyCache()  # torch 2.11 has no public name for it

    def is_out_of_memory(self, error: BaseException) -> bool:
        """PyTorch's own error for it, and what its libraries say."""
        return isinstance(error, torch.OutOfMemoryError) or (
            isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)
        )

    def to_device(self, tensor: Tensor, device: torch.device) -> Tensor:
        """Through pinned memory."""
        return tensor if tensor.is_cuda else sent(tensor, device)

    def to_host(self, tensor: Tensor) -> Callable[[], Tensor]:
        """Into pinned memory, with an event behind the copy."""
        copy = torch.empty_like(tensor, device="cpu", pin_memory=True)
        copy.copy_(tensor, non_blocking=True)
        done = torch.cuda.Event()
        done.record(torch.cuda.current_stream(tensor.device))

        def wait() -> Tensor:
            done.synchronize()
            return copy

        return wait

    def host_bytes(self, tensor: Tensor) -> int:
        """PyTorch takes pinned memory in powers of two."""
        return 1 << max(tensor.nbytes - 1, 0).bit_length()

    def mark(self, device: torch.device) -> Any:
        """An event in the current stream."""
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(device))
        return event

    def seconds_between(self, first: Any, second: Any) -> float:
        """By the two events."""
        second.synchronize()
        return float(first.elapsed_time(second)) / 1000

    def has_tf32(self, device: torch.device) -> bool:
        """From Ampere on."""
        return torch.cuda.get_device_capability(device) >= _AMPERE

    @contextlib.contextmanager
    def exact(self, *, tf32: bool, deterministic: bool) -> Iterator[None]:
        """No TF32 that was not asked for; algorithms chosen by timing only where they need not be deterministic."""
        guard = deterministic_algorithms() if deterministic else contextlib.nullcontext()
        with _products(tf32, deterministic), guard:
            yield


@contextlib.contextmanager
def deterministic_algorithms() -> Iterator[None]:
    """Within it PyTorch adds in the same order each time, and refuses what it can only do in any order.

    Raises:
        UserError: something was refused; names the operation, or what must be set before PyTorch multiplies.
    """
    flags = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    filling = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = False  # it finds readers of such memory, and takes time
    try:
        yield
    except RuntimeError as error:
        if _CUBLAS in str(error):
            raise UserError(
                "this process multiplied matrices on the GPU before fsseg_bench was loaded, or with another "
                f"{_CUBLAS}, so that the run could not be repeated bit by bit. Set {_CUBLAS}=:4096:8 before Python "
                "starts, or give up repeating it with --nondeterministic, which its record says"
            ) from error
        name, told, _ = str(error).partition(_REFUSED)
        if not told:
            raise
        raise UserError(
            f"{name.split()[-1]} has no deterministic form on a GPU, so that the run could not be repeated bit by bit. "
            "Use another operation in the method, or give up repeating it with --nondeterministic, which its record "
            "says"
        ) from error
    finally:
        memory.fill_uninitialized_memory = filling
        torch.use_deterministic_algorithms(flags[0], warn_only=flags[1])


@contextlib.contextmanager
def _products(tf32: bool, deterministic: bool) -> Iterator[None]:
    cudnn: Any = torch.backends.cudnn
    matmul, products = torch.backends.cuda.matmul, "tf32" if tf32 else "ieee"
    wanted: tuple[tuple[Any, str, Any], ...] = (
        (cudnn, "deterministic", deterministic),
        (cudnn, "benchmark", not deterministic),
        # first by the older names: PyTorch refuses to compute where those contradict the newer ones below, without
        # which torch.backends.fp32_precision = "tf32", set by whomever, would reach our products
        (cudnn, "allow_tf32", tf32),
        (matmul, "allow_tf32", tf32),
        (cudnn.conv, "fp32_precision", products),
        (cudnn.rnn, "fp32_precision", products),
        (matmul, "fp32_precision", products),
    )
    before = [(holder, name, _value(holder, name)) for holder, name, _ in wanted]
    try:
        for holder, name, value in wanted:
            setattr(holder, name, value)
        yield
    finally:
        for holder, name, value in before:
            if value is not None:
                setattr(holder, name, value)


def _value(holder: Any, name: str) -> Any:
    """A flag of PyTorch's; None where its older and newer names contradict each other, which it then does not read."""
    try:
        return getattr(holder, name)
    except RuntimeError:
        return None


BACKENDS: dict[str, Backend] = {"cpu": Backend(), "cuda": CudaBackend()}
"""By the type of device. Another kind of device is one more entry."""


def backend_of(device: torch.device) -> Backend:
    """What knows the device."""
    return BACKENDS[device.type]


def resolve_device(name: str) -> torch.device:
    """The device called ``name``: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:INDEX``.

    Raises:
        UserError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if BACKENDS["cuda"].count() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device {name}: not a device; {_NAMES}") from None
    if device.type not in BACKENDS:
        raise UserError(f"--device {name}: only {' and '.join(BACKENDS)} are supported; {_NAMES}")
    backend = backend_of(device)
    if backend.is_gpu and (device.index or 0) >= (count := backend.count()):
        if count:
            raise UserError(f"--device {name}: this machine has {count} GPU(s), numbered from 0")
        raise UserError(f"--device {name}: PyTorch sees no GPU here; use --device cpu, or install a build with CUDA")
    return device


class _Threads:
    at_start = torch.get_num_threads()
    """PyTorch's own choice, by the environment's variables or the machine's cores."""
    before = used = at_start
    """The process's own number, and the one that :func:`use_threads` put in its place."""


def default_threads() -> int:
    """How many threads compute on the CPU where nobody asks for a number.

    As many as the environment says or the process has set; else PyTorch's choice, but no more than the cores that this
    process may use: PyTorch does not see the limits of a container or of a batch system.
    """
    now = torch.get_num_threads()
    own = _Threads.before if now == _Threads.used else now
    if own != _Threads.at_start or any(os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")):
        return own
    return min(own, usable_cores())


def use_threads(count: int | None) -> None:
    """Lets so many threads compute on the CPU from now on; None: as many as :func:`default_threads` says."""
    now = torch.get_num_threads()
    if now != _Threads.used:
        _Threads.before = now
    _Threads.used = count or default_threads()
    if _Threads.used != now:
        torch.set_num_threads(_Threads.used)


def describe(device: torch.device) -> str:
    """The device in words, for the record."""
    return backend_of(device).describe(device)


def autocast(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager[object]:
    """The context that computes in half precision where ``precision`` says so: bf16 or fp16."""
    kind = _HALVES.get(precision)
    return contextlib.nullcontext() if kind is None else torch.autocast(device.type, dtype=kind)


def exact(
    device: torch.device, precision: Precision = "fp32", *, deterministic: bool = True
) -> contextlib.AbstractContextManager[object]:
    """On a GPU: products of fp32 numbers without TF32, but for ``precision`` tf32, and the same algorithms each time
    unless they need not be ``deterministic``; nothing on a CPU.

    Raises:
        UserError: as :func:`check_precision`; within it, as :func:`deterministic_algorithms`.
    """
    check_precision(device, precision)
    return backend_of(device).exact(tf32=precision == "tf32", deterministic=deterministic)


def check_arithmetic(device: torch.device, request: RunRequest) -> None:
    """Finds out before anything runs whether the device computes as the request wants it.

    Raises:
        UserError: as :func:`check_precision`, or the request is nondeterministic and the device is no GPU.
    """
    check_precision(device, request.precision)
    if request.nondeterministic and not backend_of(device).is_gpu:
        raise UserError(f"--nondeterministic is for GPUs, and this is {describe(device)}; leave it out")


def check_precision(device: torch.device, precision: Precision) -> None:
    """Finds out before anything runs whether the device computes in ``precision``.

    Raises:
        UserError: it is tf32, which the device does not have.
    """
    if precision == "tf32" and not backend_of(device).has_tf32(device):
        raise UserError(
            f"--precision tf32: NVIDIA's GPUs have it from Ampere on (A100, RTX 30), and this is {describe(device)}; "
            "use fp32"
        )
