"""What episodes need, by key, and what is loaded ahead of need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fsseg_bench.engine.feed import Feed, ImageKey, MaskKey
from fsseg_bench.engine.reader import FeatureKey, FeatureReader
from fsseg_bench.protocol.table import EpisodeTable, Further

_AHEAD = 16  # episodes whose files are loaded before they are needed


class FeatureKeys(NamedTuple):
    """The features of several episodes, episode by episode."""

    queries: list[FeatureKey]
    supports: list[FeatureKey]
    """By way and shot."""
    unlabelled: list[FeatureKey]
    """By way; empty where the model looks at none."""


@dataclass(frozen=True)
class Needs:
    """What the episodes of a table need to be evaluated by one model."""

    reader: FeatureReader
    table: EpisodeTable
    further: Sequence[Further]
    """For each episode the images without masks; empty for most models."""
    size: int
    """Side of the input, in pixels."""
    query_sizes: Sequence[int]
    """Side of the query at each scale."""
    alone: bool = False
    """Whether each way is predicted as if it were the only one."""
    truth: Sequence[tuple[int, ...]] = ()
    """For each episode the classes of its query's labels, where they are not those of the supports."""
    mask: str = ""
    """How support masks are changed (:func:`fsseg_bench.engine.feed.changed`)."""

    def features(self, episodes: range, query_size: int) -> FeatureKeys:
        """The features of episodes whose queries have the side ``query_size``."""
        reader, size = self.reader, self.size
        return FeatureKeys(
            [ImageKey(self.table.queries[i], query_size) for i in episodes],
            [reader.support_key(key, size) for key in self.support_masks(episodes)],
            [
                reader.unlabelled_key(ImageKey(image, size))
                for i in episodes
                for images in (self.further[i] if self.further else ())
                for image in images
            ],
        )

    def support_masks(self, episodes: range) -> list[MaskKey]:
        """The masks of the supports, episode by episode, by way and shot; of a way that is predicted alone, those of
        an episode of this class alone."""

        masks = []
        for i in episodes:
            classes = self.table.classes[i]
            for way, images in enumerate(self.table.supports[i], start=1):
                among = ((classes[way - 1],), 1) if self.alone else (classes, way)
                masks += [MaskKey(image, *among, self.size, self.mask) for image in images]
        return masks

    def labels(self, episodes: range, size: int | None) -> list[MaskKey]:
        """The queries' labels at side ``size``; None: at their native sizes."""
        classes = self.truth or self.table.classes
        return [MaskKey(self.table.queries[i], classes[i], 0, size) for i in episodes]


class Announcer:
    """Lets a feed load what coming episodes need, from episode ``start`` on."""

    def __init__(self, needs: Needs, feed: Feed, start: int) -> None:
        self._needs, self._feed = needs, feed
        self._masks = self._images = start  # the first episodes of which nothing was announced
        self._each = len(self._keys(start))

    def announce(self, chunk: range) -> None:
        """Announces the episodes of ``chunk`` and some that come later."""
        needs, total = self._needs, len(self._needs.table)
        reach = min(chunk.stop + _AHEAD, total)
        for i in range(self._masks, reach):
            one = range(i, i + 1)
            for key in (*needs.support_masks(one), *needs.labels(one, needs.size), *needs.labels(one, None)):
                self._feed.announce(key)
            self._masks = i + 1
        while self._images < reach or (
            # images of later episodes fill the batches of this chunk
            self._images < total and needs.reader.wants_more(len(chunk) * self._each, self._each)
        ):
            needs.reader.announce(self._feed, self._keys(self._images))
            self._images += 1

    def _keys(self, i: int) -> list[FeatureKey]:
        sizes = self._needs.query_sizes
        return [key for size in sizes for keys in self._needs.features(range(i, i + 1), size) for key in keys]
