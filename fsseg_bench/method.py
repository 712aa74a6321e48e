"""The contract of a method: what the engine gives it and what it gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from fsseg_bench import schema
from fsseg_bench.conventions import VOID as VOID  # noqa: PLC0414 - part of the contract
from fsseg_bench.nn.backbones import Backbone
from fsseg_bench.nn.layout import Layout
from fsseg_bench.recipe import Recipe

if TYPE_CHECKING:
    from fsseg_bench.protocol.spec import Protocol

Features = Tensor | tuple[Tensor, ...]
"""What ``encode`` returns: one tensor or several (feature levels), each with the images as first axis."""


StageImages = Literal["base", "all"]
"""See :class:`Stage`."""


class ClassLabels(NamedTuple):
    """What training images show of the fold's base classes, whichever the episode is about.

    uint8: 0 background, 1..n the base classes in ascending order, 255 void.
    """

    support: Tensor
    """(B, N, K, H, W)."""
    query: Tensor
    """(B, H, W)."""


class History:
    """What a method remembers of training samples (a query with the episode's classes) between their visits."""

    def __init__(self, past: Sequence[Tensor | None]) -> None:
        self.past = tuple(past)
        """For each episode what was kept on its sample's last visit; None on the first."""
        self.kept: Tensor | None = None
        """What :meth:`keep` was given, detached."""

    def keep(self, maps: Tensor) -> None:
        """Remembers ``maps`` (B, ...), one entry an episode; the engine stores them in half precision."""
        self.kept = maps.detach()


@dataclass(frozen=True)
class Episode:
    """A batch of B episodes, N ways and K shots each, as a method sees it.

    ``H, W`` is the image size; features may have any resolution.
    """

    support: Features
    """Support features, each tensor (B, N, K, ...)."""
    support_masks: Tensor
    """(B, N, K, H, W) uint8: 1 where the support shows its way's class, 0 where it shows no class of the
    episode, 255 where the pixel is void or belongs to another way's class."""
    query: Features
    """Query features, each tensor (B, ...)."""
    size: tuple[int, int]
    """(H, W) of the query image as the encoder saw it, in pixels."""
    seeds: tuple[int, ...]
    """One seed an episode, from the episode table: for random starts that depend on nothing else."""
    query_labels: Tensor | None = None
    """(B, H, W) uint8 in 0..N, or 255 for void. Training only, and for a method that ``reads_truth``, which gets those
    of the input size whatever ``size`` is: None in any other evaluation."""
    class_labels: ClassLabels | None = None
    """Training only, for a method with ``reads_class_labels``."""
    unlabelled: Features | None = None
    """Features of U further images of each way's class, each tensor (B, N, U, ...), for a method whose
    ``unlabelled_images`` is U > 0: none of them is in the episode, and no mask comes with them."""
    history: History | None = None
    """Training only, for a method with ``keeps_history``."""
    classes: tuple[tuple[int, ...], ...] = ()
    """Training only: for each of the B episodes the label values of its N base classes."""

    @property
    def batch(self) -> int:
        """B, the number of episodes."""
        return self.support_masks.shape[0]

    @property
    def ways(self) -> int:
        """N, the number of classes of each episode."""
        return self.support_masks.shape[1]

    @property
    def shots(self) -> int:
        """K, the number of supports of each class."""
        return self.support_masks.shape[2]

    def item(self, i: int) -> Episode:
        """Episode ``i`` of the batch, in memory of its own; class labels and history are left out.

        The copy matters: how a CPU rounds may depend on where numbers lie in memory.
        """

        def cut(features: Features) -> Features:
            if isinstance(features, Tensor):
                return features[i : i + 1].clone()
            return tuple(level[i : i + 1].clone() for level in features)

        return Episode(
            support=cut(self.support),
            support_masks=self.support_masks[i : i + 1].clone(),
            query=cut(self.query),
            size=self.size,
            seeds=self.seeds[i : i + 1],
            query_labels=None if self.query_labels is None else self.query_labels[i : i + 1].clone(),
            unlabelled=None if self.unlabelled is None else cut(self.unlabelled),
        )


class Prediction(NamedTuple):
    """Logits together with figures worth recording (one row an episode)."""

    logits: Tensor
    """(B, N+1, h, w), background first, at any resolution; the engine resizes bilinearly."""
    diagnostics: dict[str, Tensor]
    """Name to (B,) or (B, T) numbers; they go into the episode log and, averaged, into the run record."""


class Method(nn.Module, ABC):
    """One few-shot segmentation model.

    A method says its mathematics, its recipe and its citation (the module docstring). It opens no files, prints
    nothing, chooses no device and computes no metric.
    """

    Switches: ClassVar[type[Any] | None] = None
    """What users set with ``--set NAME=VALUE``: a frozen dataclass inside the class. Its fields have a type, a default
    and a docstring, and may have a range (``Annotated[int, Range(least=1)]``). None: there is nothing to set."""

    max_ways: ClassVar[int | None] = None
    """The largest N the method can do; None is any."""
    needs_grad_at_test: ClassVar[bool] = False
    """Whether ``predict`` runs autograd."""
    stochastic: ClassVar[bool] = False
    """Whether ``predict`` draws random numbers (from ``episode.seeds`` alone)."""

    reads_class_labels: ClassVar[bool] = False
    """Whether training episodes carry ``class_labels``; ``__init__`` then takes the number of base classes,
    ``base_classes``, after the backbone."""
    keeps_history: ClassVar[bool] = False
    """Whether training episodes carry a ``history``."""

    default_backbone: ClassVar[str] = "resnet50"
    """The backbone when the user names none."""
    layout: ClassVar[Layout] = Layout()
    """Strides, dilations and the last stage of the backbone, whichever the user names."""

    def __init__(self, backbone: Backbone, switches: Any = None) -> None:
        """Keeps the backbone and the switches.

        Args:
            backbone: laid out as ``layout`` says.
            switches: an instance of ``Switches``, where the method has any; it becomes ``self.switches``.

        Raises:
            UserError: a switch is outside its range.
            ValueError: ``switches`` is no instance of ``Switches``.
        """
        super().__init__()
        if not isinstance(switches, self.Switches or type(None)):
            name = type(self).__name__
            raise ValueError(f"{name}: give super().__init__ the backbone and an instance of {name}.Switches")
        if self.Switches is not None:
            schema.check(switches)
        self.backbone = backbone
        self.switches = switches

    def encode(self, images: Tensor) -> Features:
        """Features of normalised images (M, 3, H, W) float; depends on each image alone.

        The engine calls it once for each distinct image and may keep the result.
        """
        features: Tensor = self.backbone(images)
        return features

    def encode_support(self, images: Tensor, masks: Tensor) -> Features:
        """Features of support images (M, 3, H, W) whose masks (M, H, W) uint8 may enter the encoder.

        Override only where the mask matters: the engine then encodes once for each (image, class).
        """
        return self.encode(images)

    def encode_unlabelled(self, images: Tensor) -> Features:
        """Features of images (M, 3, H, W) that come without a mask; kept per image, as those of ``encode``."""
        return self.encode(images)

    def encode_training(self, supports: Tensor, masks: Tensor, queries: Tensor) -> tuple[Features, Features]:
        """Features of a training step's supports (M, ...) and queries (B, ...).

        Override where the order of passes, their batch-norm mode or their gradient belongs to the method. Supports and
        queries go through together unless the mask enters the encoder.

        Args:
            supports: (M, 3, H, W) normalised images of all supports of the batch.
            masks: (M, H, W) uint8, theirs.
            queries: (B, 3, H, W).
        """
        if self.mask_enters_encoder:
            return self.encode_support(supports, masks), self.encode(queries)
        together = self.encode(torch.cat([supports, queries]))
        count = supports.shape[0]
        if isinstance(together, Tensor):
            return together[:count], together[count:]
        return tuple(level[:count] for level in together), tuple(level[count:] for level in together)

    @abstractmethod
    def predict(self, episode: Episode) -> Tensor | Prediction:
        """Logits (B, N+1, h, w), background first, at any resolution."""

    @abstractmethod
    def loss(self, episode: Episode) -> dict[str, Tensor]:
        """Named scalars; the engine minimises their sum and logs each. ``episode.query_labels`` is given."""

    @classmethod
    @abstractmethod
    def recipe(cls, protocol: Protocol, shot: int) -> Recipe:
        """How the method trains under ``protocol`` with ``shot`` supports a class, each value with its source."""

    @classmethod
    def recipe_with(cls, protocol: Protocol, shot: int, switches: Mapping[str, Any]) -> Recipe:
        """The same, for a method whose switches (all of them, by name) decide whether or how it trains."""
        return cls.recipe(protocol, shot)

    @classmethod
    def stages_before(cls, protocol: Protocol, shot: int) -> tuple[Stage, ...]:
        """What is trained before the method, one after the other; nothing for most methods."""
        return ()

    def remarks(self, way: int, shot: int) -> Sequence[str]:
        """What users should know before they run this model on episodes of so many ways and shots, a sentence each.

        For what a run with these switches does otherwise than its user may expect. It is said and recorded.
        """
        return ()

    @property
    def unlabelled_images(self) -> int:
        """Further images of each way's class that the method wants, in training and in evaluation."""
        return 0

    @property
    def learns_by_counting(self) -> bool:
        """Whether ``loss`` itself learns, from what it counts in the module's buffers; nothing follows a gradient.

        Such a training sees the episodes that any other would see, of base classes alone, in evaluation mode.
        """
        return False

    @property
    def reads_truth(self) -> bool:
        """Whether ``predict`` reads the query's own labels: an oracle, for diagnosis. Every table says so of it."""
        return False

    @property
    def mask_enters_encoder(self) -> bool:
        """Whether ``encode_support`` is overridden."""
        return type(self).encode_support is not Method.encode_support


class LabelsEverything(ABC):
    """What a method defines beside the rest that labels base and novel classes at once (the task ``generalised``).

    The engine averages the vectors of the base classes and of the background over the training images, those of each
    novel class over its supports, and gives every image's pixels the class of the highest score.
    """

    @abstractmethod
    def class_vectors(self, features: Features, masks: Tensor) -> Tensor:
        """(M, G, D): what regions of images look like; 0 where a region is empty.

        Args:
            features: of M images.
            masks: (M, G, H, W) bool, the regions of each.
        """

    @abstractmethod
    def vector_scores(self, features: Features, vectors: Tensor) -> Tensor:
        """(M, G, h, w): how well each cell of M images fits each of ``vectors`` (G, D)."""


class TrainingFree(Method):
    """A method that learns nothing: it has no parameters but its backbones', and predicts as it is built.

    A subclass defines :meth:`predict`. Its recipe has no iterations, and the engine refuses any, unless switches ask
    for a value to be chosen by counting (:meth:`Method.recipe_with`, :attr:`Method.learns_by_counting`). The method's
    card says ``Untrained: works``. Methods that can be trained, but need not be, are no subclasses.
    """

    def loss(self, episode: Episode) -> dict[str, Tensor]:
        """Not to be called: nothing is trained."""
        raise NotImplementedError(f"{type(self).__name__} trains nothing and has no loss")

    @classmethod
    def recipe(cls, protocol: Protocol, shot: int) -> Recipe:
        """No iterations."""
        return Recipe(iterations=0, batch=1, lr=1e-3, sources={"iterations": "nothing is trained"})


class StageNetwork(Method):
    """A network that a stage trains: a backbone and parts of its own, on images with the labels of all base classes.

    Its constructor takes the backbone and the number of base classes. A trained one gives its parameters to the parts
    of the method that have the same names. To the engine it is a method as well: an episode has all C base classes as
    its ways, no supports, and the images themselves as the query's features. A method's file defines one public method,
    so that the name of a network in it begins with an underscore.
    """

    reads_class_labels = True

    def __init__(self, backbone: Backbone, base_classes: int) -> None:
        """Keeps the backbone.

        Args:
            backbone: laid out as ``layout`` says, which is the method's.
            base_classes: C.
        """
        super().__init__(backbone)
        self.base_classes = base_classes

    @abstractmethod
    def labelled_loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Named scalars whose sum is minimised.

        Args:
            images: (B, 3, H, W) normalised.
            labels: (B, H, W) uint8: 0 background, 1..C the base classes in ascending order, 255 void.
        """

    def loss(self, episode: Episode) -> dict[str, Tensor]:
        """:meth:`labelled_loss` of the query."""
        if episode.query_labels is None:
            raise ValueError("a stage has no loss without labels")
        return self.labelled_loss(feature_map(episode.query), episode.query_labels)

    def encode(self, images: Tensor) -> Features:
        """The images."""
        return images

    def encode_training(self, supports: Tensor, masks: Tensor, queries: Tensor) -> tuple[Features, Features]:
        """The images; there are no supports."""
        return supports, queries

    def predict(self, episode: Episode) -> Tensor | Prediction:
        """Not to be called: a stage is trained and not evaluated."""
        raise NotImplementedError(f"{type(self).__name__} is the network of a stage, which is not evaluated")

    @classmethod
    def recipe(cls, protocol: Protocol, shot: int) -> Recipe:
        """Not to be called: :class:`Stage` has it."""
        raise NotImplementedError(f"{cls.__name__} is the network of a stage, which has the recipe")


@dataclass(frozen=True)
class Stage:
    """A training that comes before a method's own, on images of the base classes, without episodes.

    Whatever method and number of shots asks for the same training gets the same network: it is made once.
    """

    name: str
    """What users set values by: ``--set stage.NAME.KEY=VALUE``, a key of the recipe or ``images``. No dots."""
    network: type[StageNetwork]
    """What is trained, from the backbone's weights and random numbers of its own; its ``layout`` is the method's."""
    recipe: Recipe
    """How, with a source for each value; a batch is of images. Of 0 iterations: the stage is left out, and the method
    keeps the parameters that it was built with."""
    images: StageImages = "base"
    """``base``: the training images that show enough of a base class. ``all``: also those of the training lists that
    show objects of other classes alone; what these are in the labels is the protocol's ``novel_in_train``, but that
    somebody chose such images is knowledge of unseen classes."""


def feature_map(features: Features) -> Tensor:
    """The only or the last feature tensor."""
    return features if isinstance(features, torch.Tensor) else features[-1]
