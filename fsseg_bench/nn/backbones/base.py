"""The contract of a backbone: images to feature maps, in named stages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from fsseg_bench.errors import unknown
from fsseg_bench.nn.layout import Facts, FamilyLayout, Layout

NormMode = Literal["eval", "train", "stats"]
"""What training does to batch-norms: nothing, everything, or moving the statistics alone."""


class Backbone(nn.Module, ABC):
    """A feature extractor at one output stride.

    A subclass states its ``facts``, takes the facts that hold for it (it may be cut) as the one argument of
    ``__init__``, and defines :meth:`stage_modules`. The names of its parameters are those of its published weights
    (torchvision's), so that these fit without renaming. S image pixels give about ``S / stride`` cells: how a network
    rounds, and what a layout pads, is its affair.
    """

    facts: Facts
    """Of the class: what is known about it as it is listed. Of a built backbone: as it was laid out and cut."""
    family: ClassVar[type[FamilyLayout] | None] = None
    """The geometry that methods may state for it (:attr:`fsseg_bench.nn.layout.Layout.families`); None: nothing."""
    folds: ClassVar[bool] = True
    """Whether a batch-norm that is registered right behind a convolution is applied right behind it, as
    :func:`fsseg_bench.nn.backbones.folding.folded` needs it."""
    name: str
    """The name by which it was asked for."""
    stages: tuple[str, ...]
    """Stage names, in order."""
    channels: dict[str, int]
    """Channels of each stage's output."""
    strides: dict[str, int]
    """Image pixels a cell of each stage's output."""
    out_channels: int
    """Channels of the last stage's output."""
    stride: int
    """Image pixels a cell of the last stage's output."""
    mean: tuple[float, float, float]
    """What to subtract from images in [0, 1], RGB."""
    std: tuple[float, float, float]
    """What to divide by afterwards."""
    filled: bool
    """Whether its numbers come from weights; otherwise they are random."""
    folded_norms: tuple[str, ...]
    """Names of the batch-norms that its weights hold folded into convolutions."""

    def __init__(self, facts: Facts) -> None:
        super().__init__()
        self.facts = facts
        self.name = type(self).__name__
        self.stages = tuple(stage.name for stage in facts.stages)
        self.channels = {stage.name: stage.channels for stage in facts.stages}
        self.strides = {stage.name: stage.stride for stage in facts.stages}
        self.out_channels = facts.channels
        self.stride = facts.stride
        self.mean = facts.mean
        self.std = facts.std
        self.filled = False
        self.folded_norms = ()
        self._frozen_stages = 0
        self._norm_mode: NormMode = "train"
        self._first_parts: list[nn.Module | nn.Parameter] | None = None

    @classmethod
    def lay_out(cls, layout: Layout) -> Facts:
        """The facts of the backbone as a method wants it; a family with a geometry overrides this."""
        return cls.facts

    @abstractmethod
    def stage_modules(self, stage: str) -> tuple[nn.Module, ...]:
        """The modules of a stage, in the order in which they are applied."""

    def further_modules(self) -> tuple[nn.Module, ...]:
        """Modules that belong to no stage: the backbone does not apply them."""
        return ()

    def forward(self, images: Tensor) -> Tensor:
        """The last stage's features (M, out_channels, h, w), signed: the final ReLU is left out.

        Args:
            images: (M, 3, H, W) float, RGB in [0, 1] normalised with ``mean`` and ``std``.
        """
        return self.levels(images, self.stages[-1:])[0]

    def levels(self, images: Tensor, names: Sequence[str]) -> tuple[Tensor, ...]:
        """The outputs of several stages, in the order of ``names``; later stages are not run.

        Each is what the next stage reads, after its ReLU; only the last stage of the backbone has none.

        Raises:
            UserError: the backbone has no stage of this name.
        """
        places = [self._place(name) for name in names]
        outputs: dict[int, Tensor] = {}
        features = images
        for place, stage in enumerate(self.stages[: max(places, default=-1) + 1]):
            for module in self.stage_modules(stage):
                features = module(features)
            if place in places:
                outputs[place] = features
        return tuple(outputs[place] for place in places)

    def levels_before_norm(self, images: Tensor, names: Sequence[str]) -> tuple[Tensor, ...]:
        """As :meth:`levels`, without the norm that transformers put on what they give out; the same for others.

        Raises:
            UserError: the backbone has no stage of this name.
        """
        return self.levels(images, names)

    def block_outputs(self, images: Tensor, names: Sequence[str]) -> tuple[tuple[Tensor, ...], ...]:
        """What every block of several stages gives before its last ReLU, in the order of ``names``.

        A stage has :meth:`blocks_of` outputs, the first block's first. Later stages are not run.

        Raises:
            UserError: the backbone has no stage of this name.
        """
        places = [self._place(name) for name in names]
        outputs: dict[int, tuple[Tensor, ...]] = {}
        features = images
        for place, stage in enumerate(self.stages[: max(places, default=-1) + 1]):
            blocks, features = self._stage_outputs(stage, features)
            if place in places:
                outputs[place] = blocks
        return tuple(outputs[place] for place in places)

    def blocks_of(self, stage: str) -> int:
        """How many blocks of a stage :meth:`block_outputs` tells apart; a family that knows its blocks overrides it."""
        return 1

    def _stage_outputs(self, stage: str, features: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """The signed outputs of a stage's blocks, and what the next stage reads."""
        for module in self.stage_modules(stage):
            features = module(features)
        return (features,), features

    def own_names(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a weight file by the names of this backbone's parameters.

        Backbones whose weights are published under several styles of names override this; a file that fits nowhere
        is returned as it is.
        """
        return dict(given)

    def published_file(self) -> Path | None:
        """The file of the weights that ``facts.weights`` names, for a family that finds it by itself; else None.

        Raises:
            NotHereError: it is neither here nor can be downloaded.
        """
        return None

    def about(self) -> dict[str, Any]:
        """What a record says of it beside its name and weights; JSON-able."""
        return {}

    def parameters_of(self, stage: str) -> int:
        """How many trainable numbers a stage has (batch-norm weight and bias included)."""
        return sum(p.numel() for module in self.stage_modules(stage) for p in module.parameters())

    @property
    def first_convolution(self) -> nn.Conv2d:
        """The convolution that reads the image."""
        return next(module for module in self.modules() if isinstance(module, nn.Conv2d))

    def stage_of(self, key: str) -> str | None:
        """The stage to which a state-dict key belongs, by its prefix; None for a key of no stage."""
        names = {module: name for name, module in self.named_modules()}
        for stage in self.stages:
            if any(key.startswith(f"{names[module]}.") for module in self.stage_modules(stage)):
                return stage
        return None

    def remember_parts(self) -> None:
        """Takes the parts that the backbone has now for its own: parts added later are new, and never frozen.

        A copy remembers its own parts alike.
        """
        inner = (module for module in self.modules() if module is not self)
        self._first_parts = [*inner, *self.parameters()]

    def forget_parts(self) -> None:
        """Takes every part for its own, also those added later; parts that were replaced are let go."""
        self._first_parts = None

    def freeze(self, through: str) -> None:
        """Excludes the first stages from training, and trains all others.

        Batch-norm statistics of an excluded stage do not move either, except in mode ``"stats"``. New parts
        (:meth:`remember_parts`) are left as they are: they hold nothing that is worth keeping.

        Args:
            through: ``"none"``, ``"all"`` (also what belongs to no stage), or the last stage that is not
                trained.

        Raises:
            UserError: the backbone has no stage of this name.
        """
        whole = {"none": 0, "all": len(self.stages) + 1}
        self._frozen_stages = whole[through] if through in whole else self._place(through) + 1
        self._set_gradients()
        self._set_norm_modes()

    def set_batch_norm(self, mode: NormMode) -> None:
        """What training does to every batch-norm, also after ``train()``.

        Args:
            mode: ``"eval"`` keeps statistics, weight and bias; ``"train"`` trains them, in stages that are
                trained; ``"stats"`` keeps weight and bias and normalises with the statistics of the batch,
                which move the running ones, in stages that are frozen too.
        """
        self._norm_mode = mode
        self._set_gradients()
        self._set_norm_modes()

    def train(self, mode: bool = True) -> Backbone:
        """Sets training mode, except for batch-norms whose statistics do not move."""
        super().train(mode)
        self._set_norm_modes()
        return self

    def moving_folded_norms(self) -> tuple[str, ...]:
        """Those of ``folded_norms`` that would normalise by batch statistics now: this destroys the features."""
        new = self._new()
        moving = {name for name, module in self.named_modules() if module.training and not new(module)}
        return tuple(name for name in self.folded_norms if name in moving)

    def _set_gradients(self) -> None:
        new = self._new()
        for module, frozen in self._parts():
            fixed = isinstance(module, nn.BatchNorm2d) and self._norm_mode != "train"
            for parameter in module.parameters(recurse=False):
                if not new(parameter):
                    parameter.requires_grad_(not frozen and not fixed)

    def _set_norm_modes(self) -> None:
        new = self._new()
        for module, frozen in self._parts():
            if isinstance(module, nn.BatchNorm2d) and not new(module):
                moves = {"eval": False, "train": not frozen, "stats": True}[self._norm_mode]
                module.training = self.training and moves

    def _new(self) -> Callable[[nn.Module | nn.Parameter], bool]:
        """Whether a part was added after the backbone was built."""
        if self._first_parts is None:
            return lambda part: False
        known = set(map(id, self._first_parts))  # by identity: a name may be given to another part
        return lambda part: id(part) not in known

    def _parts(self) -> Iterator[tuple[nn.Module, bool]]:
        """Every module, and whether it is excluded from training."""
        groups = [*(self.stage_modules(stage) for stage in self.stages), self.further_modules()]
        for place, group in enumerate(groups):
            for top in group:
                for module in top.modules():
                    yield module, place < self._frozen_stages

    def _place(self, stage: str) -> int:
        if stage not in self.stages:
            raise unknown(f"stage of {self.name}", stage, self.stages)
        return self.stages.index(stage)
