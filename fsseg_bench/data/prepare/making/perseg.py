"""The objects of PerSeg, each of which is a class, from the names of its folders.

The data lie as published, ``Images/<object>/NN.jpg`` and ``Annotations/<object>/NN.png``, and are read there. The names
of the objects are in no repository, so that the protocol's list of classes is written from the folders, sorted by name.
"""

from __future__ import annotations

from fsseg_bench.data.files import data_files, folders_in
from fsseg_bench.data.prepare.making import Making
from fsseg_bench.errors import UserError

OBJECTS = 40
"""As its paper counts them."""


def make(making: Making) -> None:
    """Writes the protocol with its list of classes.

    Raises:
        UserError: an object has no image 00, which is the support.
    """
    folder = making.root / "perseg" / "Images"
    objects = sorted(path.name for path in folders_in(folder) if data_files(path))
    for name in objects:
        if not any(path.stem == "00" for path in data_files(folder / name)):
            raise UserError(f"{folder / name}: has no image 00, the support of each object")
    making.protocol({"objects": objects})
    making.note(f"{len(objects)} objects (the paper has {OBJECTS})")
