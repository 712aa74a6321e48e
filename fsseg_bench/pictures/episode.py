"""An episode in pictures: its supports, its query, and what was predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from fsseg_bench.conventions import UInt8
from fsseg_bench.data.loading import query_label, square, support_mask
from fsseg_bench.data.source import Source
from fsseg_bench.pictures.overlay import judged, labelled, over
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.table import EpisodeTable

LEAST_SIDE = 256
"""Pixels of a picture's side below which labels are drawn larger, so that lines stay fine."""


class Tile(NamedTuple):
    """One square picture of an episode."""

    title: str
    image: UInt8
    """(S, S, 3)."""
    layer: UInt8 | None = None
    """(D, D, 4) RGBA laid over it, of the same or another size."""

    @property
    def pixels(self) -> UInt8:
        """(D, D, 3): the image with what lies over it."""
        if self.layer is None:
            return resized(self.image, drawn_side(len(self.image)))
        return over(resized(self.image, len(self.layer)), self.layer)


@dataclass(frozen=True, eq=False)
class EpisodeImages:
    """What an episode of a data set shows, at the input size S."""

    classes: tuple[str, ...]
    """Names of the N classes."""
    supports: tuple[tuple[tuple[UInt8, UInt8], ...], ...]
    """For each way the images (S, S, 3) and their masks (S, S): the way's number, 0, or 255 for void."""
    query: UInt8
    """(S, S, 3)."""
    truth: UInt8
    """(S, S) in 0..N, 255 for void."""

    @classmethod
    def read(cls, source: Source, protocol: Protocol, table: EpisodeTable, episode: int) -> EpisodeImages:
        """Decodes the images of an episode.

        Raises:
            UserError: one is missing or broken.
        """
        size, classes, query = protocol.image.side, table.classes[episode], table.queries[episode]

        def support(image: str, way: int) -> tuple[UInt8, UInt8]:
            mask = support_mask(source, image, classes, way, size)
            return _image(source, image, size), np.where(mask == 1, np.uint8(way), mask)

        return cls(
            tuple(map(protocol.class_name, classes)),
            tuple(tuple(support(i, way) for i in images) for way, images in enumerate(table.supports[episode], 1)),
            _image(source, query, size),
            query_label(source, query, classes, size),
        )

    def support_tiles(self, most: int, side: int) -> list[Tile]:
        """The first ``most`` supports of each way with their masks, drawn at ``side`` pixels."""
        return [
            Tile(f"support: {name}", image, labelled(enlarged(mask, side)))
            for name, images in zip(self.classes, self.supports, strict=True)
            for image, mask in images[:most]
        ]

    def truth_tile(self, title: str, side: int) -> Tile:
        """The query with its labels."""
        return Tile(title, self.query, labelled(enlarged(self.truth, side)))

    def prediction_tile(self, title: str, labels: UInt8, side: int) -> Tile:
        """The query with predicted ``labels`` (S, S), each pixel found, false or missed."""
        drawn = judged(enlarged(labels, side), enlarged(self.truth, side), len(self.classes))
        return Tile(title, self.query, drawn)

    def tiles(self, predictions: Sequence[tuple[str, UInt8]]) -> list[Tile]:
        """The first support of each way, the query, each prediction, and the truth; titles and labels (S, S)."""
        side = drawn_side(len(self.truth))
        judgements = [self.prediction_tile(title, labels, side) for title, labels in predictions]
        return [*self.support_tiles(1, side), Tile("query", self.query), *judgements, self.truth_tile("truth", side)]


def drawn_side(size: int) -> int:
    """The side at which labels of ``size`` pixels are drawn: a multiple of it, at least :data:`LEAST_SIDE`."""
    return size * -(-LEAST_SIDE // size)


def resized(image: UInt8, side: int) -> UInt8:
    """An image (S, S, 3) as (side, side, 3), by Pillow's bilinear filter."""
    return image if len(image) == side else np.asarray(Image.fromarray(image).resize((side, side), _BILINEAR))


def enlarged(labels: UInt8, side: int) -> UInt8:
    """Labels (S, S) as (side, side), by Pillow's nearest; it makes them smaller, too."""
    return labels if len(labels) == side else np.asarray(Image.fromarray(labels).resize((side, side), _NEAREST))


_BILINEAR, _NEAREST = Image.Resampling.BILINEAR, Image.Resampling.NEAREST


def _image(source: Source, image_id: str, size: int) -> UInt8:
    return square(Image.fromarray(source.image(image_id)), size)
