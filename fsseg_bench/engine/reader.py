"""Features of images by key: from the cache, or encoded now, each distinct image once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from fsseg_bench.engine.cache import FeatureCache
from fsseg_bench.engine.feed import Feed, ImageKey, MaskKey
from fsseg_bench.engine.inference import InferenceModel
from fsseg_bench.method import Features

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class UnlabelledKey:
    """An image whose features are those of an image without a mask."""

    image: ImageKey


class FeatureReader:
    """Reads features of one model through one cache."""

    def __init__(self, model: InferenceModel, cache: FeatureCache) -> None:
        self._model = model
        self._cache = cache
        self.encoded = 0
        """Images encoded so far."""

    def images(self, feed: Feed, keys: Sequence[ImageKey]) -> list[Features]:
        """Features of whole images: queries, and supports whose mask stays out of the encoder."""
        return self._fetch(keys, lambda missing: self._model.encode([feed.image(key) for key in missing]))

    def supports(self, feed: Feed, keys: Sequence[MaskKey], masks: Sequence[Tensor], size: int) -> list[Features]:
        """Features of supports at side ``size``, encoded with their masks (one a key) where the model wants that."""
        if not self._model.mask_enters_encoder:
            return self.images(feed, [ImageKey(key.image, size) for key in keys])
        by_key = dict(zip(keys, masks, strict=True))
        return self._fetch(
            keys,
            lambda missing: self._model.encode_support(
                [feed.image(ImageKey(key.image, size)) for key in missing], [by_key[key] for key in missing]
            ),
        )

    def unlabelled(self, feed: Feed, keys: Sequence[ImageKey]) -> list[Features]:
        """Features of images that come without a mask."""
        if not self._model.unlabelled_encoded_apart:
            return self.images(feed, keys)
        return self._fetch(
            [UnlabelledKey(key) for key in keys],
            lambda missing: self._model.encode_unlabelled([feed.image(key.image) for key in missing]),
        )

    def lacks(self, key: ImageKey, *, unlabelled: bool = False) -> bool:
        """Whether the image will have to be loaded."""
        apart = unlabelled and self._model.unlabelled_encoded_apart
        return (UnlabelledKey(key) if apart else key) not in self._cache

    def lacks_support(self, key: MaskKey, size: int) -> bool:
        """The same for a support."""
        if self._model.mask_enters_encoder:
            return key not in self._cache
        return self.lacks(ImageKey(key.image, size))

    def _fetch(self, keys: Sequence[K], encode: Callable[[list[K]], list[Features]]) -> list[Features]:
        distinct = dict.fromkeys(keys)
        # all are looked up before any is kept: keeping one may drop another of this batch from the cache
        found = {key: features for key in distinct if (features := self._cache.get(key)) is not None}
        missing = [key for key in distinct if key not in found]
        for key, features in zip(missing, encode(missing) if missing else [], strict=True):
            self._cache.put(key, features)
            found[key] = features
        self.encoded += len(missing)
        return [found[key] for key in keys]
