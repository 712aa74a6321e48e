"""Further images of an episode's classes, for methods that look at images without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.streams import distinct, stream
from fsseg_bench.protocol.table import EpisodeTable

Further = tuple[tuple[str, ...], ...]
"""N x U image ids: those of each way."""


def further_images(
    seed: int, classes: Sequence[int], used: Sequence[str], pairs: Mapping[int, Sequence[str]], count: int
) -> Further:
    """``count`` images of each class, drawn uniformly from those that are not in the episode.

    A class with fewer other images gives all of them, again and again until there are ``count``.

    Args:
        seed: the draws depend on it and the images alone.
        classes: the episode's N classes.
        used: the episode's images.
        pairs: class to ids of the images that show enough of it, in any order.
        count: U.

    Raises:
        UserError: a class has no other image.
    """
    drawn = []
    for c in classes:
        others = sorted(set(pairs.get(c, ())) - set(used))
        if not others:
            raise UserError(
                f"class {c} has no image besides the episode's own, and the method looks at further images of each "
                "class; lower --shot, or add images"
            )
        order = distinct(stream("unlabelled", seed, c), len(others), min(count, len(others)))
        drawn.append(tuple(others[order[i % len(order)]] for i in range(count)))
    return tuple(drawn)


def further_of_table(table: EpisodeTable, pairs: Mapping[int, Sequence[str]], count: int) -> tuple[Further, ...]:
    """For each test episode its further images; arguments and errors as :func:`further_images`."""
    return tuple(
        further_images(table.seed(i), table.classes[i], table.images(i), pairs, count) for i in range(len(table))
    )
