"""COCO's layout with an object's box for an image: benchmarks of parts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fsseg_bench.conventions import UInt8
from fsseg_bench.data.coco_boxes import CropBoxes
from fsseg_bench.data.decode import sha256
from fsseg_bench.data.instances import Instances
from fsseg_bench.data.source import Content
from fsseg_bench.data.sources.coco import CocoSource, Split


class CropSource(CocoSource):
    """As :class:`CocoSource`, but an image is the box of one object, ``val/2008_000002#17`` of the object 17.

    Annotations are parts: each has beside what COCO has the ``object``, a whole number, and its ``object_bbox``
    ``[x, y, width, height]``. Image and mask are the columns ``int(x)`` to ``int(x + width)``, the last excluded, and
    the rows likewise. Parts of other objects that lie in the box are background. An object with an empty box and a part
    outside its object's box are left out and counted; a photo without an object has no crop.
    """

    crops = True

    def photo_file(self, image_id: str) -> Path | None:
        """The file of the whole photo, which all of its crops share."""
        return self.image_path(image_id)

    def image(self, image_id: str) -> UInt8:
        """As :meth:`Source.image`: (H, W, 3) of the box alone."""
        split, number = self._find(image_id)
        whole = super().image(image_id)
        height, width = whole.shape[:2]
        if (width, height) != split.instances.photo_size(number):
            self._checked_size(image_id)  # says what is wrong
        x0, y0, x1, y1 = self._box(split, number)
        return whole[y0:y1, x0:x1].copy()

    def image_size(self, image_id: str) -> tuple[int, int]:
        """(W, H) of the box, in pixels, without a look at the file."""
        return self.label_size(image_id)

    def image_digest(self, image_id: str) -> str:
        """The file's size in bytes, and the box."""
        return f"{super().image_digest(image_id)} {self._box(*self._find(image_id))}"

    def content(self, image_id: str, *, labels: bool) -> Content:
        """As :meth:`Source.content`; the box is a part of what identifies an image."""
        content = super().content(image_id, labels=labels)
        return content._replace(image=sha256(f"{content.image} {self._box(*self._find(image_id))}".encode()))

    def remarks(self, images: Iterable[str]) -> list[str]:
        """As :meth:`CocoSource.remarks`, and what the images are crops of."""
        images = list(images)
        photos = {image.rpartition("#")[0] for image in images}
        text = (
            f"the {len(images):,} images are crops of {len(photos):,} photos to annotated boxes of objects, "
            'the query\'s too, which is side information (data.crop = "object")'
        )
        folders = {image.partition("/")[0] for image in images}
        crops = [found for folder in sorted(folders) if (found := self._split(folder).instances.crops)]
        if uncut := sum(found.uncut for found in crops):
            text += f"; {uncut:,} photos of these lists without an annotated object are not used"
        return [text, *super().remarks(images)]

    def _id(self, photo: str, instances: Instances, number: int) -> str:
        return f"{photo}#{_boxes(instances).objects[number]}"

    @staticmethod
    def _box(split: Split, number: int) -> tuple[int, int, int, int]:
        """Its first column and row, and the first ones behind it."""
        x0, y0, x1, y1 = _boxes(split.instances).boxes[number].tolist()
        return x0, y0, x1, y1


def _boxes(instances: Instances) -> CropBoxes:
    if instances.crops is None:
        raise TypeError("the instance file was read without boxes")
    return instances.crops
