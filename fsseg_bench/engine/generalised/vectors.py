"""Vectors of classes: of base classes and background from the training images, of novel classes from supports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from fsseg_bench.conventions import VOID
from fsseg_bench.data.loading import load_image, query_label
from fsseg_bench.data.source import Source
from fsseg_bench.engine.device import backend_of
from fsseg_bench.engine.inference import InferenceModel, stack_features
from fsseg_bench.errors import UserError
from fsseg_bench.machine import stopping
from fsseg_bench.method import Features, LabelsEverything
from fsseg_bench.progress import Progress
from fsseg_bench.protocol.generalised import Labels, Supports
from fsseg_bench.protocol.spec import Protocol


class GeneralisedModel(InferenceModel):
    """A model that gives and scores vectors of classes; images are encoded as for episodes."""

    @property
    def _labeller(self) -> LabelsEverything:
        if not isinstance(self._method, LabelsEverything):
            raise TypeError(f"{type(self._method).__name__} is no LabelsEverything")
        return self._method

    @torch.no_grad()
    def class_vectors(self, features: Features, masks: Tensor) -> Tensor:
        """(G, D) of one image's features and regions (G, H, W) bool."""
        batch = stack_features([features], (1,))
        regions = backend_of(self.device).to_device(masks[None], self.device)
        with self._arithmetic():
            return self._labeller.class_vectors(batch, regions)[0].float()

    @torch.no_grad()
    def vector_scores(self, features: Features, vectors: Tensor) -> Tensor:
        """(G, h, w) of one image's features and vectors (G, D)."""
        with self._arithmetic():
            return self._labeller.vector_scores(stack_features([features], (1,)), vectors)[0].float()


def base_vectors(
    model: GeneralisedModel, source: Source, protocol: Protocol, fold: int, images: Sequence[str], progress: Progress
) -> tuple[Tensor, dict[int, int]]:
    """Vectors (C+1, D) of background and base classes, 0 at the novel ones; and of how many images each is the mean.

    A class's vector is the mean of its masked averages in the training images that show it, as a prototype is the mean
    over its supports. What novel pixels are there says ``data.novel_in_train``: background, or nothing.

    Raises:
        UserError: a base class is in no training image.
    """
    labels = Labels.of(protocol, fold)
    hidden = protocol.data.novel_in_train != "background"
    total, counts = None, torch.zeros(labels.size, dtype=torch.int64)
    with progress.meter("base classes", len(images)) as meter:
        for image in images:
            label = label_of(source, labels, image, protocol.image.side)
            for place in labels.novel_places:
                label[label == place] = VOID if hidden else 0
            regions = torch.stack([label == i for i in range(labels.size)])
            shown = regions.flatten(1).any(dim=1)
            (features,) = model.encode([load_image(source, image, protocol.image.side)])
            vectors = model.class_vectors(features, regions).double()
            total = vectors if total is None else total + vectors  # the vector of an empty region is 0
            counts += shown
            meter.advance(1, "")
            stopping.check()
    if total is None or (missing := [i for i in (0, *labels.base_places) if not counts[i]]):
        names = ["background" if i == 0 else protocol.class_name(labels.classes[i - 1]) for i in missing]
        raise UserError(f"{protocol.label}: no training image of fold {fold} shows {', '.join(names)}")
    means = total / counts.clamp_min(1)[:, None].to(total.device)
    return means.float(), {i: int(counts[i]) for i in (0, *labels.base_places)}


def with_novel(
    base: Tensor, model: GeneralisedModel, source: Source, protocol: Protocol, labels: Labels, supports: Supports
) -> Tensor:
    """The vectors (C+1, D) with those of the novel classes: means over their supports."""
    vectors = base.clone()
    for c, images in supports.items():
        own = [_support_vector(model, source, protocol, labels, image, c) for image in images]
        vectors[labels.place(c)] = torch.stack(own).mean(dim=0)
    return vectors


def _support_vector(
    model: GeneralisedModel, source: Source, protocol: Protocol, labels: Labels, image: str, class_id: int
) -> Tensor:
    label = label_of(source, labels, image, protocol.image.side)
    (features,) = model.encode([load_image(source, image, protocol.image.side)])
    return model.class_vectors(features, (label == labels.place(class_id))[None])[0]


def label_of(source: Source, labels: Labels, image: str, size: int | None) -> Tensor:
    """(H, W) uint8, native without ``size``: 0 background, 1..C the classes of ``labels``, 255 void.

    Where classes overlap, the later one.
    """
    return torch.from_numpy(query_label(source, image, labels.classes, size))


def distinct_images(supports: Iterable[Mapping[int, Sequence[str]]]) -> list[str]:
    """All images of several draws, sorted."""
    return sorted({image for one in supports for images in one.values() for image in images})
