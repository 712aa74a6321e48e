"""SUIM: colours to classes, masks of another size, and the two layouts."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsseg_bench.data.prepare.making import suim
from tests.data.prepare.making import given
from tests.data.prepare.making.conftest import Made


def raw(root: Path, folder: Path) -> None:
    (root / "suim").mkdir()
    folder.rename(root / "suim" / "raw")


def placed_classes(root: Path) -> dict[str, set[str]]:
    """Picture to the classes in whose folders it is, and every mask has its picture."""
    found: dict[str, set[str]] = {name: set() for _, name in given.SUIM_SHOWN}
    for code in suim.CODES:
        images = {path.stem for path in (root / "suim" / code / "images").iterdir()}
        assert images == {path.stem for path in (root / "suim" / code / "masks").iterdir()}
        for name in images:
            found[name].add(code)
    return found


@pytest.mark.parametrize("merged", [False, True])
def test_each_picture_is_in_the_folders_of_what_it_shows(tmp_path: Path, made: Made, merged: bool) -> None:
    raw(tmp_path, given.suim_merged(tmp_path) / "suim_merged" if merged else given.suim(tmp_path / "given"))
    making = made(suim, "suim")
    assert placed_classes(tmp_path) == {name: set(shown) for (_, name), shown in given.SUIM_SHOWN.items()}
    for (_, name), shown in given.SUIM_SHOWN.items():
        for row, code in enumerate(shown):
            mask = np.asarray(Image.open(tmp_path / "suim" / code / "masks" / f"{name}.png"))
            wanted = np.zeros((given.H, given.W), dtype=np.uint8)
            wanted[3 * row : 3 * row + 3] = 255
            np.testing.assert_array_equal(mask, wanted)
    told = [] if merged else ["1 (d_r_1_.bmp)", "1 (d_r_2_.jpg 32 x 24, mask 32 x 48)"]
    assert [note.partition(": ")[2] for note in making.notes] == told


def test_colours_by_a_loop_over_pixels() -> None:
    rgb = np.random.RandomState(0).randint(100, 156, (6, 7, 3)).astype(np.uint8)
    codes, plain = suim.codes_of(rgb)
    names = {tuple(value >= 128 for value in colour): code for code, colour in given.SUIM.items()}
    for y in range(6):
        for x in range(7):
            name = names[tuple(bool(value >= 128) for value in rgb[y, x])]
            assert codes[y, x] == suim.CODES.get(name, 0)
    assert not plain
    assert suim.codes_of(np.where(rgb >= 128, 255, 0).astype(np.uint8))[1]


def test_another_size_by_a_loop_over_pixels() -> None:
    mask = np.random.RandomState(1).rand(43, 59) < 0.5
    for width, height in ((59, 38), (30, 43), (80, 100)):
        found = suim.resized(mask, (width, height))
        assert found.shape == (height, width)
        for y in range(height):
            for x in range(width):
                assert found[y, x] == mask[math.floor(y * 43 / height), math.floor(x * 59 / width)]


def test_what_has_no_partner_is_said(tmp_path: Path, made: Made) -> None:
    raw(tmp_path, given.suim(tmp_path / "given"))
    (tmp_path / "suim" / "raw" / "TEST" / "masks" / "n_l_5_.bmp").unlink()
    (tmp_path / "suim" / "raw" / "train_val" / "images" / "d_r_1_.jpg").unlink()
    notes = made(suim, "suim").notes
    assert "TEST: images without a mask, left out: 1 (n_l_5_)" in notes
    assert "train_val: masks without an image, left out: 1 (d_r_1_)" in notes
