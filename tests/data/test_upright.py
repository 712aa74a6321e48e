"""``image.orientation``: what it turns, what it leaves as it is, and that no cache or record mixes the two."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsseg_bench.data.index import build_index
from fsseg_bench.data.loading import load_image
from fsseg_bench.data.open import open_source
from fsseg_bench.data.own.proposal import propose
from fsseg_bench.data.source import Source
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.run import execute
from fsseg_bench.errors import UserError
from fsseg_bench.paths import cache_root
from fsseg_bench.protocol.find import builtin_protocols
from fsseg_bench.protocol.load import load_protocol
from tests.support.datasets import tiny_protocol, write_class_folders, write_coco, write_voc
from tests.support.photos import exif
from tests.support.tiny_run import tiny_request

UPRIGHT = {"image.orientation": "upright"}
ASKED = {"protocol.image.orientation": "upright"}


def held(path: Path, orientation: int) -> None:
    """A photo as a camera held so would have stored it: upright it looks as before."""
    inverse = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270, 3: Image.Transpose.ROTATE_180}
    with Image.open(path) as file:
        turned = file.transpose(inverse[orientation])
    turned.save(path, exif=exif(orientation), quality=95)


def both(folder: Path, source: str) -> tuple[Source, Source]:
    """The readers of stored and of upright photos."""
    protocol = tiny_protocol(folder, source)
    return open_source(protocol), open_source(load_protocol(folder / f"tiny-{source}.toml", UPRIGHT))


@pytest.mark.parametrize(
    ("name", "image", "write"),
    [("voc", "val_c1_1", write_voc), ("coco", "val2017/val_c1_1", write_coco)],
)
def test_the_key_turns_pixels_and_sizes_alike(
    tmp_path: Path, name: str, image: str, write: Callable[..., Path]
) -> None:
    root = write(tmp_path / f"tiny-{name}", 2, 2)
    stored, upright = both(tmp_path, name)
    before, masks = stored.image(image).astype(int), stored.class_masks(image, range(1, 9))
    held(stored.image_path(image), 6)
    assert np.abs(upright.image(image) - before).mean() < 6  # JPEG
    assert upright.image_size(image) == upright.label_size(image) == (40, 30)
    assert stored.image_size(image) == (30, 40)
    assert stored.image(image).shape == (40, 30, 3)
    assert np.array_equal(upright.class_masks(image, range(1, 9)), masks)
    assert not np.array_equal(load_image(stored, image, 32), load_image(upright, image, 32))
    with pytest.raises(UserError, match=r'orientation is 6, and the mask fits .* set image\.orientation = "upright"'):
        stored.class_masks(image, (1,))
    assert stored.root == root
    again = pickle.loads(pickle.dumps(upright))  # as a loader's worker gets it
    assert np.array_equal(again.image(image), upright.image(image))


def test_turned_photos_are_counted_and_named(tmp_path: Path) -> None:
    write_voc(tmp_path / "tiny-voc", 1, 2)
    stored, upright = both(tmp_path, "voc")
    images = upright.ids("val")
    assert upright.remarks(images) == []
    stored, upright = both(tmp_path, "voc")
    for image in images[:4]:
        held(upright.image_path(image), 3)
    assert upright.remarks(images[1:]) == [
        "photos with an EXIF orientation (the camera was held sideways or upside down): 3 (val_c1_1, val_c2_0, "
        'val_c2_1); they are turned upright (image.orientation = "upright")'
    ]
    said = stored.remarks(images)[0]
    assert "4 (val_c1_0, val_c1_1, val_c2_0, ...); they are taken as stored, not upright as viewers" in said


def test_the_papers_data_are_not_searched_for_turned_photos(tmp_path: Path) -> None:
    """120,000 headers would be read; but who asks that they be turned is told how many are."""
    write_voc(tmp_path / "tiny-voc", 1, 2)
    protocol = replace(tiny_protocol(tmp_path), home=None)
    for path in (tmp_path / "tiny-voc" / "JPEGImages").iterdir():
        held(path, 3)
    asked = replace(protocol, image=replace(protocol.image, orientation="upright"))
    assert build_index(open_source(protocol, tmp_path), protocol).source_remarks == ()
    assert len(build_index(open_source(asked, tmp_path), asked).source_remarks) == 1


def test_index_and_run_of_the_same_files_differ(tmp_path: Path) -> None:
    """Every photo is upside down, so that all masks fit both: the key alone tells the two apart."""
    request = tiny_request(tmp_path)
    root = tmp_path / "tiny-voc"
    plan = make_plan(request)
    for path in (root / "JPEGImages").iterdir():
        held(path, 3)
    stored = make_plan(request)
    upright = make_plan(tiny_request(tmp_path, settings=ASKED))
    assert stored.index.frame.equals(upright.index.frame)
    assert stored.table.queries == upright.table.queries
    assert len({p.index.fingerprint for p in (plan, stored, upright)}) == 3
    assert len({p.settings.identity for p in (plan, stored, upright)}) == 3
    assert stored.protocol.digest == plan.protocol.digest != upright.protocol.digest
    kept = {str(np.load(path)["fingerprint"]) for path in (cache_root() / "index").glob("*.npz")}
    assert {stored.index.fingerprint, upright.index.fingerprint} <= kept
    again = make_plan(request)  # after the other has been cached
    assert again.index.fingerprint == stored.index.fingerprint == build_index(again.source, again.protocol).fingerprint


def test_features_are_of_the_turned_photos(tmp_path: Path) -> None:
    """Photos stored upside down and turned give the counts of photos that were never turned; as stored, others."""
    counts = {}
    for held_so in (1, 3):
        request = tiny_request(tmp_path / str(held_so), settings=ASKED, episodes="4")
        for path in sorted((tmp_path / str(held_so)).glob("*/JPEGImages/*.jpg")):
            with Image.open(path) as file:
                pixels = file.transpose(Image.Transpose.ROTATE_180) if held_so == 3 else file.copy()
            pixels.save(path.with_suffix(".png"), exif=exif(held_so))
            path.unlink()
        for settings in (ASKED, {}):
            rows = execute(make_plan(replace(request, settings=settings))).rows()
            counts[held_so, len(settings)] = [{key: row[key] for key in ("input", "native")} for row in rows]
    assert counts[3, 1] == counts[1, 1] == counts[1, 0] != counts[3, 0]


@pytest.mark.parametrize(
    ("orientations", "masks_follow", "value"),
    [
        ((1, 1, 1), False, "upright"),
        ((3, 3, 1), False, "upright"),  # both fit: as labelling tools show them
        ((6, 8, 1), False, "upright"),
        ((6, 8, 3), True, "stored"),
    ],
)
def test_init_proposes_what_fits_the_masks(
    tmp_path: Path, orientations: tuple[int, ...], masks_follow: bool, value: str
) -> None:
    root = write_class_folders(tmp_path, 3, ("ant", "bee"))
    for path in root.glob("*/images/*.jpg"):
        if (orientation := orientations[int(path.stem)]) != 1:
            held(path, orientation)
            if masks_follow:
                mask = path.parents[1] / "masks" / f"{path.stem}.png"
                turn = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270, 3: Image.Transpose.ROTATE_180}
                with Image.open(mask) as file:
                    turned = file.transpose(turn[orientation])
                turned.save(mask)
    text = propose(root).files["protocol.toml"]
    (root / "protocol.toml").write_text(text)
    protocol = load_protocol(root / "protocol.toml")
    assert protocol.image.orientation == value
    count = 2 * sum(orientation != 1 for orientation in orientations)
    said = " ".join(build_index(open_source(protocol), protocol).source_remarks)
    assert (f"EXIF orientation (the camera was held sideways or upside down): {count} (ant/00" in said) == bool(count)
    assert ("held sideways fit only so" in text.replace("\n# ", " ")) == (value == "stored")


def test_masks_that_fit_in_no_one_way_are_refused(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path, 3, ("ant", "bee"))
    held(root / "ant/images/000.jpg", 6)
    held(root / "ant/images/001.jpg", 6)
    mask = root / "ant/masks/001.png"
    Image.open(mask).transpose(Image.Transpose.ROTATE_90).save(mask)
    with pytest.raises(UserError, match=r"001\.png is 30 x 40 .* it is turned upright; the mask fits the pixels as"):
        propose(root)


def test_the_protocols_of_the_package_take_photos_as_stored() -> None:
    for name in builtin_protocols():
        protocol = load_protocol(name)
        assert protocol.image.orientation == "stored"
        assert "orientation" not in json.dumps(protocol.settings())
