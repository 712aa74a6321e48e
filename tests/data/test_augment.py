"""Augmentation: what it does is read off images that say where each pixel came from."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from fsseg_bench.conventions import UInt8
from fsseg_bench.data import augment as module
from fsseg_bench.data.augment import Role, View
from fsseg_bench.data.augment import augment as augment_all
from fsseg_bench.protocol.side import Side

SIZE = 64
CROPS: list[tuple[str, Role]] = [
    ("enlarged-crop-supports", "support"),
    ("enlarged-crop", "support"),
    ("enlarged-crop", "query"),
]
STILL: list[tuple[str, Role]] = [("none", "support"), ("none", "query"), ("enlarged-crop-supports", "query")]


def augment(name: str, role: Role, image: UInt8, mask: UInt8, size: int, seed: int) -> View:
    """Of an image with one mask (H, W)."""
    return augment_all(name, role, image, mask[None], size, seed)


def photo(height: int = 50, width: int = 90) -> tuple[UInt8, UInt8]:
    """A picture without any symmetry, and the mask that can be read off its red channel (value / 80)."""
    rng = np.random.RandomState(0)
    mask = np.zeros((height, width), np.uint8)
    mask[5:30, 8:40] = 1
    mask[20:45, 50:80] = 2
    mask[32:40, 5:15] = 255
    image = rng.randint(0, 256, (height, width, 3)).astype(np.uint8)
    image[..., 0] = np.where(mask == 255, 240, mask * 80)
    return image, mask


def ramps(side: int = 256) -> tuple[UInt8, UInt8]:
    """Red grows with x, green with y, both by one a pixel; the class is everywhere."""
    grid = np.arange(side)
    red, green = np.meshgrid(grid, grid)
    return np.stack([red, green, 0 * red], axis=-1).astype(np.uint8), np.ones((side, side), np.uint8)


def pillow(image: UInt8, mask: UInt8, size: int) -> tuple[UInt8, UInt8]:
    squashed = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
    nearest = Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST)
    return np.asarray(squashed).transpose(2, 0, 1), np.asarray(nearest)


@pytest.mark.parametrize(("name", "role"), STILL)
def test_without_a_change_it_is_pillows_squash_to_the_pixel(name: str, role: Role) -> None:
    image, mask = photo()
    wanted_image, wanted_mask = pillow(image, mask, SIZE)
    for seed in range(5):
        pair = augment(name, role, image, mask, SIZE, seed)
        np.testing.assert_array_equal(pair.image.numpy(), wanted_image)
        np.testing.assert_array_equal(pair.masks[0].numpy(), wanted_mask)


@pytest.mark.parametrize("role", ["support", "query"])
@pytest.mark.parametrize("name", ["none", "flip", "enlarged-crop", "enlarged-crop-supports", "resized-crop"])
def test_what_squashes_first_makes_the_same_of_a_squashed_image(name: str, role: Role) -> None:
    image, mask = photo()
    small_image, small_mask = pillow(image, mask, SIZE)
    native, small = (
        [augment_all(name, role, i, m[None], SIZE, seed) for seed in range(8)]
        for i, m in ((image, mask), (np.ascontiguousarray(small_image.transpose(1, 2, 0)), small_mask))
    )
    same = all(torch.equal(x, y) for a, b in zip(native, small, strict=True) for x, y in zip(a, b, strict=True))
    assert (module.squashed_before(name, role, Side(SIZE)) == SIZE) is same


@pytest.mark.parametrize("role", ["support", "query"])
def test_flip_is_the_squash_or_its_mirror_image_each_half_of_the_time(role: Role) -> None:
    image, mask = photo()
    plain_image, plain_mask = pillow(image, mask, SIZE)
    mirrored = 0
    for seed in range(400):
        pair = augment("flip", role, image, mask, SIZE, seed)
        step = 1 if np.array_equal(pair.image.numpy(), plain_image) else -1
        np.testing.assert_array_equal(pair.image.numpy(), plain_image[:, :, ::step])
        np.testing.assert_array_equal(pair.masks[0].numpy(), plain_mask[:, ::step])
        mirrored += step == -1
    assert stats.binomtest(mirrored, 400).pvalue > 1e-3


@pytest.mark.parametrize(("name", "role"), [*CROPS, *STILL, ("flip", "support"), ("flip", "query")])
def test_image_and_mask_move_together(name: str, role: Role) -> None:
    """Where the red channel is the value of one label, its neighbours were of that label: so must the mask be."""
    image, mask = photo(100, 180)
    for seed in range(20):
        pair = augment(name, role, image, mask, SIZE, seed)
        red, labels = pair.image[0].numpy(), pair.masks[0].numpy()
        for value, label in ((0, 0), (240, 255)):
            assert set(np.unique(labels[red == value])) <= {label}
        assert (red == 0).sum() > 500
        assert (np.abs(red.astype(int) - np.where(labels == 255, 240, labels * 80.0)) <= 2).mean() > 0.8


@pytest.mark.parametrize(("name", "role"), CROPS)
def test_crops_have_canets_scales_places_and_flips(name: str, role: Role) -> None:
    """On ramps, the slope tells the side that the image was squashed to, and the ends tell where it was cut."""
    image, mask = ramps()
    count, inner = 300, slice(4, SIZE - 4)
    sides, flips, across, down = [], 0, [], []
    for seed in range(count):
        pair = augment(name, role, image, mask, SIZE, seed)
        assert pair.image.shape == (3, SIZE, SIZE)
        red, green = pair.image[0, SIZE // 2].double().numpy(), pair.image[1, :, SIZE // 2].double().numpy()
        slope = np.polyfit(np.arange(SIZE)[inner], red[inner], 1)[0]
        fall = np.polyfit(np.arange(SIZE)[inner], green[inner], 1)[0]
        assert abs(fall - abs(slope)) < 0.03  # the same side both ways, never upside down
        flips += slope < 0
        side = 256 / fall
        sides.append(side / SIZE)
        room = side - SIZE
        if room > 8:
            first = min(red[0], red[-1]) + 0.5 - 0.5 * fall  # source coordinate of the crop's left edge
            across.append(first / fall / room)
            down.append((green[0] + 0.5 - 0.5 * fall) / fall / room)
    assert 0.99 < min(sides) < 1.02
    assert 1.48 < max(sides) < 1.51
    assert stats.kstest(sides, stats.uniform(1, 0.5).cdf).pvalue > 1e-3
    assert stats.binomtest(flips, count).pvalue > 1e-3
    for places in (across, down):
        assert -0.15 < min(places) < 0.1
        assert 0.9 < max(places) < 1.15
        assert stats.kstest(np.clip(places, 0, 1), stats.uniform(0, 1).cdf).pvalue > 1e-4
    assert abs(np.corrcoef(across, down)[0, 1]) < 0.2


def corner() -> UInt8:
    """A mask whose class a crop can easily lose."""
    mask = np.zeros((256, 256), np.uint8)
    mask[:10, :10] = 1
    mask[100:200, 100:200] = 255
    return mask


def test_a_crop_that_loses_the_class_is_drawn_again() -> None:
    image, everywhere = ramps()
    again = 0
    for seed in range(60):
        pair = augment("enlarged-crop-supports", "support", image, corner(), SIZE, seed)
        assert (pair.masks[0] == 1).any()
        first = augment("enlarged-crop-supports", "support", image, everywhere, SIZE, seed)
        if not torch.equal(pair.image, first.image):
            again += 1
            assert min(first.image[0].min(), 255 - first.image[0].max()) > 0  # the first crop had no side corner
    assert 10 < again < 60


def test_a_class_that_no_crop_shows_leaves_the_plain_squash_after_ten_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    image, _ = ramps()
    void = np.zeros((256, 256), np.uint8)
    void[50:200, 50:200] = 255
    tries = []
    original = module._cropped
    monkeypatch.setattr(module, "_cropped", lambda *given: tries.append(1) or original(*given))
    pair = augment("enlarged-crop-supports", "support", image, void, SIZE, 0)
    wanted_image, wanted_mask = pillow(image, void, SIZE)
    np.testing.assert_array_equal(pair.image.numpy(), wanted_image)
    np.testing.assert_array_equal(pair.masks[0].numpy(), wanted_mask)
    assert len(tries) == 10


@pytest.mark.parametrize(("name", "role"), [*CROPS, ("flip", "query")])
def test_the_seed_decides_and_no_global_generator_is_touched(name: str, role: Role) -> None:
    image, mask = photo()
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    before = (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())
    first = augment(name, role, image, mask, SIZE, 7)
    after = (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    torch.manual_seed(4)
    again = augment(name, role, image, mask, SIZE, 7)
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.masks[0], again.masks[0])
    others = [augment(name, role, image, mask, SIZE, seed).image for seed in range(8)]
    assert any(not torch.equal(first.image, other) for other in others)


@pytest.mark.parametrize(("name", "role"), [*CROPS, *STILL, ("flip", "support")])
def test_results_are_plain_tensors_with_memory_of_their_own(name: str, role: Role) -> None:
    image, mask = photo()
    copies = image.copy(), mask.copy()
    for seed in range(4):
        pair = augment(name, role, image, mask, SIZE, seed)
        for tensor, shape in ((pair.image, (3, SIZE, SIZE)), (pair.masks, (1, SIZE, SIZE))):
            assert type(tensor) is torch.Tensor
            assert tensor.dtype == torch.uint8
            assert tuple(tensor.shape) == shape
            assert tensor.is_contiguous()
            tensor.zero_()
    np.testing.assert_array_equal(image, copies[0])
    np.testing.assert_array_equal(mask, copies[1])


def test_several_masks_are_changed_alike() -> None:
    image, mask = photo()
    for name, role in [*CROPS, *STILL, ("flip", "query"), ("resized-crop", "support")]:
        for seed in range(6):
            view = augment_all(name, role, image, np.stack([mask, 9 - mask % 9]), SIZE, seed)
            pair = augment(name, role, image, mask, SIZE, seed)
            assert torch.equal(view.image, pair.image)
            assert torch.equal(view.masks[0], pair.masks[0])
            np.testing.assert_array_equal(view.masks[1].numpy(), 9 - pair.masks[0].numpy() % 9)


def test_a_resized_crop_is_a_rectangle_of_the_stated_area_and_shape() -> None:
    image, everywhere = ramps()
    areas, ratios, mirrored = [], [], 0
    for seed in range(400):
        pair = augment("resized-crop", "query", image, everywhere, SIZE, seed)
        across, down = pair.image[0].float().mean(dim=0), pair.image[1].float().mean(dim=1)
        mirrored += bool(across[0] > across[-1])
        assert down[0] < down[-1]
        # the squash keeps a ramp's slope: SIZE pixels span the crop's side
        width, height = (
            float((end - start).abs()) * SIZE / (SIZE - 1) for start, end in (across[[0, -1]], down[[0, -1]])
        )
        areas.append(width * height / 256**2)
        ratios.append(width / height)
        assert (pair.masks[0] == 1).all()
    assert 0.48 < min(areas) < 0.53
    assert 0.95 < max(areas) < 1.02
    assert 0.73 < min(ratios) < 0.82
    assert 1.22 < max(ratios) < 1.36
    assert stats.binomtest(mirrored, 400).pvalue > 1e-3


def test_a_resized_crop_changes_supports_and_queries_alike() -> None:
    image, mask = photo()
    support, query = (augment("resized-crop", role, image, mask, SIZE, 5) for role in ("support", "query"))
    assert torch.equal(support.image, query.image)


@pytest.mark.parametrize("role", ["support", "query"])
@pytest.mark.parametrize("name", ["none", "flip", "enlarged-crop", "enlarged-crop-supports", "resized-crop"])
def test_padding_stays_right_and_below_and_moves_with_the_mask(name: str, role: Role) -> None:
    """Whatever an augmentation does, black pixels of a bright image are the void ones of its full mask."""
    rng = np.random.RandomState(2)
    image, mask = rng.randint(1, 256, (40, 70, 3)).astype(np.uint8), np.ones((40, 70), np.uint8)
    side, flips = Side(SIZE, 8), 0
    still = augment("none", role, image, mask, side, 0)
    height, width = side.part(40, 70)
    for seed in range(12):
        view = augment(name, role, image, mask, side, seed)
        padding = (view.image == 0).all(dim=0)
        assert torch.equal(padding, view.masks[0] == 255)
        assert set(view.masks.unique().tolist()) <= {1, 255}
        assert not (padding[:, :-1] & ~padding[:, 1:]).any()  # nothing lies right of padding, or below
        assert not (padding[:-1] & ~padding[1:]).any()
        if name == "flip":
            assert torch.equal(padding, still.masks[0] == 255)
            flips += torch.equal(view.image[:, :height, :width], still.image[:, :height, :width].flip(-1))
    assert name != "flip" or 0 < flips < 12


def test_what_is_resized_before_a_padding_augmentation() -> None:
    assert module.squashed_before("flip", "query", Side(64)) == 64
    assert module.squashed_before("flip", "query", Side(64, 8)) is None  # a padded image would be padded again
    assert module.squashed_before("resized-crop", "query", Side(64)) is None
