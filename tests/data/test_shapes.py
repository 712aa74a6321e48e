"""The embedded images: what they show, that they are the same everywhere, and how they get into the cache."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.interpolate import RegularGridInterpolator

from fsseg_bench.data.index import build_index
from fsseg_bench.data.open import open_source
from fsseg_bench.data.shapes_draw import OUTLINES, TEXTURES, TURNS, Pose, cos, sin, value_noise
from fsseg_bench.data.shapes_scene import Kind, Scene, draw_scene
from fsseg_bench.data.sources import shapes
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.streams import stream

KINDS = [Kind(outline, texture) for texture in TEXTURES for outline in OUTLINES]


@pytest.fixture(scope="module")
def scenes() -> list[tuple[int, Scene]]:
    """Main class (from 0) and image."""
    return [(i % 20, draw_scene(stream("test", i), KINDS, i % 20)) for i in range(80)]


def small(train: int = 6, test: int = 4, seed: int = 1, **given: Any) -> Protocol:
    protocol = load_protocol("shapes5i")
    data = dataclasses.replace(protocol.data, options=shapes.ShapesKeys(seed, train, test))
    return dataclasses.replace(protocol, data=data, **given)


# the protocol


def test_classes_are_all_pairs_of_an_outline_and_a_texture() -> None:
    protocol = load_protocol("shapes5i")
    outlines = ("disc", "triangle", "bar", "cross", "star")
    textures = ("stripes", "checks", "dots", "mesh")
    assert sorted(protocol.classes) == sorted(f"{o}-{t}" for o in outlines for t in textures)
    assert set(OUTLINES) == set(outlines)
    assert set(TEXTURES) == set(textures)


def test_a_folds_classes_are_new_pairs_of_known_outlines_and_textures() -> None:
    protocol = load_protocol("shapes5i")
    for names in protocol.folds.values():
        base = [name.split("-") for name in protocol.classes if name not in names]
        outlines, textures = Counter(o for o, _ in base), Counter(t for _, t in base)
        novel = [name.split("-") for name in names]
        assert len({o for o, _ in novel}) == 5  # no two of a fold share the outline
        assert all(outlines[o] == 3 and textures[t] >= 3 for o, t in novel)


@pytest.mark.slow
def test_every_class_has_enough_images() -> None:
    protocol = load_protocol("shapes5i")
    index = build_index(open_source(protocol), protocol)
    for fold in (1, 2, 3, 4):
        assert min(map(len, index.test_pairs(fold).values())) >= 12
        assert min(map(len, index.train_pairs(fold).values())) >= 24


# geometry against other ways to compute it


def reference(outline: str, x: float, y: float) -> bool:
    """Whether a point is inside, by formulas instead of edges that are crossed."""
    if outline == "disc":
        return math.hypot(x, y) <= 1
    if outline == "bar":
        return abs(x) < 1.373 and abs(y) < 0.572
    if outline == "cross":
        return (abs(x) < 1.108 and abs(y) < 0.443) or (abs(y) < 1.108 and abs(x) < 0.443)
    if outline == "triangle":  # three sides at half of the distance of the corners
        return max(x * math.cos(a) + y * math.sin(a) for a in np.radians([30, 150, 270])) < 1.555 / 2
    # star: mirrored into the wedge between a tip (radius 1.462) and the next notch (0.731), 36 degrees on
    angle = (math.degrees(math.atan2(y, x)) - 90) % 72
    angle = math.radians(min(angle, 72 - angle))
    px, py = math.hypot(x, y) * math.cos(angle), math.hypot(x, y) * math.sin(angle)
    nx, ny = 0.731 * math.cos(math.radians(36)), 0.731 * math.sin(math.radians(36))
    return (nx - 1.462) * py - ny * (px - 1.462) > 0


@pytest.mark.parametrize("outline", list(OUTLINES))
def test_outlines_have_their_form_and_the_area_of_a_disc(outline: str) -> None:
    axis = np.linspace(-1.6, 1.6, 201) + 1e-4
    x, y = np.meshgrid(axis, axis)
    inside = OUTLINES[outline](x, y)
    wanted = np.vectorize(lambda a, b: reference(outline, a, b))(x, y)
    assert (inside != wanted).mean() < 1e-3
    fine = np.linspace(-1.6, 1.6, 1601) + 1e-4
    assert OUTLINES[outline](*np.meshgrid(fine, fine)).mean() * 3.2**2 == pytest.approx(math.pi, rel=0.005)


def test_textures_have_their_period_and_share() -> None:
    u, v = np.meshgrid(np.arange(0, 40, 0.02), np.arange(0, 40, 0.02))
    shares = {name: float(texture(u, v).mean()) for name, texture in TEXTURES.items()}
    assert shares["stripes"] == pytest.approx(0.5, abs=0.01)
    assert shares["checks"] == pytest.approx(0.5, abs=0.01)
    assert shares["dots"] == pytest.approx(math.pi * 0.07, abs=0.01)
    assert shares["mesh"] == pytest.approx(1 - 0.7**2, abs=0.01)
    small_u, small_v = u[:200, :200], v[:200, :200]
    steps = {
        "stripes": (1, 0.37),
        "checks": (2 / 1.1, 2 / 1.1),
        "dots": (1 / 0.8, 1 / 0.8),
        "mesh": (1 / 1.35, 1 / 1.35),
    }
    for name, (du, dv) in steps.items():
        texture = TEXTURES[name]
        assert (texture(small_u, small_v) == texture(small_u + du, small_v + dv)).mean() > 0.999, name
        assert (texture(small_u, small_v) == texture(small_u + du / 2, small_v)).mean() < 0.9, name


def test_the_table_of_sines() -> None:
    for turn in range(-TURNS, 2 * TURNS, 7):
        assert cos(turn) == pytest.approx(math.cos(math.radians(turn)), abs=2**-20)
        assert sin(turn) == pytest.approx(math.sin(math.radians(turn)), abs=2**-20)
        assert (cos(turn) * 2**20).is_integer()


def test_poses_and_weaves_against_matrices() -> None:
    pose, weave = Pose(31.5, 20.25, 12.0, 1.1, 33), Pose(5.0, 7.5, 9.0, 1.0, 200)
    rows, columns = pose.window(64, 48)
    ys, xs = np.mgrid[rows, columns] + 0.5
    for turn, centre, scale, found in (
        (33, (31.5, 20.25), (12.0 * 1.1, 12.0 / 1.1), pose.coordinates((rows, columns))),
        (200, (5.0, 7.5), (9.0, 9.0), weave.coordinates((rows, columns))),
    ):
        angle = math.radians(turn)
        matrix = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        moved = np.einsum("ij,jhw->ihw", matrix, np.stack([xs - centre[0], ys - centre[1]]))
        for axis in (0, 1):
            np.testing.assert_allclose(found[axis], moved[axis] / scale[axis], atol=1e-5)


@pytest.mark.parametrize("outline", list(OUTLINES))
def test_a_window_holds_the_whole_outline(outline: str) -> None:
    for turn in range(0, 360, 15):
        pose = Pose(70.0, 64.0, 20.0, 1.18, turn)
        whole = OUTLINES[outline](*pose.coordinates((slice(0, 128), slice(0, 140))))
        assert whole[pose.window(128, 140)].sum() == whole.sum() > 1000


def test_noise_against_scipy() -> None:
    height, width, cell = 21, 34, 4.7
    noise = value_noise(np.random.RandomState(4), (height, width), cell)
    grid = np.random.RandomState(4).random_sample((int(height / cell) + 2, int(width / cell) + 2))
    ticks = [np.arange(n) * cell for n in grid.shape]
    points = np.stack(np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij"), axis=-1)
    np.testing.assert_allclose(noise, RegularGridInterpolator(ticks, grid)(points), atol=1e-12)


# scenes


def test_the_main_class_is_always_well_visible(scenes: list[tuple[int, Scene]]) -> None:
    for main, scene in scenes:
        assert (scene.labels == main + 1).sum() >= 500


def test_sizes_and_labels(scenes: list[tuple[int, Scene]]) -> None:
    heights = [scene.image.shape[0] for _, scene in scenes]
    widths = [scene.image.shape[1] for _, scene in scenes]
    assert 128 <= min(heights) < 134
    assert 154 < max(heights) <= 160
    assert 160 <= min(widths) < 166
    assert 186 < max(widths) <= 192
    for _, scene in scenes:
        assert scene.image.dtype == scene.labels.dtype == np.uint8
        assert scene.image.shape == (*scene.labels.shape, 3)
        assert set(np.unique(scene.labels)) <= {*range(21), 255}


def test_images_hold_other_classes_and_several_objects(scenes: list[tuple[int, Scene]]) -> None:
    classes = [len({*np.unique(scene.labels)} - {0, 255}) for _, scene in scenes]
    assert {1, 2, 3} == set(classes)
    assert 1.5 < np.mean(classes) < 2.2
    covered = [float(((scene.labels > 0) & (scene.labels < 255)).mean()) for _, scene in scenes]
    assert 0.1 < np.mean(covered) < 0.35


def test_void_lies_on_borders_only(scenes: list[tuple[int, Scene]]) -> None:
    """Each void pixel has two labels within one pixel around it; where labels meet, there is mostly void."""
    for _, scene in scenes[:20]:
        labels = scene.labels.astype(int)
        near = np.stack([np.roll(labels, (dy, dx), (0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
        kinds = np.array([len({*column} - {255}) for column in near[:, labels == 255].T])
        assert (kinds >= 2).mean() > 0.9
        assert 0.002 < (labels == 255).mean() < 0.05
        right = (labels[:, 1:] != labels[:, :-1]) & (labels[:, 1:] != 255) & (labels[:, :-1] != 255)
        assert right.sum() < (labels == 255).sum()


def test_objects_stay_visible_under_others() -> None:
    """With occluders counted out by drawing scenes of many objects: none is hidden by more than two fifths."""
    from fsseg_bench.data import shapes_scene as module

    for i in range(10):
        rng = stream("crowd", i)
        canvas = module._background(rng, 130, 170)
        for k in range(12):
            module._object(rng, canvas, KINDS[k], k + 1)
        assert 3 <= len(canvas.shown) <= 12
        for number, (shown, full) in enumerate(zip(canvas.shown, canvas.full, strict=True)):
            assert shown == (canvas.owner == number).sum()
            assert 0.6 * full <= shown <= full


def test_colour_says_nothing_about_the_class(scenes: list[tuple[int, Scene]]) -> None:
    """Mean colours of objects: between classes they differ no more than chance lets them."""
    rows = []
    for _, scene in scenes:
        for c in {*np.unique(scene.labels).tolist()} - {0, 255}:
            rows.append((c, *scene.image[scene.labels == c].mean(axis=0)))
    table = np.array(rows)
    for part in (lambda c: (c - 1) % 5, lambda c: (c - 1) // 5):  # by outline, by texture
        groups = [table[part(table[:, 0]) == g, 1:] for g in range(5)]
        for group in groups:
            if len(group):
                error = table[:, 1:].std(axis=0) / math.sqrt(len(group))
                assert (np.abs(group.mean(axis=0) - table[:, 1:].mean(axis=0)) < 4 * error).all()


def test_textures_survive_the_input_size(scenes: list[tuple[int, Scene]]) -> None:
    """Inside objects, the brightness at 129 pixels still varies about as much as at native size."""
    kept = []
    for main, scene in scenes:
        inside = scene.labels == main + 1
        grey = scene.image.mean(axis=2)
        resized = np.asarray(Image.fromarray(scene.image).resize((129, 129), Image.Resampling.BILINEAR)).mean(axis=2)
        mask = np.asarray(Image.fromarray(inside).resize((129, 129), Image.Resampling.NEAREST))
        kept.append(resized[mask].std() / grey[inside].std())
    assert min(kept) > 0.6
    assert np.mean(kept) > 0.8


def test_pixels_are_pinned() -> None:
    """Equal on every machine and with every version of numpy; raise ``shapes.GENERATOR`` when they must change."""
    digest = hashlib.sha256()
    for i in range(12):
        scene = draw_scene(stream("pinned", i), KINDS, i)
        digest.update(repr(scene.image.shape).encode() + scene.image.tobytes() + scene.labels.tobytes())
    assert (shapes.GENERATOR, digest.hexdigest()) == (
        1,
        "ae3cd34ba1c0554d79f8a5f02199af46dbc8696614a845c5ce5eb3e3c1989aca",
    )


# the folder


def test_layout_and_reading() -> None:
    source = open_source(small())
    names = {p.relative_to(source.root).as_posix() for p in source.root.rglob("*") if p.is_file()}
    ids = [*(f"train_{i:05d}" for i in range(6)), *(f"val_{i:05d}" for i in range(4))]
    assert names == {
        *(f"{folder}/{i}.png" for folder in ("JPEGImages", "SegmentationClass") for i in ids),
        *(f"ImageSets/Segmentation/{part}.txt" for part in ("train", "val")),
        "pixels.json",
    }
    assert source.ids("train") == tuple(ids[:6])
    assert source.ids("val") == tuple(ids[6:])
    assert source.classes == load_protocol("shapes5i").classes
    kinds = [Kind(*name.split("-")) for name in source.classes]
    for i, image_id in ((3, "train_00003"), (2, "val_00002")):
        scene = draw_scene(stream("shapes", 1, image_id.split("_")[0], i), kinds, i)
        np.testing.assert_array_equal(source.image(image_id), scene.image)
        masks = source.class_masks(image_id, range(1, 21))
        np.testing.assert_array_equal(masks[i] == 1, scene.labels == i + 1)
        np.testing.assert_array_equal((masks == 255).all(axis=0), scene.labels == 255)


def test_masks_have_vocs_colours() -> None:
    source = open_source(small())
    palette = Image.open(source.mask_path("train_00000")).getpalette()
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}
    assert palette is not None
    assert {k: tuple(palette[3 * k : 3 * k + 3]) for k in known} == known


def test_the_second_time_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    open_source(small())
    monkeypatch.setattr(shapes, "_write", None)
    assert len(open_source(small()).ids("train")) == 6


def test_what_changes_the_folder_and_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_source(small())
    sources = [first, open_source(small(seed=2)), open_source(small(train=7)), open_source(small(test=5))]
    classes = load_protocol("shapes5i").classes[::-1]
    sources.append(open_source(small(classes=classes)))
    monkeypatch.setattr(shapes, "GENERATOR", shapes.GENERATOR + 1)
    sources.append(open_source(small()))
    assert len({s.root for s in sources}) == len({s.fingerprint(["train"]) for s in sources}) == 6
    assert len({s.label_digest("train_00000") for s in sources}) == 6
    assert len({s.image_digest("train_00000") for s in sources}) == 6
    assert first.fingerprint(["train"]) != first.fingerprint(["val"])
    assert first.label_digest("train_00000") != first.label_digest("train_00001")
    longer = sources[2]
    for image_id in first.ids("train"):  # more images leave the first ones as they were
        np.testing.assert_array_equal(first.image(image_id), longer.image(image_id))
    assert not np.array_equal(first.image("train_00000"), sources[1].image("train_00000"))


def test_a_file_that_was_tidied_away_comes_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FSSEG_CACHE", str(tmp_path))
    source = open_source(small())
    before = source.image("val_00001")
    source.image_path("val_00001").unlink()
    np.testing.assert_array_equal(open_source(small()).image("val_00001"), before)
    assert [p.name for p in source.root.parent.iterdir()] == [source.root.name]


CODE = """
from fsseg_bench.data.open import open_source
from fsseg_bench.protocol.load import load_protocol
changes = {{"data.train_images": "{train}", "data.test_images": "4", "data.generator_seed": "1"}}
print(open_source(load_protocol("shapes5i", changes)).root)
"""


def start(cache: Path, train: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "FSSEG_CACHE": str(cache)}
    command = [sys.executable, "-c", CODE.format(train=train)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.mark.slow
def test_processes_at_once_and_one_that_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FSSEG_CACHE", str(tmp_path))
    killed = start(tmp_path, 60)
    parent = tmp_path / "shapes5i"
    limit = time.monotonic() + 60
    while not list(parent.glob(".*/JPEGImages/*")) and time.monotonic() < limit:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    left = list(parent.iterdir())
    assert len(left) == 1
    assert left[0].name.startswith(".")

    both = [start(tmp_path, 60), start(tmp_path, 60)]
    roots = {process.communicate()[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    (root,) = roots
    assert len(list(Path(root, "JPEGImages").iterdir())) == 64
    assert sorted(parent.iterdir()) == sorted([left[0], Path(root)])

    os.utime(left[0], (0, 0))  # long ago: the next one that makes images removes it
    open_source(small())
    assert not left[0].exists()


def test_a_failure_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FSSEG_CACHE", str(tmp_path))

    def full(*given: Any, **named: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(UserError, match=r"cannot be written: .*No space left.*FSSEG_CACHE"):
        open_source(small())
    assert list((tmp_path / "shapes5i").iterdir()) == []


def test_a_cache_that_is_no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FSSEG_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"file/shapes5i/.*cannot be written"):
        open_source(small())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dics-stripes", r"unknown outline of class 'dics-stripes' 'dics'. Did you mean 'disc'\? Known: bar, "),
        ("disc-strips", r"unknown texture of class 'disc-strips' 'strips'. Did you mean 'stripes'\?"),
        ("disc", r"unknown texture of class 'disc' ''. Known: checks, dots, mesh, stripes"),
    ],
)
def test_classes_that_cannot_be_drawn(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_source(small(classes=(name, *load_protocol("shapes5i").classes[1:])))


def test_few_classes_are_enough() -> None:
    """A protocol of one's own may use fewer; without others there are no distractors of other classes."""
    for kinds in (KINDS[:1], KINDS[:4]):
        for i in range(8):
            scene = draw_scene(stream("few", i), kinds, i % len(kinds))
            assert set(np.unique(scene.labels)) <= {*range(len(kinds) + 1), 255}
