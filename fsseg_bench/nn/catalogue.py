"""Backbones by name, without importing torch before one is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fsseg_bench import plugins
from fsseg_bench.errors import UserError
from fsseg_bench.nn.layout import Facts

if TYPE_CHECKING:
    from fsseg_bench.nn.backbones.base import Backbone


def _backbone() -> type[Backbone]:
    from fsseg_bench.nn.backbones.base import Backbone

    return Backbone


BACKBONES = plugins.Kind("backbone", "fsseg_bench.nn.networks", _backbone)
"""Where backbones are found. The built-in ones lie outside of ``nn.backbones``, whose import would bring torch."""


TIMM = "timm:"
"""How the names of timm's models begin as backbones; the library is imported when one is asked for."""
_TIMM = "fsseg_bench.nn.families.timm"


def backbone_names(path: Path | str | None = None) -> list[str]:
    """Names of all backbones, sorted. Each can also be cut: ``NAME-STAGE``."""
    return list(plugins.places(BACKBONES, path))


def find_backbone(name: str, path: Path | str | None = None) -> tuple[type[Backbone], str | None]:
    """The class of a backbone, and the stage after which its name cuts it (None: it does not).

    Args:
        name: ``resnet50``, or cut after any stage but the last: ``resnet50-layer3``. ``timm:NAME`` is timm's.
        path: a folder with further backbone files.

    Raises:
        UserError: no such backbone or stage (near matches shown), one name for two backbones, or a file that cannot
            be imported or does not define exactly one backbone with its facts.
    """
    if name.startswith(TIMM):
        whole, sign, stage = name.partition("-")  # no name of timm's has the sign in it
        cls = plugins.lazily(_TIMM).backbone_class(whole)
        if sign and stage not in _cuts(cls):
            raise _no_cut(whole, stage, cls)
        return cls, stage if sign else None
    known = plugins.places(BACKBONES, path)
    wholes = [name[:place] for place, sign in enumerate(name) if sign == "-" and name[:place] in known]
    for whole in wholes:
        last = name[len(whole) + 1 :]
        if last not in _cuts(cls := _class(whole, path)):
            continue
        if name in known:
            raise UserError(f"two backbones are called {name!r}: {known[name].origin} and {whole} cut after {last}")
        return cls, last
    if name in known or not wholes:
        return _class(name, path), None
    whole = wholes[-1]
    raise _no_cut(whole, name[len(whole) + 1 :], _class(whole, path))


def backbone_module(name: str, path: Path | str | None = None) -> str:
    """Dotted name of the module that a backbone's name leads to; the class may be defined in another one.

    Raises:
        UserError: as :func:`find_backbone`.
    """
    last = find_backbone(name, path)[1]
    if name.startswith(TIMM):
        return _TIMM
    return plugins.place_of(BACKBONES, name.removesuffix(f"-{last}"), path).module


def _class(name: str, path: Path | str | None) -> type[Backbone]:
    cls = plugins.find(BACKBONES, name, path)
    if not isinstance(getattr(cls, "facts", None), Facts):
        where = plugins.place_of(BACKBONES, name, path).origin
        raise UserError(f"backbone {name!r} ({where}): {cls.__name__} needs `facts = Facts(stages=(Stage(...), ...))`")
    return cls


def _cuts(cls: type[Backbone]) -> list[str]:
    return [stage.name for stage in cls.facts.stages[:-1]]


def _no_cut(whole: str, stage: str, cls: type[Backbone]) -> UserError:
    if stage == cls.facts.stages[-1].name:
        return UserError(
            f"{whole}-{stage}: {stage} is the last stage of {whole}, so this is the whole network; write {whole}"
        )
    cuts = f"it can be cut after {', '.join(_cuts(cls))}" if _cuts(cls) else "it has one stage, and cannot be cut"
    return UserError(f"{whole} has no stage {stage!r} to cut after; {cuts}")
