"""A pretended GPU: tensors of a device type of its own that compute on the CPU and tell what a GPU would wait for.

It says three things without a GPU: whether tensors of the device and of the host meet in one operation (an error),
which calls make the host wait for the device (:mod:`tests.support.waits`), and whether results are those of the CPU.
What a real GPU adds is not in it: other rounding, kernels that are missing, memory, and time.

A tensor holds its numbers as a CPU tensor; each operation below autograd runs on that. PyTorch's key for devices of
third parties (``PrivateUse1``) makes the rest what it is on a GPU: ``tensor.device``, factories with ``device=``,
copies, the backward pass in a thread of the device's own. It is set up when this module is imported, since autograd
counts the devices at the first backward pass of a process, and cannot be taken back.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import backend_registration

from tests.support.waits import line, wait

NAME = "pretended"
_CPU = torch.device("cpu")
WAITS = {
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "unique_dim",
    "unique_consecutive",
    "unique_dim_consecutive",
    "_unique",
    "_unique2",
    "bincount",
    "histc",
    "equal",
    "allclose",
    "multinomial",
    "_linalg_check_errors",
}
"""Operations whose result the host must read, by their names in ATen; the others that wait consist of these."""
_COPIES = {"_to_copy", "copy_", "_foreach_copy_"}
_INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
_GROWING = ("arange", "arange.start", "arange.start_step", "eye", "eye.m", "linspace", "randperm", "randperm.generator")
"""Factories that PyTorch makes of an empty tensor which they enlarge in place."""


class MixedError(AssertionError):
    """What a GPU refuses: tensors of the host and of the device in one operation, or a host's access to its memory."""


class Pretended(Tensor):
    """A tensor of the device."""

    inner: Tensor
    """Its numbers, on the CPU."""

    @staticmethod
    def __new__(cls, inner: Tensor) -> Pretended:
        made: Pretended = Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=torch.device(NAME, 0),
        )
        made.inner = inner.detach()
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs one operation on the numbers, after the checks."""
        kwargs = kwargs or {}
        # inference mode hands composite operations over whole; what waits is inside
        parts = func.decompose(*args, **kwargs) if torch.is_inference_mode_enabled() else NotImplemented
        return _run(func, args, kwargs) if parts is NotImplemented else parts

    # Module.to swaps a tensor that says of what it consists; of any other it would replace all but `inner`
    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], meta: None, size: object, stride: object) -> Pretended:
        return Pretended(inner["inner"])

    def __deepcopy__(self, memo: dict[int, Any]) -> Pretended:
        copy: Pretended = Pretended(self.inner.clone()).requires_grad_(self.requires_grad)
        if isinstance(self, torch.nn.Parameter):
            copy = torch.nn.Parameter(copy, requires_grad=self.requires_grad)  # type: ignore[assignment]
        memo[id(self)] = copy
        return copy

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Written as a CPU tensor, after a copy to the host."""
        wait("pickle")
        return self.inner.__reduce_ex__(protocol)

    def tolist(self) -> Any:
        """As of any tensor; PyTorch refuses it for a class of its own."""
        wait("tolist")
        return self.inner.tolist()

    def numpy(self, *args: object, **options: object) -> Any:
        """Not without a copy to the host."""
        raise MixedError(f"numpy() of a tensor of the device, {line()}")

    __array__ = numpy

    def data_ptr(self) -> int:
        """Not for the host."""
        raise MixedError(f"data_ptr() of a tensor of the device, {line()}")


def pin(tensor: Tensor) -> Tensor:
    """A copy of a host tensor in pinned memory, in place of ``Tensor.pin_memory``."""
    copy = tensor.detach().clone()
    copy.pretended_pinned = True  # type: ignore[attr-defined]
    return copy


def is_pinned(tensor: Tensor) -> bool:
    """In place of ``Tensor.is_pinned``."""
    return bool(getattr(tensor, "pretended_pinned", False))


def device() -> torch.device:
    """The pretended device."""
    return torch.device(NAME, 0)


class _Module:
    """What PyTorch asks of ``torch.pretended``."""

    available = False
    """Only while a test uses the device: fake tensors and loaders go by it."""

    def __getattr__(self, name: str) -> Any:
        answers: dict[str, Any] = {
            "is_initialized": True,
            "is_available": self.available,
            "current_device": 0,
            "device_count": 1,
            "_is_in_bad_fork": False,
            "get_amp_supported_dtype": [torch.bfloat16, torch.float16],
            "manual_seed_all": None,  # its random numbers are the CPU's
        }
        if name not in answers:
            raise AttributeError(name)
        return lambda *given: answers[name]


MODULE = _Module()


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    name = _name(func)
    tensors: list[Tensor] = []

    def unwrap(one: Tensor) -> Tensor:
        tensors.append(one)
        return one.inner if isinstance(one, Pretended) else one

    plain, options = _each(args, unwrap), {key: _each(value, unwrap) for key, value in kwargs.items()}
    if options.get("device") is not None:
        options["device"] = _CPU
    _check(name, tensors, args, kwargs)
    _note(name, args, kwargs)
    result = func(*plain, **options)
    if _elsewhere(kwargs):
        return result
    owners = {id(one.inner): one for one in tensors if isinstance(one, Pretended)}

    def wrap(one: Tensor) -> Tensor:
        owner = owners.get(id(one))
        if owner is None:
            return Pretended(one)
        if owner.shape != one.shape or owner.stride() != one.stride():
            raise NotImplementedError(f"{name} changes a tensor's shape in place: not pretended")
        return owner

    return _each(result, wrap)


def _each(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """``change`` of a tensor, or of all in lists and tuples."""
    if isinstance(value, Tensor):
        return change(value)
    if type(value) in {list, tuple}:
        return type(value)(_each(one, change) for one in value)
    return value


def _name(func: Any) -> str:
    name: str = func._schema.name
    return name.removeprefix("aten::")


def _elsewhere(kwargs: Any) -> bool:
    return kwargs.get("device") is not None and torch.device(kwargs["device"]).type != NAME


def _check(name: str, tensors: list[Tensor], args: Any, kwargs: Any) -> None:
    generators = [one for one in (*args, kwargs.get("generator")) if isinstance(one, torch.Generator)]
    if any(one.device.type == "cpu" for one in generators):
        raise MixedError(f"{name} on the device with a generator of the host, {line()}")
    if name == "_to_copy" and kwargs.get("non_blocking") and _elsewhere(kwargs):
        raise MixedError(f"a copy to the host that nothing waits for, {line()}")
    host = [one for one in tensors if not isinstance(one, Pretended) and one.dim()]
    if name in _COPIES:
        return
    if name in _INDEXED and isinstance(args[0], Pretended):  # by indices of the host too, which are copied
        host = [one for one in args[2:3] if not isinstance(one, Pretended) and one.dim()]
    if host:  # without a dimension it is a number
        shapes = ", ".join(str(tuple(one.shape)) for one in host)
        raise MixedError(f"{name} of tensors of the device and of the host (of shape {shapes}), {line()}")


def _note(name: str, args: Any, kwargs: Any) -> None:
    if name in WAITS or (name == "repeat_interleave" and kwargs.get("output_size") is None):
        wait(name)
    elif name == "_to_copy":
        if _elsewhere(kwargs):
            wait("copy to the host")
    elif name in _COPIES:
        targets, sources = (one if isinstance(one, list | tuple) else [one] for one in args[:2])
        non_blocking = kwargs.get("non_blocking") or (len(args) > 2 and args[2])
        for target, source in zip(targets, sources, strict=True):
            _note_copy(source, target, non_blocking)
    elif name in _INDEXED:
        _note_index(name, args)


def _note_copy(source: Tensor, target: Tensor, non_blocking: bool) -> None:
    if not isinstance(target, Pretended):
        wait("copy to the host")
    elif not isinstance(source, Pretended) and not (is_pinned(source) and non_blocking):
        wait("copy to the device" if is_pinned(source) else "copy to the device from memory that is not pinned")


def _note_index(name: str, args: Any) -> None:
    indices = [one for one in args[1] if one is not None]
    if any(not isinstance(one, Pretended) and one.dim() for one in indices):
        wait(f"{name} by a host tensor")
    elif any(one.dtype in {torch.bool, torch.uint8} for one in indices):
        number = len(args) > 2 and args[2].numel() == 1 and not (len(args) > 3 and args[3])
        if not (number and len(indices) == 1):  # one number at a mask is filled in, which waits for nothing
            wait(f"{name} by a mask")


def _factory(func: Any, *args: Any, **kwargs: Any) -> Any:
    """Operations that come to the device without a tensor of it."""
    _check(_name(func), [], args, kwargs)
    return Pretended(func(*args, **(kwargs | {"device": _CPU, "pin_memory": False})))


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    """What ``torch.tensor(data, device=...)`` calls by itself."""
    assert isinstance(target, Pretended)
    _note_copy(source, target, non_blocking)
    target.inner.copy_(source)
    return target


def _set_up() -> list[torch.library.Library]:
    """Makes the device known to PyTorch, as long as what it returns lives."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=MODULE)
    everything = torch.library.Library("_", "IMPL")
    everything.fallback(_factory, "PrivateUse1")
    # autocast casts nothing here: what it makes of each operation is CUDA's affair, see test_fake_cuda.py
    everything.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    single = torch.library.Library("aten", "IMPL")
    single.impl("_copy_from", _copy_from, "PrivateUse1")
    for name in _GROWING:
        packet, _, overload = name.partition(".")
        factory = getattr(getattr(torch.ops.aten, packet), overload or "default")
        single.impl(name, partial(_factory, factory), "PrivateUse1")
    return [everything, single]


_LIBRARIES = _set_up()
