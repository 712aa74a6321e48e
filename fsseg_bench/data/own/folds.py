"""Deals classes to folds, and checks that every fold can be trained and tested."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from fsseg_bench.data.own.survey import Pixels, Survey
from fsseg_bench.errors import UserError

LEAST_IMAGES = 2
"""A class needs a support and a query."""
USUAL = 4
"""Folds where no number is asked for and the classes suffice."""
_SHOWN = 8


@dataclass(frozen=True)
class Folds:
    """Classes dealt to folds."""

    folds: Mapping[int, tuple[int, ...]]
    """Fold, from 1, to class ids, ascending."""
    left_out: tuple[int, ...]
    """Classes with too few images, in no fold."""
    train_images: Mapping[int, int]
    """Class id to its training images with enough pixels, before any rule on held-out classes."""
    test_images: Mapping[int, int]


def propose_folds(survey: Survey, least_pixels: int, count: int | None = None) -> Folds:
    """Folds of equally many classes, give or take one, with about equally many images.

    Classes are sorted by their number of test images, largest first (ties by label value), and dealt in turn: with
    four folds to 1 2 3 4, then 4 3 2 1, and so on. A class with fewer than two images for training or testing is left
    out. A class counts in an image only with ``least_pixels``. Without ``count`` there are four folds, or as many as
    there are classes where these are fewer.

    Raises:
        UserError: fewer classes than folds remain, or a fold would have too few training images of a class.
    """
    train, test = _images(survey.train, least_pixels), _images(survey.test, least_pixels)
    classes = range(1, len(survey.classes) + 1)
    usable = [c for c in classes if min(train[c], test[c]) >= LEAST_IMAGES]
    if count is None:
        count = max(1, min(USUAL, len(usable)))
    if len(usable) < count:
        raise UserError(_too_few(survey, count, usable, train, test, least_pixels))
    ranked = sorted(usable, key=lambda c: (-test[c], c))
    numbers = range(1, count + 1)
    turns = [*numbers, *reversed(numbers)]
    turn = [turns[i % len(turns)] for i in range(len(ranked))]
    dealt = {fold: tuple(sorted(c for c, t in zip(ranked, turn, strict=True) if t == fold)) for fold in numbers}
    if survey.shared:
        _check_training(survey, dealt, least_pixels)
    return Folds(dealt, tuple(c for c in classes if c not in usable), train, test)


def _images(pixels: Pixels, least: int, without: frozenset[int] = frozenset()) -> Counter[int]:
    """Images with at least ``least`` pixels of each class, among those that show no class of ``without``."""
    counts = Counter[int]()
    for shown in pixels.values():
        if not without & shown.keys():
            counts.update(c for c, n in shown.items() if n >= least)
    return counts


def _check_training(survey: Survey, folds: Mapping[int, tuple[int, ...]], least: int) -> None:
    """Whether enough training images remain when those that show a held-out class are dropped."""
    for fold, novel in folds.items():
        left = _images(survey.train, least, without=frozenset(novel))
        for c in (c for other, classes in folds.items() if other != fold for c in classes):
            if left[c] < LEAST_IMAGES:
                names = ", ".join(survey.classes[i - 1] for i in novel)
                raise UserError(
                    f"{survey.root}: fold {fold} would hold out {names}, and without the images that show them only "
                    f"{left[c]} remain for training {survey.classes[c - 1]!r}, fewer than {LEAST_IMAGES}. Say which "
                    "images are for training and which for testing, in lists named train and val, or add images"
                )


def _too_few(survey: Survey, count: int, usable: list[int], train: Counter[int], test: Counter[int], least: int) -> str:
    names = ", ".join(survey.classes[c - 1] for c in usable) or "none"
    others = [c for c in range(1, len(survey.classes) + 1) if c not in usable]
    counts = ", ".join(f"{survey.classes[c - 1]} ({min(train[c], test[c])})" for c in others[:_SHOWN])
    short = f"; with fewer, and so not counted: {counts}{', ...' if len(others) > _SHOWN else ''}" if others else ""
    needed = f"{count} folds need at least {count} classes, each" if count > 1 else "a fold needs a class"
    return (
        f"{survey.root}: {needed} with at least {LEAST_IMAGES} images of {least} pixels of it or more; "
        f"found {len(usable)}: {names}{short}. Add classes or images"
    )
