"""Supports drawn from the data of a protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fsseg_bench.data.index import build_index
from fsseg_bench.data.open import open_source
from fsseg_bench.engine.predict.classes import classes_of_protocol
from fsseg_bench.engine.predict.supports import Support
from fsseg_bench.errors import UserError
from fsseg_bench.paths import data_root
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.streams import distinct, stream


class Drawn(NamedTuple):
    """The supports of one class."""

    name: str
    images: tuple[str, ...]
    """Their ids."""
    files: tuple[Path, ...]
    supports: list[Support]


def draw_supports(
    protocol: Protocol, given: Sequence[str], shots: int, seed: int = 0, root: Path | str | None = None
) -> list[Drawn]:
    """Supports of classes, each drawn uniformly from the test images that show enough of the class, as in episodes.

    The draw depends on the seed, the class's name and these images alone; that of fewer shots is its beginning.

    Args:
        protocol: whose data they are. Its ``image.orientation`` decides how images are turned, since masks fit them so.
        given: names or label values of the classes.
        shots: K, supports of each class.
        seed: of the draw.
        root: the folder of the data sets; None: FSSEG_DATA.

    Raises:
        UserError: an unknown class, too few images of one, or the data cannot be had.
    """
    if shots < 1:
        raise UserError(f"--shots {shots}: at least 1 support a class is needed")
    classes = classes_of_protocol(given, protocol)
    source = open_source(protocol, data_root(root))
    index = build_index(source, protocol)
    drawn = []
    for name, class_id in classes:
        assert class_id is not None
        pool = index.test_images(class_id)
        if len(pool) < shots:
            data = protocol.data
            raise UserError(
                f"--shots {shots}: {protocol.label} has {len(pool)} images of {name!r} (counted are images of "
                f"{', '.join(data.test_list)} with at least {data.min_object_pixels} pixels of it); lower --shots, or "
                "data.min_object_pixels"
            )
        chosen = tuple(pool[i] for i in distinct(stream("supports", seed, name), len(pool), shots))
        supports = [
            Support(source.image(image), source.class_masks(image, (class_id,))[0], f"{name} in {image}")
            for image in chosen
        ]
        drawn.append(Drawn(name, chosen, tuple(source.image_path(image) for image in chosen), supports))
    return drawn
