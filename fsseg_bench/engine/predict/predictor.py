"""Segments one's own images from one's own examples, without a protocol.

import fsseg_bench
predictor = fsseg_bench.Predictor("results/runs/.../fold1-seed0-1a2b3c4d")
predictor.set_support(["cat1.jpg", "cat2.jpg"], ["cat1-mask.png", "cat2-mask.png"])
masks = [result.mask for result in predictor.predict_many(["cat3.jpg", "cat4.jpg"])]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from fsseg_bench.conventions import MOST_LABELS, UInt8
from fsseg_bench.data.loading import squash, squash_image
from fsseg_bench.engine.counts import resized, scores_from_logits
from fsseg_bench.engine.device import resolve_device
from fsseg_bench.engine.inference import InferenceModel, stack_features
from fsseg_bench.engine.memory import keep_memory
from fsseg_bench.engine.open_run import DEFAULT_SIZE, open_model
from fsseg_bench.engine.predict.ahead import ahead
from fsseg_bench.engine.predict.classes import OBJECT
from fsseg_bench.engine.predict.drawn import Drawn, draw_supports
from fsseg_bench.engine.predict.supports import AnyMask, Support, read_supports
from fsseg_bench.engine.predict.upright import AnyImage, named, upright
from fsseg_bench.engine.transfer import fetch, send
from fsseg_bench.errors import UserError
from fsseg_bench.method import Episode, Features
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.protocol.spec import Protocol

_SEED = 0  # of methods that draw random numbers: the same input gives the same output
_AHEAD = 4  # images decoded ahead, besides those of one batch

OnError = Callable[[AnyImage, UserError], None]


class Segmentation(NamedTuple):
    """One query, segmented."""

    query: Path | None
    """The image file; None of an image that was given as an array."""
    mask: UInt8
    """(H, W) at the size of the upright image: i where class i of ``classes`` is, from 1; 0 elsewhere."""
    probability: npt.NDArray[np.float32]
    """(H, W) in [0, 1]: softmax of the method's logits, the highest of all classes; above 1/2 where ``mask`` is not."""
    classes: tuple[str, ...] = (OBJECT,)
    """The names of the classes."""


class _Query(NamedTuple):
    image: AnyImage
    size: tuple[int, int]
    """(H, W) of the image as it is."""
    pixels: Tensor
    """(3, S, S) uint8."""


class _Encoded(NamedTuple):
    """The supports of one class, as an episode has them."""

    features: Features
    masks: Tensor
    """(1, 1, K, S, S) uint8."""


class Predictor:
    """A model that is loaded once: supports are set, then any number of queries go through.

    Each class is segmented as in a one-way episode. Of several classes, a pixel gets the one with the highest
    foreground probability, where that is above 1/2; of equal ones the class that was set first.
    """

    title: str
    """Method, backbone, input size and where the parameters are from, in words."""

    def __init__(
        self,
        checkpoint: Path | str | None = None,
        *,
        method: str | None = None,
        backbone: str | None = None,
        weights: str | None = None,
        switches: Mapping[str, Any] | None = None,
        size: int | None = None,
        default_size: int = DEFAULT_SIZE,
        device: str = "auto",
        methods_path: Path | str | None = None,
        backbones_path: Path | str | None = None,
    ) -> None:
        """Loads the model.

        Args:
            checkpoint: a run's folder (method, backbone, switches and size are read from it), or a file; None: the
                method as it is built.
            method: needed unless ``checkpoint`` is a run's folder.
            backbone: None: the run's, else the method's own.
            weights: of the backbone where no checkpoint is: ``imagenet``, ``none`` or a file; None: the run's, else
                ``imagenet``.
            switches: of the method, by name.
            size: side of the square input in pixels; None: the run's, else ``default_size``.
            default_size: see ``size``.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:INDEX``.
            methods_path: a folder with further method files; None: the run's.
            backbones_path: a folder with further backbone files; None: the run's.

        Raises:
            UserError: anything is unknown, missing, contradictory or damaged.
        """
        chosen = resolve_device(device)
        keep_memory()
        trained = open_model(
            None if checkpoint is None else Path(checkpoint),
            method=method,
            backbone=backbone,
            weights=weights,
            switches=switches,
            size=size,
            default_size=default_size,
            methods_path=None if methods_path is None else str(methods_path),
            backbones_path=None if backbones_path is None else str(backbones_path),
        )
        if count := trained.method.unlabelled_images:
            raise UserError(
                f"{trained.name} looks at {count} further images of the class besides supports and query; predict "
                "has none to give it: use another method, or `fsseg-bench run`"
            )
        if trained.method.reads_truth:
            raise UserError(
                f"{trained.name} with these switches reads the query's true mask, which predict does not have: set "
                "them otherwise, or use `fsseg-bench run`"
            )
        if trained.method.learns_by_counting and checkpoint is None:
            raise UserError(
                f"{trained.name} with these switches chooses a value on episodes of base classes, of which predict has "
                "none: name the folder of a run that chose it, or set the value itself"
            )
        self._size = trained.size
        shape = f"{trained.size} x {trained.size}{', padded' if trained.size.pads else ''}"
        self.title = f"{trained.name} on {trained.backbone}, input {shape}, {trained.origin}"
        self._model = InferenceModel(trained.method.to(chosen), chosen, "fp32")
        self._classes: dict[str, _Encoded] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes that have supports, in the order of their values in masks."""
        return tuple(self._classes)

    def clear(self) -> None:
        """Takes all supports away."""
        self._classes.clear()

    def set_support(
        self,
        images: AnyImage | Iterable[AnyImage],
        masks: AnyMask | Iterable[AnyMask],
        *,
        name: str = OBJECT,
        label: int | None = None,
    ) -> int:
        """Sets the supports of one class, in place of those that it has; other classes keep theirs.

        Args:
            images: files, or arrays (H, W, 3) uint8 in RGB; one or several. Files are turned upright (EXIF).
            masks: one for each image: a file, an array (H, W), or a box (x0, y0, x1, y1) in pixels. Binary: 0 and one
                other value.
            name: of the class.
            label: its value where masks have the label values of several classes (255 is void then); images without
                it are left out.

        Returns:
            How many supports there are.

        Raises:
            UserError: no support, a file is missing or unreadable, a mask is empty, not binary, without the label, or
                of another size than its upright image.
        """
        supports = read_supports(images, masks, label)
        self._set(name, supports)
        return len(supports)

    def draw_support(
        self,
        dataset: Protocol | Path | str,
        *classes: str,
        shots: int = 1,
        seed: int = 0,
        data_root: Path | str | None = None,
    ) -> list[Drawn]:
        """Sets supports that are drawn from the test images of a protocol, the same ones for the same seed.

        Args:
            dataset: a protocol, or its name or file.
            classes: names or label values.
            shots: supports of each class.
            seed: of the draw.
            data_root: the folder of the data sets; None: FSSEG_DATA, or beside the protocol's file.

        Returns:
            What was drawn, class by class.

        Raises:
            UserError: an unknown protocol or class, too few images of a class, or the data cannot be had.
        """
        protocol = dataset if isinstance(dataset, Protocol) else load_protocol(dataset)
        drawn = draw_supports(protocol, classes, shots, seed, data_root)
        for one in drawn:
            self._set(one.name, one.supports)
        return drawn

    def predict(self, image: AnyImage) -> Segmentation:
        """Segments one image: a file, which is turned upright (EXIF), or an array (H, W, 3) uint8 in RGB.

        Raises:
            UserError: no support is set, or the file is missing or cannot be decoded.
        """
        (result,) = self.predict_many([image])
        return result

    def predict_many(self, images: Iterable[AnyImage], on_error: OnError | None = None) -> Iterator[Segmentation]:
        """Segments images one after the other, decoding ahead; each result is as if the image were alone.

        Args:
            images: as in :meth:`predict`; taken when they are needed.
            on_error: is called with an image that cannot be read or segmented, and why; the others go on. None: the
                error is raised, after the results before it.

        Raises:
            UserError: no support is set, or as said.
        """
        if not self._classes:
            raise UserError("no support is set; call set_support(images, masks) first")
        return self._predict_many(images, on_error, dict(self._classes))

    def _predict_many(
        self, images: Iterable[AnyImage], on_error: OnError | None, classes: Mapping[str, _Encoded]
    ) -> Iterator[Segmentation]:
        batch: list[_Query] = []
        for image, loading in ahead(self._load, images, self._model.encode_batch + _AHEAD):
            try:
                batch.append(loading.result())
            except UserError as error:
                if on_error is None:
                    yield from self._segment(batch, classes, None)
                    raise
                on_error(image, error)
            if len(batch) == self._model.encode_batch:
                yield from self._segment(batch, classes, on_error)
                batch = []
        yield from self._segment(batch, classes, on_error)

    def _load(self, image: AnyImage) -> _Query:
        pixels = upright(image)
        return _Query(image, (pixels.shape[0], pixels.shape[1]), self._input(pixels))

    def _input(self, image: UInt8) -> Tensor:
        return squash_image(Image.fromarray(image), self._size)

    def _set(self, name: str, supports: list[Support]) -> None:
        if name not in self._classes and len(self._classes) == MOST_LABELS:
            raise UserError(f"{name}: a mask holds at most {MOST_LABELS} classes; segment the others by another call")
        images = [self._input(support.image) for support in supports]
        masks = [_squashed(support, self._size) for support in supports]
        with_masks = self._model.mask_enters_encoder
        encoded = self._model.encode_support(images, masks) if with_masks else self._model.encode(images)
        shape = (1, 1, len(supports))
        (sent,) = send([torch.stack(masks).view(*shape, self._size, self._size)], self._model.device)
        self._classes[name] = _Encoded(stack_features(encoded, shape), sent)

    def _segment(
        self, batch: list[_Query], classes: Mapping[str, _Encoded], on_error: OnError | None
    ) -> Iterator[Segmentation]:
        """Queries that are encoded together, and then go through the head one by one: so they do not see each other."""
        for query, features in zip(batch, self._model.encode([query.pixels for query in batch]), strict=True):
            try:
                result = self._merged(query, stack_features([features], (1,)), classes)
            except UserError as error:
                if on_error is None:
                    raise
                on_error(query.image, error)
            else:
                yield result

    def _merged(self, query: _Query, features: Features, classes: Mapping[str, _Encoded]) -> Segmentation:
        device = self._model.device
        best = torch.full((), -torch.inf, device=device)
        finite = torch.ones((), dtype=torch.bool, device=device)
        labels = torch.zeros(query.size, dtype=torch.uint8, device=device)
        for value, support in enumerate(classes.values(), start=1):
            scores = self._scores(query, features, support)
            finite = finite & torch.isfinite(scores).all()
            higher = scores > best
            best = torch.where(higher, scores, best)
            labels = torch.where(higher & (scores > 0), value, labels)
        all_finite, of_pixels, probability = fetch([finite, labels, best.sigmoid()], device)()
        if not all_finite:  # NaN would be background
            raise UserError(
                f"{named(query.image)}: the method's logits are not finite; perhaps its training has diverged"
            )
        path = Path(query.image) if isinstance(query.image, str | Path) else None
        return Segmentation(path, of_pixels.numpy(), probability.numpy(), tuple(classes))

    def _scores(self, query: _Query, features: Features, support: _Encoded) -> Tensor:
        """(H, W) foreground minus background logit."""
        size = (self._size, self._size)
        episode = Episode(support.features, support.masks, features, size, (_SEED,))
        scores = scores_from_logits(self._model.predict(episode)[0])
        return resized(scores, query.size, self._size.shares(*query.size))[0, 0]


def _squashed(support: Support, size: int) -> Tensor:
    """(size, size) uint8."""
    squashed = squash(support.mask, size)
    if not (squashed == 1).any():
        raise UserError(
            f"{support.name}: the object vanishes at the input size of {size} pixels; crop the image, raise --size, or "
            "take another support"
        )
    return torch.from_numpy(squashed)
