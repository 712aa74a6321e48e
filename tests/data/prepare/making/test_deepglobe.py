"""The tiles of Deepglobe against the rule applied tile by tile with Pillow."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsseg_bench.data.prepare.making.deepglobe import CLASSES, Tile, bounds, colour_codes, cut, is_kept
from fsseg_bench.errors import UserError

COLOURS = {  # as the data set's own table of classes has them
    "urban": (0, 255, 255),
    "agriculture": (255, 255, 0),
    "rangeland": (255, 0, 255),
    "forest": (0, 255, 0),
    "water": (0, 0, 255),
    "barren": (255, 255, 255),
}
UNKNOWN = (0, 0, 0)


def save(folder: Path, name: str, mask: np.ndarray) -> Path:
    """A picture with noise and its mask (H, W, 3)."""
    noise = np.random.default_rng(0).integers(0, 256, mask.shape, dtype=np.uint8)
    Image.fromarray(noise).save(folder / f"{name}_sat.jpg")
    Image.fromarray(mask).save(folder / f"{name}_mask.png")
    return folder / f"{name}_sat.jpg"


def naive(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Tile to the masks of its classes, by Pillow's getcolors and one comparison a class."""
    mask = Image.open(str(path).replace("_sat.jpg", "_mask.png"))
    width, height = mask.size
    found = {}
    for i in range(6):
        for j in range(6):
            box = (int(j * width / 6), int(i * height / 6), int((j + 1) * width / 6), int((i + 1) * height / 6))
            tile = mask.crop(box)
            counts = [count for count, _ in tile.getcolors() or []]
            if len(counts) > 1 and min(counts) / (tile.size[0] * tile.size[1]) > 0.048:
                pixels = np.asarray(tile)
                masks = {name: (pixels == colour).all(axis=2) for name, colour in COLOURS.items()}
                found[f"7_{i}{j}"] = {name: shown for name, shown in masks.items() if shown.any()}
    return found


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("shape", [(60, 60), (67, 85)])
def test_tiles_are_those_of_a_loop(tmp_path: Path, shape: tuple[int, int]) -> None:
    """Stripes of random colours, thin ones among them, so that some tiles have a colour that is too rare."""
    rng = np.random.default_rng(3)
    palette = np.array([*COLOURS.values(), UNKNOWN], dtype=np.uint8)
    rows = np.repeat(rng.integers(0, 7, shape[0]), rng.integers(1, 12, shape[0]))[: shape[0]]
    numbers = np.where(np.arange(shape[1]) < shape[1] // 2, rows[:, None], rng.integers(0, 7))
    path = save(tmp_path, "7", palette[numbers])
    wanted = naive(path)
    found: dict[str, Tile] = {tile.name: tile for tile in cut(path)}
    assert 3 < len(wanted) < 36
    assert list(found) == list(wanted)
    picture = np.asarray(Image.open(path))
    for name, masks in wanted.items():
        assert found[name].masks.keys() == masks.keys()
        for class_name, shown in masks.items():
            assert np.array_equal(opened(found[name].masks[class_name]), shown * np.uint8(255))
        row, column = int(name[-2]), int(name[-1])
        part = picture[bounds(shape[0])[row], bounds(shape[1])[column]]
        buffer = io.BytesIO()
        Image.fromarray(part).save(buffer, "JPEG", quality=95)
        assert found[name].image == buffer.getvalue()


def test_sides_of_the_official_tiles() -> None:
    assert [(s.start, s.stop) for s in bounds(2448)] == [(408 * i, 408 * (i + 1)) for i in range(6)]


@pytest.mark.parametrize(
    ("pixels", "kept"),
    [
        ([1000, 0, 0], False),  # one colour
        ([951, 49, 0], True),  # 0.049
        ([952, 48, 0], False),  # 0.048, which is not above
        ([500, 470, 30], False),  # the rarest of three
    ],
)
def test_which_tiles_are_kept(pixels: list[int], kept: bool) -> None:
    assert is_kept(np.array(pixels)) is kept


def test_colours_and_folders() -> None:
    """The order is that of PATNet's class folders 1 to 6."""
    assert list(CLASSES) == ["agriculture", "urban", "rangeland", "forest", "water", "barren"]
    image = np.array([[COLOURS[name] for name in CLASSES] + [UNKNOWN]], dtype=np.uint8)
    assert colour_codes(image, Path("x")).tolist() == [[*CLASSES.values(), 0]]


def test_masks_that_are_not_as_published(tmp_path: Path) -> None:
    mask = np.zeros((12, 12, 3), dtype=np.uint8)
    mask[0, :3] = (255, 254, 0)
    with pytest.raises(UserError, match=r"a_mask\.png: 3 pixels have channels other than 0 and 255"):
        list(cut(save(tmp_path, "a", mask)))
    path = save(tmp_path, "b", np.zeros((12, 12, 3), dtype=np.uint8))
    Image.new("RGB", (12, 13)).save(tmp_path / "b_mask.png")
    with pytest.raises(UserError, match=r"b_mask\.png: is 12 x 13 pixels, but b_sat\.jpg is 12 x 12 pixels"):
        list(cut(path))
    (tmp_path / "b_mask.png").unlink()
    with pytest.raises(UserError, match=r"b_mask\.png"):
        list(cut(path))
