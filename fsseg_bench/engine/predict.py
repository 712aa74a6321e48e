"""Segments one's own images from one's own examples, without a protocol.

import fsseg_bench
support = [("cat1.jpg", "cat1-mask.png")]
results = fsseg_bench.predict(support, ["cat2.jpg"], checkpoint="results/runs/.../fold1-seed0-1a2b3c4d")
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from fsseg_bench.conventions import UInt8
from fsseg_bench.data.decode import check_mask_size, read_binary_mask, read_image
from fsseg_bench.data.loading import squash, squash_image
from fsseg_bench.engine.counts import predict_labels, scores_from_logits
from fsseg_bench.engine.device import resolve_device
from fsseg_bench.engine.inference import InferenceModel, stack_features
from fsseg_bench.engine.open_run import TrainedModel, open_model
from fsseg_bench.engine.overlay import overlay
from fsseg_bench.errors import UserError, unknown
from fsseg_bench.method import Episode
from fsseg_bench.storage.files import atomic_writer, make_folder

AnyPath = str | Path

_SEED = 0  # of methods that draw random numbers: the same input gives the same output


class Segmentation(NamedTuple):
    """One query, segmented."""

    query: Path
    """The image file."""
    mask: UInt8
    """(H, W) at the image's own size: 1 on the object, 0 elsewhere."""
    probability: npt.NDArray[np.float32]
    """(H, W) in [0, 1]: softmax of the method's logits; above 1/2 where the mask is 1."""


class Segmenter:
    """A method together with its supports: images go in, segmentations come out."""

    def __init__(self, trained: TrainedModel, support: Sequence[tuple[Path, Path]], device: torch.device) -> None:
        """Encodes the supports, once for all queries.

        Args:
            trained: see :func:`fsseg_bench.engine.open_run.open_model`.
            support: K image files, each with its mask file: binary (see
                :func:`fsseg_bench.data.decode.read_binary_mask`), of the image's size. The images may differ in size.
            device: where it is computed.

        Raises:
            UserError: no support, a file is missing or unreadable, a mask is empty, not binary or of another size.
        """
        if not support:
            raise UserError("no support is given: at least one image with its mask is needed (--support IMAGE MASK)")
        if count := trained.method.unlabelled_images:
            raise UserError(
                f"{trained.name} looks at {count} further images of the class besides supports and query; predict "
                "has none to give it: use another method, or `fsseg-bench run`"
            )
        self._size = trained.size
        self._model = InferenceModel(trained.method.to(device), device, "fp32")
        images = [self._input(read_image(image)) for image, _ in support]
        masks = [_support_mask(image, mask, self._size) for image, mask in support]
        encoded = self._model.encode_support(images, masks) if self._enters() else self._model.encode(images)
        shape = (1, 1, len(support))
        self._features = stack_features(encoded, shape)
        self._masks = torch.stack(masks).view(*shape, self._size, self._size).to(device)

    def __call__(self, query: Path) -> Segmentation:
        """Segments one image.

        Raises:
            UserError: the file is missing or cannot be decoded.
        """
        image = read_image(query)
        native = (image.shape[0], image.shape[1])
        episode = Episode(
            support=self._features,
            support_masks=self._masks,
            query=stack_features(self._model.encode([self._input(image)]), (1,)),
            size=(self._size, self._size),
            seeds=(_SEED,),
        )
        scores = scores_from_logits(self._model.predict(episode)[0])
        mask = predict_labels(scores, native)[0].cpu().numpy()
        full = F.interpolate(scores, native, mode="bilinear", align_corners=False)
        return Segmentation(query, mask, full[0, 0].sigmoid().cpu().numpy())

    def _enters(self) -> bool:
        return self._model.mask_enters_encoder

    def _input(self, image: UInt8) -> Tensor:
        return squash_image(Image.fromarray(image), self._size)


def predict(
    support: Sequence[tuple[AnyPath, AnyPath]],
    query: Sequence[AnyPath],
    *,
    checkpoint: AnyPath | None = None,
    method: str | None = None,
    backbone: str | None = None,
    weights: str | None = None,
    switches: Mapping[str, Any] | None = None,
    size: int | None = None,
    device: str = "auto",
    methods_path: AnyPath | None = None,
    backbones_path: AnyPath | None = None,
    out: AnyPath | None = None,
    **misspelt: Any,
) -> list[Segmentation]:
    """Segments ``query`` images from ``support`` images with masks; sizes may differ.

    Args:
        support: pairs of image and mask file, all of one class.
        query: image files.
        checkpoint: a run's folder (method, backbone, switches and size are read from it), or a file.
        method: needed unless ``checkpoint`` is a run's folder.
        backbone: None: the run's, else the method's own.
        weights: of the backbone where no checkpoint is: ``imagenet``, ``none`` or a file.
        switches: of the method, by name.
        size: side of the square input in pixels; None: the run's, else 417.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:INDEX``.
        methods_path: a folder with further method files; None: the run's.
        backbones_path: a folder with further backbone files; None: the run's.
        out: a folder for the pictures of :func:`save_segmentation`; None: nothing is written.
        misspelt: refused, with the name that was probably meant.

    Raises:
        UserError: whatever would end ``fsseg-bench predict`` with exit code 2.
    """
    for key in misspelt:
        raise unknown("option of predict", key, set(inspect.signature(predict).parameters) - {"misspelt"})
    trained = open_model(
        None if checkpoint is None else Path(checkpoint),
        method=method,
        backbone=backbone,
        weights=weights,
        switches=switches,
        size=size,
        methods_path=None if methods_path is None else str(methods_path),
        backbones_path=None if backbones_path is None else str(backbones_path),
    )
    segment = Segmenter(trained, [(Path(image), Path(mask)) for image, mask in support], resolve_device(device))
    queries = [Path(path) for path in query]
    folder = None if out is None else output_folder(Path(out), queries)
    results = [segment(path) for path in queries]
    if folder is not None:
        for result in results:
            save_segmentation(result, folder)
    return results


def output_folder(folder: Path, queries: Sequence[Path]) -> Path:
    """Makes ``folder``, after a check that the queries' pictures can lie in it side by side.

    Raises:
        UserError: no query, two queries of one name, or the folder cannot be made.
    """
    if not queries:
        raise UserError("no query is given: name at least one image (--query IMAGE)")
    names: dict[str, Path] = {}
    for path in queries:
        other = names.setdefault(path.stem, path)
        if other is not path:
            raise UserError(f"{other} and {path} would write the same files in {folder}; segment them one by one")
    return make_folder(folder)


def save_segmentation(result: Segmentation, folder: Path) -> tuple[Path, Path, Path]:
    """Writes ``<name>-mask.png``, ``<name>-overlay.png`` and ``<name>-probability.png``; returns their paths.

    All have the query's size. The mask is greyscale: 255 on the object, 0 elsewhere. The probability is 16-bit
    greyscale: 0 to 65535 for 0 to 1.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    pictures = {
        "mask": Image.fromarray(result.mask * np.uint8(255)),
        "overlay": Image.fromarray(overlay(read_image(result.query), result.mask)),
        "probability": Image.fromarray(np.rint(result.probability * np.float32(65535)).astype(np.uint16)),
    }
    paths = []
    for kind, picture in pictures.items():
        path = folder / f"{result.query.stem}-{kind}.png"
        with atomic_writer(path) as file:
            picture.save(file, format="PNG")
        paths.append(path)
    return paths[0], paths[1], paths[2]


def _support_mask(image: Path, mask: Path, size: int) -> Tensor:
    """(size, size) uint8 in {0, 1}."""
    values = read_binary_mask(mask)
    check_mask_size(mask, values, image)
    if not values.any():
        raise UserError(f"{mask}: the mask is empty (all pixels are 0); a support must show the object")
    squashed = squash(values, size)
    if not squashed.any():
        raise UserError(
            f"{mask}: the object vanishes at the input size of {size} pixels; crop the image, or raise --size"
        )
    return torch.from_numpy(squashed)
