"""Python files imported without torch: what they say of themselves is there, what they compute is not.

Importing torch takes longer than all that a command such as ``show`` does. Where a stand-in takes its place, as Sphinx
does it for documentation, classes and constants of a method can be read. The stand-in can be named, called and
inherited from; whoever asks it for a truth, a number or a comparison gets an error, so that nothing that is read can
depend on it.
"""

from __future__ import annotations

import sys
from abc import ABCMeta
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

_PACKAGES = ("torch", "torchvision")
_KEPT = {*sys.stdlib_module_names, "numpy", "PIL", "pandas"}
"""What does not import torch, and what a process can import only once."""


class HollowError(Exception):
    """Something depends on what torch computes; import the real one."""


@contextmanager
def without_torch() -> Iterator[None]:
    """Imports in this block get a stand-in for torch, and are forgotten at its end; nothing where torch is loaded.

    Take no class or module out of the block, but plain values alone. What is imported may fail with any error in
    the block, where it would not with the real torch: do the same again outside of it then.
    """
    if any(name in sys.modules for name in _PACKAGES):
        yield
        return
    before, finder = set(sys.modules), _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in sys.modules.keys() - before:
            if name.partition(".")[0] not in _KEPT:
                del sys.modules[name]


class _Finder(MetaPathFinder, Loader):
    """Finds every module of the packages, and makes it hollow."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.partition(".")[0] in _PACKAGES else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


class _Module(ModuleType):
    """Has every name that does not begin with two underscores."""

    def __getattr__(self, name: str) -> Any:
        return _class(name)


class _Type(ABCMeta):
    """Of the stand-ins' classes: they have every name, too; classes that inherit from them have their own alone."""

    def __getattr__(cls, name: str) -> Any:
        if "_hollow" not in cls.__dict__:
            raise AttributeError(name)
        return _class(name)

    def __getitem__(cls, key: object) -> Any:
        return cls

    __iter__ = None  # a class with items would be run through for ever


@cache
def _class(name: str) -> type[Any]:
    """One for each name, so that it equals itself."""
    if name.startswith("__"):
        raise AttributeError(name)
    return _Type(name, (_Hollow,), {"_hollow": True})


def _refuse(*_: object) -> NoReturn:
    raise HollowError("this depends on what torch computes")


class _Hollow(metaclass=_Type):
    """What a call of a stand-in gives."""

    _hollow = True

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    __bool__ = __int__ = __float__ = __index__ = __len__ = __iter__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = _refuse
    __hash__ = object.__hash__
