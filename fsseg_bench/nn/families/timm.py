"""Any model of timm as a backbone: convolutional networks and transformers, with timm's names of stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsseg_bench.nn.backbones.base import Backbone
from fsseg_bench.nn.families import dino, timm_weights
from fsseg_bench.nn.families.timm_models import ModelName, check_any_size, create, is_plain, library, patch, taps
from fsseg_bench.nn.layout import Facts, Stage

_INSIDE = "network."  # before timm's names of parameters
_FREE = ("apache-2.0", "mit", "bsd-3-clause", None)


class TimmBackbone(Backbone):
    """A model of timm; each of its modules that timm lists as a feature map ends a stage of that name.

    Stages of convolutional networks are ``layer1`` or ``stages.0`` and the like. Those of a transformer are its blocks,
    ``blocks.0`` and so on, which all put out one grid of cells: the tokens of the patches, those before them (class,
    registers) left out, after the model's final norm. All outputs are as timm gives them: the last one, too, has its
    activation. Where sides must be multiples of a patch, images are resized to the nearest multiples, so that cells
    tile the image.
    """

    asked: ClassVar[ModelName]
    folds = False  # timm registers layers that no order of convolution and norm tells of
    network: Any

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        network: Any = create(self.asked)
        norm = dino.last_norm(network) if self.asked.meta else None
        count = len(taps(network))
        network.prune_intermediate_layers([len(facts.stages) - 1], prune_norm=False, prune_head=True)
        self.plain = is_plain(network)
        self._norm_after = ["norm"] if self.plain else []
        if norm is not None and len(facts.stages) == count:
            network.head.norm = norm
            self._norm_after = ["head.norm"]
        self.network = network

    def stage_modules(self, stage: str) -> tuple[nn.Module, ...]:
        """What timm registers after the stage before and up to the module that ends this one."""
        place = self._place(stage)
        return tuple(module for number, _, module in self._parts_of() if number == place)

    def further_modules(self) -> tuple[nn.Module, ...]:
        """Modules behind the last feature map."""
        return tuple(module for number, _, module in self._parts_of() if number == len(self.stages))

    def stage_of(self, key: str) -> str | None:
        """As timm's names are: what a stage holds begins with the name of one of its parts."""
        for number, name, module in self._parts_of():
            fits = any(key == f"{name}.{own}" for own, _ in module.named_parameters(recurse=False))
            if number < len(self.stages) and (fits or (not isinstance(module, _Loose) and key.startswith(f"{name}."))):
                return self.stages[number]
        return None

    def levels(self, images: Tensor, names: Sequence[str]) -> tuple[Tensor, ...]:
        """The outputs of several stages, in the order of ``names``; later stages are not run.

        Those of a plain transformer are normalised by its final norm, as Meta's ``get_intermediate_layers`` does.

        Raises:
            UserError: the backbone has no stage of this name.
        """
        maps = self._maps(images, names, norm=self.plain)
        if "head.norm" not in self._norm_after:
            return maps
        last = self.stages[-1]
        return tuple(
            self.network.head.norm(one) if name == last else one for name, one in zip(names, maps, strict=True)
        )

    def levels_before_norm(self, images: Tensor, names: Sequence[str]) -> tuple[Tensor, ...]:
        """The same without the final norm: of a transformer the sum of all residuals so far."""
        return self._maps(images, names, norm=False)

    def block_outputs(self, images: Tensor, names: Sequence[str]) -> tuple[tuple[Tensor, ...], ...]:
        """Each stage is one block, which gives what :meth:`levels` gives."""
        return tuple((level,) for level in self.levels(images, names))

    def own_names(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The names of the model's parameters here, from timm's, or from those of the file's authors."""
        plain = {key.removeprefix(_INSIDE): tensor for key, tensor in given.items()}
        found = timm_weights.own_names(self.network, plain, self.name)
        return {f"{_INSIDE}{key}": tensor for key, tensor in found.items()}

    def published_file(self) -> Path | None:
        """timm's published weights, found here or downloaded from the hub."""
        return None if self.facts.weights is None else timm_weights.published_file(self.network, self.facts.weights)

    def about(self) -> dict[str, Any]:
        """timm's version, the licence of the weights, and how images are resized."""
        sides = patch(self.network)
        found: dict[str, Any] = {"timm": library().__version__, "licence": self.network.pretrained_cfg.get("license")}
        if sides != (1, 1):
            found["images"] = f"resized to the nearest multiples of {sides[0]}x{sides[1]} pixels, bilinear, antialiased"
        return found

    def _maps(self, images: Tensor, names: Sequence[str], *, norm: bool) -> tuple[Tensor, ...]:
        places = [self._place(name) for name in names]
        wanted = sorted(set(places))
        if not wanted:
            return ()
        maps = self.network.forward_intermediates(
            fitted(images, patch(self.network)),
            indices=wanted,
            norm=norm,
            stop_early=True,
            output_fmt="NCHW",
            intermediates_only=True,
        )
        found = dict(zip(wanted, maps, strict=True))
        return tuple(found[place] for place in places)

    def _parts_of(self) -> Iterator[tuple[int, str, nn.Module]]:
        """Stage number, name and module of each part; behind the last stage is what belongs to none."""
        ends = [f"{_INSIDE}{stage}" for stage in self.stages]
        after = [f"{_INSIDE}{name}" for name in self._norm_after]
        number = 0
        for name, module in _split(_INSIDE[:-1], self.network, [*ends, *after]):
            yield (len(ends) - 1 if name in after else number), name, module
            number += name in ends


class _Loose(nn.Module):
    """Parameters that a module holds beside its parts (class token, positions)."""


def fitted(images: Tensor, sides: tuple[int, int]) -> Tensor:
    """Images (M, 3, H, W) resized to the nearest multiples of ``sides`` (at least one), bilinear and antialiased."""
    height, width = (
        max(1, (2 * side + cell) // (2 * cell)) * cell for side, cell in zip(images.shape[-2:], sides, strict=True)
    )
    if (height, width) == tuple(images.shape[-2:]):
        return images
    return F.interpolate(images, size=(height, width), mode="bilinear", antialias=True)


@lru_cache(maxsize=256)
def backbone_class(name: str) -> type[TimmBackbone]:
    """The backbone ``timm:NAME`` as a class, with its facts; the same one each time.

    Raises:
        UserError: timm is not installed, has no such model, or the model takes images of one size alone.
    """
    asked = ModelName.parse(name)
    with torch.device("meta"):
        model = create(asked)
    check_any_size(model, asked)
    settings: Any = model.pretrained_cfg
    licence = settings.get("license")
    facts = Facts(
        stages=tuple(Stage(tap.module, tap.channels, tap.stride) for tap in taps(model)),
        weights=timm_weights.published(model),
        mean=tuple(settings["mean"]),
        std=tuple(settings["std"]),
        licence=None if licence in _FREE else licence,
        one_grid=is_plain(model),
    )
    return type(TimmBackbone.__name__, (TimmBackbone,), {"facts": facts, "asked": asked, "__module__": __name__})


def _split(name: str, module: nn.Module, ends: Sequence[str]) -> Iterator[tuple[str, nn.Module]]:
    """The largest parts of a module in which no part of ``ends`` lies deeper, in the order of their registration."""
    if name in ends or not any(end.startswith(f"{name}.") for end in ends):
        yield name, module
        return
    if own := dict(module.named_parameters(recurse=False)):
        loose = _Loose()
        for key, parameter in own.items():
            loose.register_parameter(key, parameter)
        yield name, loose
    for key, child in module.named_children():
        yield from _split(f"{name}.{key}", child, ends)
