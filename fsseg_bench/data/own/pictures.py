"""What files show of how masks were made: on photos as they are stored or upright, and in which colours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fsseg_bench.data.decode import image_size
from fsseg_bench.data.masks import palette_of
from fsseg_bench.data.source import Source
from fsseg_bench.data.sources.voc import VocSource


def choose_orientation(source: Source, images: Iterable[str]) -> None:
    """Sets ``source.upright``: true, unless the labels of all photos held sideways fit them only as they are stored.

    Raises:
        UserError: the labels of such a photo are missing or cannot be read.
    """
    source.upright = True
    turned = source.turned(images)
    sizes = {image: (image_size(source.image_path(image)), source.image_size(image)) for image in turned}
    sideways = {image: stored for image, (stored, upright) in sizes.items() if stored != upright}
    source.upright = not sideways or any(source.label_size(image) != stored for image, stored in sideways.items())


def orientation_words(upright: bool) -> str:
    """Why :func:`choose_orientation` chose as it did."""
    if upright:
        return (
            "upright turns photos as their EXIF orientation says and viewers and labelling tools show them; stored "
            "takes their pixels as they are in the file"
        )
    return (
        "stored takes the pixels of photos as they are in the file, whatever their EXIF orientation says: the masks of "
        "all photos that were held sideways fit only so. upright would turn them"
    )


def palette_notes(source: VocSource, pixels: Mapping[str, Mapping[int, int]]) -> list[str]:
    """What to say where a label value has different colours in the palettes of the masks that show it."""
    seen: dict[int, tuple[str, str]] = {}
    for image, shown in () if source.colors else sorted(pixels.items()):
        palette = palette_of(path) if (path := source.mask_path(image)).suffix != ".mat" else ()
        for value in (value for value in shown if value < len(palette)):
            before, color = seen.setdefault(value, (path.name, palette[value]))
            if color != palette[value]:
                return [
                    f"the palettes of the masks differ: the label value {value} is {color} in {before} and "
                    f"{palette[value]} in {path.name}. The values count, not the colours: where a drawing program "
                    "chose the palettes, write the colours of the classes into labelmap.txt, and the colours count"
                ]
    return []
