"""Models of timm by name, made ready to give feature maps of images of any size."""

from __future__ import annotations

import difflib
import inspect
import re
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import nn

from fsseg_bench.errors import UserError, unknown
from fsseg_bench.nn.families import dino

PREFIX = "timm:"
"""How the names of these backbones begin."""
INSTALL = 'pip install "fsseg-bench[timm]"'
_TESTED = (129, 97)  # pixels: no multiple of anything
_STRIDE = re.compile(r"output_stride=(8|16|32)")
_META = "meta"
_SHOWN = 10


@dataclass(frozen=True)
class ModelName:
    """What a backbone's name asks for: ``timm:NAME[.TAG][:meta][:output_stride=8]``."""

    model: str
    """timm's name, with the tag of its weights where one is given."""
    meta: bool = False
    """Whether it computes as Meta's own code where timm computes otherwise (:mod:`fsseg_bench.nn.families.dino`)."""
    output_stride: int | None = None
    """Image pixels a cell of the last stage; None: as timm has it."""

    @classmethod
    def parse(cls, name: str) -> ModelName:
        """The parts of a name that is not cut.

        Raises:
            UserError: an option that there is not, or one that stands twice or not in its place.
        """
        model, *options = name.removeprefix(PREFIX).split(":")
        meta, stride = False, None
        for option in options:
            if option == _META:
                meta = True
            elif found := _STRIDE.fullmatch(option):
                stride = int(found[1])
            else:
                raise UserError(
                    f"backbone {name}: {option!r} is no option; there are :{_META} (as Meta's code computes it) and "
                    ":output_stride=8, 16 or 32"
                )
        asked = cls(model, meta, stride)
        if str(asked) != name:  # one network has one name, which is part of a run's identity
            raise UserError(f"backbone {name}: write {asked}")
        return asked

    def __str__(self) -> str:
        stride = "" if self.output_stride is None else f":output_stride={self.output_stride}"
        return f"{PREFIX}{self.model}{f':{_META}' if self.meta else ''}{stride}"


@dataclass(frozen=True)
class Tap:
    """One place at which a model gives a feature map."""

    module: str
    """timm's name of the module whose output it is."""
    channels: int
    stride: int
    """Image pixels a cell."""


def library() -> ModuleType:
    """The package timm.

    Raises:
        UserError: it is not installed.
    """
    try:
        import timm
    except ImportError as error:
        raise UserError(f"backbones {PREFIX}NAME need timm, which cannot be imported ({error}): {INSTALL}") from error
    found: ModuleType = timm
    return found


def create(asked: ModelName) -> nn.Module:
    """The model with random numbers and without its classifier; a transformer takes images of all sizes.

    Raises:
        UserError: timm has no such model or tag, it cannot be had with the output stride, or Meta's code computes
            nothing else than timm.
    """
    timm = library()
    name = asked.model.partition(".")[0]
    if not timm.is_model(name):
        raise _unknown(timm, name)
    options: dict[str, Any] = {} if asked.output_stride is None else {"output_stride": asked.output_stride}
    model = _made(timm, asked, options)
    more = {key: value for key, value in (("dynamic_img_size", True), ("strict_img_size", False)) if _takes(model, key)}
    if more:
        model = _made(timm, asked, options | more)
    if not hasattr(model, "forward_intermediates"):
        raise UserError(f"backbone {asked}: timm's {name} gives no feature maps (it has no forward_intermediates)")
    if asked.output_stride is not None and taps(model)[-1].stride != asked.output_stride:
        raise UserError(
            f"backbone {asked}: {name} has stride {taps(model)[-1].stride} whatever is asked for; leave the option out"
        )
    if asked.meta:
        dino.as_meta(model, str(asked))
    return model


def taps(model: nn.Module) -> tuple[Tap, ...]:
    """Where the model gives feature maps, in order, as timm lists them."""
    given: Any = model.feature_info
    entries = given if isinstance(given, list) else given.info
    return tuple(Tap(entry["module"], entry["num_chs"], entry["reduction"]) for entry in entries)


def is_plain(model: nn.Module) -> bool:
    """Whether it is a transformer whose blocks all keep one grid of cells."""
    return hasattr(model, "num_prefix_tokens") and len({tap.stride for tap in taps(model)}) == 1


def patch(model: nn.Module) -> tuple[int, int]:
    """The sides, in pixels, of which those of an image must be multiples; (1, 1) where any will do."""
    size = getattr(getattr(model, "patch_embed", None), "patch_size", 1)
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def check_any_size(model: nn.Module, asked: ModelName) -> None:
    """Whether a model without numbers gives what it lists, of images of an odd size.

    Raises:
        UserError: it does not.
    """
    size = [max(1, round(side / cell)) * cell for side, cell in zip(_TESTED, patch(model), strict=True)]
    try:
        maps = model.eval().forward_intermediates(  # type: ignore[operator]
            torch.zeros(1, 3, *size, device="meta"), intermediates_only=True
        )
    except Exception as error:
        raise UserError(
            f"backbone {asked}: timm's model does not take images of any size, such as {size[0]}x{size[1]} pixels "
            f"({type(error).__name__}: {error})"
        ) from error
    found = taps(model)
    if len(maps) != len(found):
        raise UserError(f"backbone {asked}: timm lists {len(found)} feature maps and gives {len(maps)}")
    for tap, given in zip(found, maps, strict=True):
        cells = [range(side // tap.stride, -(-side // tap.stride) + 2) for side in size]
        fits = given.ndim == 4 and all(n in fine for n, fine in zip(given.shape[2:], cells, strict=True))
        if not fits or given.shape[1] != tap.channels:
            raise UserError(
                f"backbone {asked}: {tap.module} gives {tuple(given.shape)} for {size[0]}x{size[1]} pixels; timm lists "
                f"{tap.channels} channels at stride {tap.stride}"
            )


def _made(timm: ModuleType, asked: ModelName, options: dict[str, Any]) -> nn.Module:
    try:
        model: nn.Module = timm.create_model(asked.model, pretrained=False, num_classes=0, **options)
    except (TypeError, NotImplementedError, AssertionError) as error:
        if asked.output_stride is None:
            raise
        raise UserError(f"backbone {asked}: this model has no output stride to choose ({error})") from error
    except RuntimeError as error:
        if "tag" not in str(error):
            raise
        base = asked.model.partition(".")[0]
        known = [name.partition(".")[2] for name in timm.list_pretrained(f"{base}.*")]
        raise unknown(f"tag of {PREFIX}{base}", asked.model.partition(".")[2], known) from error
    return model


def _takes(model: nn.Module, option: str) -> bool:
    return option in inspect.signature(type(model).__init__).parameters


def _unknown(timm: ModuleType, name: str) -> UserError:
    """Names that are near or begin alike: all of them are more than a thousand."""
    known = list(timm.list_models())
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(PREFIX + one) for one in near)}?" if near else ""
    start = name.partition("_")[0]
    alike = [one for one in known if start and one.startswith(start)][:_SHOWN]
    listing = f" Some that begin with {start}: {', '.join(alike)}." if alike else ""
    return UserError(
        f"unknown model of timm {PREFIX + name!r}.{hint}{listing} timm.list_models() lists all {len(known)} of them"
    )
