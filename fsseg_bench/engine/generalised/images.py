"""Which images a generalised run reads: candidates for supports, images of the base stage, images that are labelled."""

from __future__ import annotations

from collections.abc import Iterable

from fsseg_bench.data.index import PairIndex
from fsseg_bench.data.lists import in_order
from fsseg_bench.data.source import Source
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.spec import Protocol


def support_candidates(index: PairIndex, fold: int) -> dict[int, tuple[str, ...]]:
    """Novel class to the images that may support it, sorted; a photo under several ids comes once.

    They are of ``episodes.support_list`` and show at least ``support_pixels`` native pixels of the class; with
    ``support_one_novel`` they show no pixel of another novel class.
    """
    rules, novel = index.protocol.episodes, index.protocol.novel_classes(fold)
    rows = index.frame[(index.frame["split"] == rules.support_list) & index.frame["class"].isin(novel)]
    if rules.support_one_novel:
        rows = rows[rows.groupby("image")["class"].transform("nunique") == 1]
    rows = rows[rows["listed"] & (rows["pixels"] >= rules.support_pixels)]
    return {c: once_a_photo(sorted(rows.loc[rows["class"] == c, "image"]), index) for c in novel}


def once_a_photo(images: Iterable[str], index: PairIndex) -> tuple[str, ...]:
    """The images without those that are the photo of an earlier one."""
    found: dict[str, str] = {}
    for image in images:
        found.setdefault(index.copies.get(image, image), image)
    return tuple(found.values())


def base_images(index: PairIndex, fold: int) -> tuple[str, ...]:
    """The training images of the base stage, sorted.

    Raises:
        UserError: there is none.
    """
    images = index.training_images(fold)
    if not images or not index.protocol.base_classes(fold):
        raise UserError(f"{index.protocol.label}: fold {fold} has no base classes or no training images to learn them")
    return images


def labelled_images(source: Source, protocol: Protocol) -> tuple[str, ...]:
    """Every image of the test lists, each once, also those that show no object."""
    return tuple(dict.fromkeys(image for image, _ in in_order(source, protocol.data.test_list)))
