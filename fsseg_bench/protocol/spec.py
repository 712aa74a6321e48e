"""The protocol: every choice that moves a number, as frozen data read from one TOML file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.data_spec import LIST_KEYS, DataSpec
from fsseg_bench.protocol.episode_spec import MOST_EPISODES, EpisodeSpec
from fsseg_bench.protocol.side import Side
from fsseg_bench.protocol.training import NOTHING_HELD_OUT, TrainingRules, TrainSpec
from fsseg_bench.schema import Must, Range, later, settings_of

Resolution = Literal["input", "native"]
"""Where pixels are counted: at the protocol's input size, or at the query's own."""
RESOLUTIONS: tuple[Resolution, ...] = get_args(Resolution)

GENERALISED_SCORING = {"background": "base", "overall": "all-classes"}
"""Keys of ``[scoring]`` that have a part in that task alone, with their defaults."""


@dataclass(frozen=True)
class ImageSpec:
    """The geometry of what the models see."""

    size: Annotated[int, Range(least=32, most=2**14)]
    """Side of the square input, in pixels."""
    resize: Literal["squash", "pad"]
    """How images come to the square (bilinear; masks nearest): ``squash`` takes no care of the aspect ratio; ``pad``
    keeps it: the longer side becomes ``size``, and the rest, right and below, is black, in masks void."""
    decoder: Literal["pillow"]
    """The library that decodes and resizes."""
    orientation: Literal["stored", "upright"] = later("stored")
    """Whether images are taken as they are stored, or turned upright as their EXIF orientation says, sizes and pixels
    alike; masks are never turned."""
    multiple: Annotated[int, Range(least=1)] = later(1)
    """With ``pad``: both sides of the resized image are rounded down to a multiple of it, at least to one."""

    def __post_init__(self) -> None:
        """Raises ValueError where ``multiple`` does not fit the rest."""
        if self.resize == "squash" and self.multiple != 1:
            raise ValueError(f'multiple is {self.multiple}; it is for image.resize = "pad" alone')
        if self.multiple > self.size:
            raise ValueError(f"multiple is {self.multiple}, which is more than image.size, {self.size}")

    @property
    def side(self) -> Side:
        """``size``, with what else says how an image comes to the square."""
        return Side(self.size, self.multiple if self.resize == "pad" else 0)


def _are_scales(scales: tuple[float, ...]) -> bool:
    return 0 < len(set(scales)) == len(scales) and all(0 < scale <= 4 for scale in scales)


@dataclass(frozen=True)
class ScoringSpec:
    """How predictions are compared with labels."""

    void: Literal["ignore"]
    """Pixels labelled 255 count nowhere: not in scores, losses or prototypes."""
    headline: Resolution
    """Which score is the headline: at the input size, or at the query's own; counts are recorded at both."""
    scales: Annotated[tuple[float, ...], Must("a list of different numbers above 0, at most 4", _are_scales)]
    """Query scales of the multi-scale variant."""
    boundary: Annotated[float, Range(least=0, below=1)] = later(0.0)
    """Width of the band along outlines that boundary-IoU counts, as a share of the image's diagonal (0.02 is usual); 0:
    none is counted."""
    background: Literal["base", "apart"] = later("base")
    """Generalised: whether the background's IoU belongs to the base mean; in the mean over all classes it always is."""
    overall: Literal["all-classes", "mean-of-two"] = later("all-classes")
    """Generalised: the headline, the mean over all classes or the mean of base and novel; both are recorded."""


@dataclass(frozen=True)
class CheckpointSpec:
    """Which training state is evaluated."""

    rule: Literal["last", "validation"]
    """`last`: the last one; `validation`: the best by mean-IoU on episodes of the `validation` classes, of equal ones
    the first. Never chosen on held-out classes."""
    every: Annotated[int, Range(least=1)] = later(1000)
    """With `validation`: training steps between two looks; the last step is always looked at."""
    episodes: Annotated[int, Range(least=1, most=MOST_EPISODES)] = later(500)
    """With `validation`: how many episodes a look takes, of the run's ways and shots, from training images; 1-way ones
    have the classes in turn."""
    seed: int = later(0)
    """With `validation`: seed of these episodes."""

    def __post_init__(self) -> None:
        """Raises:
        ValueError: a key that has no part; the message begins with it.
        """
        defaults = {one.name: one.default for one in dataclasses.fields(self) if one.name != "rule"}
        if self.rule == "last" and (given := [key for key, value in defaults.items() if getattr(self, key) != value]):
            raise ValueError(f'{given[0]} has no part with rule "last"; set rule = "validation", or leave it out')


@dataclass(frozen=True)
class Protocol:
    """The rules of one benchmark. Build it with :func:`fsseg_bench.protocol.load.load_protocol`."""

    name: str
    """Short name, as in the file."""
    version: int
    """Raised whenever a number could change."""
    description: str
    """One sentence for people; not part of the digest."""
    classes: tuple[str, ...]
    """All labelled classes; the label value of a class is its position, from 1."""
    folds: Mapping[int, tuple[str, ...]]
    """Fold 1..n to the names of its held-out (novel) classes, ascending; n is at least 1."""
    data: DataSpec
    episodes: EpisodeSpec
    image: ImageSpec
    scoring: ScoringSpec
    checkpoint: CheckpointSpec
    base: tuple[str, ...] = later(())
    """Names that are trained on in every fold, besides those of the other folds."""
    validation: tuple[str, ...] = later(())
    """Names that are neither trained on nor scored: held out of training in every fold."""
    train: TrainSpec | None = None
    """Another protocol whose images and classes are trained on in place of this one's."""
    overrides: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Dotted keys that the user changed, with their values as text."""
    given_list: bool = False
    """Whether the episodes are a list from elsewhere, in place of the one that ``episodes`` draws."""
    home: Path | None = None
    """The folder of the file when it is the user's own; data may lie beside it. Not part of the digest."""
    list_digests: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """List file, as in the lists, to the SHA-256 of its bytes; these enter the digest in place of the path."""

    def class_id(self, name: str) -> int:
        """The label value (1..C) of a class name."""
        return self.classes.index(name) + 1

    def class_name(self, class_id: int) -> str:
        """The name of a label value (1..C).

        Raises:
            ValueError: no such label value; 0 is background.
        """
        if not 1 <= class_id <= len(self.classes):
            raise ValueError(f"label value {class_id} is not in 1..{len(self.classes)}")
        return self.classes[class_id - 1]

    def check_fold(self, fold: int) -> None:
        """Refuses a fold that the protocol does not have.

        Raises:
            UserError: says which there are.
        """
        if fold not in self.folds:
            there = f"its folds are 1 to {len(self.folds)}" if len(self.folds) > 1 else "its only fold is 1"
            raise UserError(f"--fold {fold}: {self.label} has no such fold; {there}")

    def fold_classes(self, fold: int) -> tuple[int, ...]:
        """Label values held out in ``fold``, in the order in which the file names them."""
        return tuple(self.class_id(name) for name in self.folds[fold])

    def check_episodes(self) -> None:
        """Refuses a protocol that has none.

        Raises:
            UserError: its task is another.
        """
        if self.episodes.task != "episodes":
            raise UserError(
                f"{self.label} labels base and novel classes at once, without episodes: fsseg-bench run does that, and "
                "report and show print it"
            )

    def novel_classes(self, fold: int) -> tuple[int, ...]:
        """Label values held out in ``fold``, ascending; none in :data:`NOTHING_HELD_OUT`."""
        return () if fold == NOTHING_HELD_OUT else tuple(sorted(self.fold_classes(fold)))

    def base_classes(self, fold: int) -> tuple[int, ...]:
        """Label values of all other folds' classes and of ``base``, ascending; all further ones are background.

        A protocol of a single fold has none unless it names some: it can only be tested on. What is trained on is said
        by :meth:`training`, whose rules may be another protocol's.
        """
        every = {self.class_id(name) for names in (*self.folds.values(), self.base) for name in names}
        return tuple(sorted(every - set(self.novel_classes(fold))))

    def training(self, fold: int) -> TrainingRules:
        """Under which rules a run on ``fold`` trains."""
        return TrainingRules(self, fold) if self.train is None else TrainingRules(self.train.rules, self.train.fold)

    def held_out(self, fold: int) -> tuple[int, ...]:
        """Label values that training must not learn, ascending: the fold's novel classes, and those of validation."""
        return tuple(sorted({*self.novel_classes(fold), *map(self.class_id, self.validation)}))

    @property
    def synthetic(self) -> bool:
        """Whether the images are made by code: small networks and short training fit them."""
        return self.data.kind.synthetic

    @property
    def trains_like_coco(self) -> bool:
        """Whether a recipe that a paper states for COCO alone applies; else its recipe for PASCAL does."""
        return self.data.kind.trains_like_coco

    @property
    def side_information(self) -> str | None:
        """What the episodes give away of the query besides its pixels, in words; None for most protocols."""
        return self.data.kind.side_information(self.data.options)

    def settings(self) -> dict[str, Any]:
        """Everything that determines a number, as JSON-able values."""
        values = settings_of(dataclasses.replace(self, overrides={}, home=None, train=None))
        for key in ("description", "overrides", "given_list", "home", "list_digests", "train"):
            values.pop(key)
        if self.train is not None:  # absent otherwise, as is the list below, so that the digests of recorded runs hold
            values["train"] = self.train.settings()
        if self.given_list:
            values["episodes"]["list"] = "given"
        values["data"] = self.data.settings()
        for key in LIST_KEYS:
            values["data"][key] = [self._list_text(entry) for entry in values["data"][key]]
        values["folds"] = {str(k): list(v) for k, v in sorted(self.folds.items())}
        plain: dict[str, Any] = json.loads(json.dumps(values))  # tuples are lists, as in a record that was read
        return plain

    def _list_text(self, entry: str) -> str:
        digest = self.list_digests.get(entry)
        return f"{Path(entry).name} sha256:{digest}" if digest else entry

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of :meth:`settings`: equal digests mean equal rules."""
        text = json.dumps(self.settings(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def label(self) -> str:
        """The name, followed by what the user changed: ``coco20i-b`` or ``coco20i-b[data.year=2017]``."""
        if not self.overrides:
            return self.name
        changes = ",".join(f"{k}={v}" for k, v in sorted(self.overrides.items()))
        return f"{self.name}[{changes}]"
