"""Features of images, encoded once each where the cache has room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from fsseg_bench.engine.cache import FeatureCache
from fsseg_bench.engine.feed import Feed, ImageKey, MaskKey
from fsseg_bench.engine.inference import InferenceModel
from fsseg_bench.engine.packing import packed, unpacked
from fsseg_bench.method import Features
from fsseg_bench.records.request import CacheDtype


class UnlabelledKey(NamedTuple):
    """An image whose features are those of an image without a mask."""

    image: ImageKey


FeatureKey = ImageKey | MaskKey | UnlabelledKey
"""What features depend on: an image, an image with its mask, or an image that has none.

Tuples of three lengths, so that none equals one of another kind.
"""


@dataclass(eq=False)
class FeatureReader:
    """Reads features of one model through one cache.

    What will be needed is announced. Where encoding takes a fixed number of images at a time (on a GPU), a batch that
    is not full takes announced images along.
    """

    model: InferenceModel
    cache: FeatureCache
    kept_as: CacheDtype = "float32"
    """What features are rounded to, those that the cache has no room for alike, so that it changes no number."""
    encoded: int = 0
    """Images encoded so far; one that only filled a batch up is not counted twice."""
    _uses: Counter[FeatureKey] = field(default_factory=Counter, init=False)
    """How often each feature will be read, of what was announced."""
    _lacking: dict[FeatureKey, None] = field(default_factory=dict, init=False)
    """Announced features that are still to be encoded, in the order of need."""

    @property
    def _fills(self) -> bool:
        """Whether there are batches to fill."""
        return self.model.encode_batch > 1

    def support_key(self, key: MaskKey, size: int) -> FeatureKey:
        """What the features of a support at side ``size`` depend on: the mask only where the model encodes it, too."""
        return key if self.model.mask_enters_encoder else ImageKey(key.image, size)

    def unlabelled_key(self, key: ImageKey) -> FeatureKey:
        """The same for an image without a mask, which may have features of their own kind."""
        return UnlabelledKey(key) if self.model.unlabelled_encoded_apart else key

    def announce(self, feed: Feed, keys: Sequence[FeatureKey]) -> None:
        """Starts loading the images of features that no cache has; each key will be read once more."""
        if self._fills:
            self._uses.update(keys)
        for key in keys:
            if key not in self.cache:
                if self._fills:
                    self._lacking[key] = None
                feed.announce(_image(key))
                if isinstance(key, MaskKey):
                    feed.announce(key)

    def wants_more(self, needed: int, more: int) -> bool:
        """Whether announcing ``more`` features would fill batches better.

        That is where images are encoded together, fewer than ``needed`` and a full batch are still to be encoded, and
        all would stay in the cache until they are read.
        """
        few = self._fills and len(self._lacking) < needed + self.model.encode_batch
        return few and self.cache.holds(len(self._uses) + more)

    def features(self, feed: Feed, keys: Sequence[FeatureKey]) -> list[Features]:
        """The features of ``keys`` on the device, each without an image axis."""
        distinct = dict.fromkeys(keys)
        # all are looked up before any is kept: keeping one may drop another of these from the cache
        found = {key: features for key in distinct if (features := self.cache.get(key)) is not None}
        missing = [key for key in distinct if key not in found]
        for kind in dict.fromkeys(map(_kind, missing)):
            for batch in self._batches([key for key in missing if _kind(key) == kind]):
                for key, encoded in zip(batch, self._encode(feed, batch), strict=True):
                    features = packed(encoded, self.kept_as)
                    self.cache.put(key, features)
                    found[key] = features
        if self._fills:
            self._uses -= Counter(keys)
        return [unpacked(found[key], self.kept_as) for key in keys]

    def _batches(self, missing: list[FeatureKey]) -> Iterator[list[FeatureKey]]:
        """``missing``, all of one kind, in batches; the last is filled up with what later episodes will need."""
        size = self.model.encode_batch
        for start in range(0, len(missing), size):
            batch = missing[start : start + size]
            if len(batch) < size and self.cache.holds(len(self._uses)):
                later = (k for k in self._lacking if _kind(k) == _kind(batch[0]) and k not in missing)
                batch += islice((key for key in later if key not in self.cache), size - len(batch))
            yield batch

    def _encode(self, feed: Feed, keys: list[FeatureKey]) -> list[Features]:
        """Features of keys of one kind."""
        images = [feed.image(_image(key)) for key in keys]
        for key in keys:
            self._lacking.pop(key, None)
        self.encoded += len(keys)
        if isinstance(keys[0], UnlabelledKey):
            return self.model.encode_unlabelled(images)
        masks = [feed.mask(key) for key in keys if isinstance(key, MaskKey)]
        return self.model.encode_support(images, masks) if masks else self.model.encode(images)


def _kind(key: FeatureKey) -> Hashable:
    """Features of one kind can be encoded together."""
    return type(key), _image(key).size


def _image(key: FeatureKey) -> ImageKey:
    """The image that must be loaded."""
    if isinstance(key, UnlabelledKey):
        return key.image
    if isinstance(key, ImageKey):
        return key
    if key.size is None:
        raise ValueError("support masks have the input size")
    return ImageKey(key.image, key.size)
