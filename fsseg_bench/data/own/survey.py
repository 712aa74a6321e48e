"""What was found in a folder of images and masks, and the steps that all layouts share: lists, pixels, sizes."""

from __future__ import annotations

import dataclasses
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from fsseg_bench.data.own.pictures import choose_orientation
from fsseg_bench.data.source import Source
from fsseg_bench.errors import UserError

_T = TypeVar("_T")
TRAIN = ("trainaug", "train", "training")
TEST = ("val", "valid", "validation", "test", "testing")
_THREADS = 4
_SAMPLE = 500  # images whose size is looked at
MOST_DECODED = 500
"""Images that are all decoded; of more, none is: that takes minutes."""

Pixels = Mapping[str, Mapping[int, int]]
"""Image id to class id to native pixels."""
Roles = tuple[tuple[str, ...], tuple[str, ...]]
"""Training lists and test lists."""


@dataclass(frozen=True)
class Words:
    """How a proposed protocol speaks of a layout."""

    source: str
    """The value of ``data.source``."""
    found: str
    classes: str
    """What the classes' names are."""
    lists: str
    """What the lists' names are."""


@dataclass(frozen=True)
class Survey:
    """What a folder holds."""

    root: Path
    layout: Words
    classes: tuple[str, ...]
    """Class names; the label value of a class is its position, from 1."""
    train_list: tuple[str, ...]
    test_list: tuple[str, ...]
    """The same as ``train_list`` where the folder does not say which images are for testing."""
    train: Pixels
    test: Pixels
    side: int
    """Median of the longer side of the images, in pixels."""
    area: int
    """Median of the images' area, in pixels."""
    keys: Mapping[str, tuple[object, str]] = field(default_factory=dict)
    """The source's own keys of ``[data]``: value and explanation."""
    list_files: Mapping[str, str] = field(default_factory=dict)
    """Name to text of list files that the proposal needs."""
    notes: tuple[str, ...] = ()
    """What the user should know."""
    unused_lists: tuple[str, ...] = ()
    """Lists that are there, but serve for neither training nor testing."""
    decoded: int = 0
    """How many images were decoded; 0 where there are too many."""
    upright: bool = True
    """Whether photos are turned upright as their EXIF orientation says."""

    @property
    def shared(self) -> bool:
        """Whether training and testing draw from the same images."""
        return self.train_list == self.test_list


def finished(survey: Survey, source: Source, lists: Sequence[str]) -> Survey:
    """Decodes the images where they are few, compares sizes, and notes unused lists and how photos are turned."""
    images = sorted(survey.train.keys() | survey.test.keys())
    few = len(images) <= MOST_DECODED
    if few:
        each(lambda image: source.image(image).shape, images, "image")
    # pixels of COCO's classes come from the annotations alone, which may be of images of another size
    each(lambda image: source.class_masks(image, (1,)).shape, images[:: -(-len(images) // _SAMPLE)], "mask")
    unused = tuple(name for name in lists if name not in (*survey.train_list, *survey.test_list))
    notes = survey.notes
    if survey.shared and len(lists) > 1:
        words = "no list is called train and another val or test: all lists serve for training and for testing"
        notes += (f"{words}: {', '.join(lists)}",)
    decoded = len(images) if few else 0
    return dataclasses.replace(survey, decoded=decoded, unused_lists=unused, upright=source.upright, notes=notes)


def pixels_of_lists(source: Source, roles: Roles) -> tuple[Pixels, Pixels]:
    """The pixels of the training and of the test lists."""
    images = [sorted({image for name in names for image in source.ids(name)}) for names in roles]
    choose_orientation(source, {*images[0], *images[1]})
    train = pixels_of(source, images[0])
    return train, train if images[0] == images[1] else pixels_of(source, images[1])


def pixels_of(source: Source, images: Sequence[str]) -> Pixels:
    """The pixels of each image's classes; raises :class:`UserError` as :func:`each`."""
    return dict(zip(images, each(source.class_pixels, images, "mask"), strict=True))


def each(work: Callable[[str], _T], images: Sequence[str], kind: str) -> list[_T]:
    """``work`` of each image.

    Raises:
        UserError: it failed for some; says how many, and names the first three.
    """

    def tried(image: str) -> _T | UserError:
        try:
            return work(image)
        except UserError as error:
            return error

    with ThreadPoolExecutor(_THREADS) as pool:
        results = list(pool.map(tried, images))
    broken = list(dict.fromkeys(str(result) for result in results if isinstance(result, UserError)))
    if len(broken) > 1:
        more = f"; and {len(broken) - 3:,} more" if len(broken) > 3 else ""
        raise UserError(f"{len(broken):,} {kind}s cannot be used: {'; '.join(broken[:3])}{more}")
    if broken:
        raise UserError(broken[0])
    return [result for result in results if not isinstance(result, UserError)]


def sizes_of(source: Source, images: Sequence[str]) -> tuple[int, int]:
    """Medians of the longer side and of the area, over evenly spaced images."""
    chosen = images[:: -(-len(images) // _SAMPLE)]
    sizes = [source.image_size(image) for image in chosen]
    return round(statistics.median(map(max, sizes))), round(statistics.median(w * h for w, h in sizes))


def list_roles(lists: Sequence[str]) -> Roles:
    """The lists for training and for testing: ``train`` and ``val`` or alike, else all lists for both.

    Capital letters do not matter, nor does a number at the end of a name: of ``train1`` and ``train2`` both are for
    training. Of several years (``train2014``, ``train2017``) the last is taken.
    """
    train, test = (_named(lists, words) for words in (TRAIN, TEST))
    return (train, test) if train and test else (tuple(lists), tuple(lists))


def _named(lists: Sequence[str], words: Sequence[str]) -> tuple[str, ...]:
    for word in words:
        if found := tuple(name for name in lists if role_of(name) == word):
            years = [re.search(r"(19|20)\d\d$", name) for name in found]
            last = max((year[0] for year in years if year), default="")
            return tuple(name for name in found if name.endswith(last)) if all(years) else found
    return ()


def role_of(name: str) -> str:
    """A list's name without capital letters and without the number at its end."""
    return re.sub(r"[\W_]*\d*$", "", name.lower())
