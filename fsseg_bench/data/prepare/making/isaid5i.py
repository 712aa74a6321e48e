"""iSAID-5i: the tiles of SDM's archive in VOC's layout, under the names that the lists have.

Rule: each tile that a list of the protocol names, image and mask as they are. No tile is cut here: by which rule the
authors kept some of all tiles was not published.
"""

from __future__ import annotations

from pathlib import Path

from fsseg_bench.data.decode import read_text
from fsseg_bench.data.files import shown
from fsseg_bench.data.prepare.making import Making
from fsseg_bench.data.prepare.making.files_of import by_stem, needed
from fsseg_bench.protocol.load import load_protocol

MASK = "_instance_color_RGB"
"""What a mask's name has behind its tile's. In spite of it the file holds one label value a pixel."""


def make(making: Making) -> None:
    """Puts ``JPEGImages`` and ``SegmentationClass`` beside ``raw/{train,val}/{images,semantic_png}``."""
    protocol = load_protocol(making.dataset.protocols[0])
    home = making.dataset.name
    raw = making.root / home / "raw"
    others: list[str] = []
    for part, lists in (("train", protocol.data.train_list), ("val", protocol.data.test_list)):
        images, masks = raw / part / "images", raw / part / "semantic_png"
        image_files, mask_files = by_stem(images, ".png"), by_stem(masks, ".png")
        listed = sorted({tile for entry in lists for tile in listed_tiles(Path(entry))})
        with making.progress.meter(f"tiles of {part}", len(listed), unit="files") as meter:
            for tile in listed:
                image = needed(image_files, tile, images, "image of a listed tile")
                mask = needed(mask_files, tile + MASK, masks, "mask of a listed tile")
                making.link(image, f"{home}/JPEGImages/{tile}.png")
                making.link(mask, f"{home}/SegmentationClass/{tile}.png")
                meter.advance()
        others += sorted(image_files.keys() - set(listed))
    if others:
        making.note(f"tiles that no list names, left out: {shown(others)}")


def listed_tiles(path: Path) -> list[str]:
    """The tiles of a list of ``tile__NN``."""
    return [line.strip().partition("__")[0] for line in read_text(path, "list file").splitlines() if line.strip()]
