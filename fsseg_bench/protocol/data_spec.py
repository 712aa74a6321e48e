"""The section ``[data]`` of a protocol: where the data are, which images are whose, and which of them count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from fsseg_bench.protocol.source import NoKeys, SourceKind
from fsseg_bench.schema import Range, settings_of

K = TypeVar("K")

LIST_KEYS = ("train_list", "test_list")
"""Keys of ``[data]`` that hold lists: names, or list files."""


def is_list_file(entry: str) -> bool:
    """Whether an entry of a list of images or classes is a file (it ends in ``.txt``) rather than a name."""
    return entry.endswith(".txt")


_ONCE_IN_EVERY_SOURCE = {"masks": [], "year": 0, "generator_seed": 0, "train_images": 0, "test_images": 0}
"""Keys of four sources, with the values that they have in the digests of all: recorded runs hold such digests."""


@dataclass(frozen=True)
class DataKeys:
    """The keys of ``[data]`` that each source has: where the data are, and which pairs (image, class) count."""

    source: str
    """The source, which reads the data: ``voc``, ``coco``, ``folder``, ``shapes``, or one of your own. Each has keys of
    its own beside these."""
    root: str
    """Folder of the data set under the data root (``--data-root``, ``FSSEG_DATA``) or beside the file; ``.`` is the
    file's own folder."""
    train_list: tuple[str, ...]
    """Lists whose images training may use: names, or list files (``.txt``). Empty: for testing alone."""
    test_list: tuple[str, ...]
    """Lists whose images the episodes are drawn from."""
    train_excludes_test: bool
    """Whether the photos of the test lists are removed from training, whatever their names there."""
    min_object_pixels: Annotated[int, Range(least=1)]
    """A pair (image, class) counts only with at least so many native pixels of the class."""
    novel_in_train: Literal["background", "ignore", "drop-image"]
    """What pixels of held-out classes are in training images; ``drop-image`` leaves such images out."""


@dataclass(frozen=True)
class DataSpec(DataKeys):
    """The section ``[data]``."""

    kind: type[SourceKind]
    """The class of the source."""
    options: object = NoKeys()
    """The source's own keys, a ``kind.keys``."""

    def options_as(self, keys: type[K]) -> K:
        """The source's own keys, typed.

        Raises:
            TypeError: the protocol's source has other keys.
        """
        if not isinstance(self.options, keys):
            raise TypeError(f"the protocol has {type(self.options).__name__}, not {keys.__name__}")
        return self.options

    def settings(self) -> dict[str, Any]:
        """All that enters the digest; the list files in it are as :class:`DataKeys` has them."""
        values = settings_of(self)
        del values["kind"]
        return {**_ONCE_IN_EVERY_SOURCE, **values.pop("options"), **values}
