"""Labels over an image, and predictions beside the truth: which pixels are what, and that they show on any colour."""

from __future__ import annotations

import numpy as np
import pytest

from fsseg_bench.pictures.overlay import Kind, colour, judged, kinds, labelled, over, overlay, swatch

WHITE, BLACK = [255, 255, 255], [0, 0, 0]


def blended(rgb: tuple[int, int, int]) -> list[int]:
    """Over the grey value 100, with 115 of 255 parts of the colour."""
    return [round((140 * 100 + 115 * value) / 255) for value in rgb]


def test_each_label_has_its_colour() -> None:
    """Regions of 5 x 5 pixels side by side: their middles are away from any border."""
    labels = np.repeat(np.array([[0, 1, 2, 7, 8]], dtype=np.uint8), 5, axis=1).repeat(5, axis=0)
    image = np.full((5, 25, 3), 100, dtype=np.uint8)
    drawn = overlay(image, labels)
    assert drawn.dtype == np.uint8
    assert drawn[2, 2::5].tolist() == [
        [100, 100, 100],
        blended((0, 114, 178)),
        blended((230, 159, 0)),
        blended((240, 228, 66)),
        blended((0, 114, 178)),  # seven colours, then again from the first
    ]
    assert (image == 100).all()


def test_outlines_are_black_and_white_within_the_border() -> None:
    labels = np.zeros((9, 12), dtype=np.uint8)
    labels[1:8, 4:] = 1  # touches the image's right border, where no outline is
    drawn = overlay(np.full((9, 12, 3), 100, dtype=np.uint8), labels)
    assert [drawn[4, c].tolist() for c in (3, 4, 5)] == [[100] * 3, BLACK, WHITE]
    assert [drawn[r, 9].tolist() for r in (0, 1, 2, 6, 7, 8)] == [[100] * 3, BLACK, WHITE, WHITE, BLACK, [100] * 3]
    assert drawn[4, 11].tolist() == blended(colour(1))


def test_lines_grow_with_the_image() -> None:
    labels = np.zeros((256, 256), dtype=np.uint8)
    labels[100:200, 100:200] = 1
    row = overlay(np.full((256, 256, 3), 100, dtype=np.uint8), labels)[150, 99:105].tolist()
    assert row == [[100] * 3, BLACK, BLACK, WHITE, WHITE, blended(colour(1))]


def test_void_is_dotted_grey_without_an_outline() -> None:
    labels = np.full((8, 8), 255, dtype=np.uint8)
    layer = labelled(labels)
    dots = (layer == [*WHITE, 255]).all(axis=2)
    assert dots.sum() == 4
    assert (layer[~dots] == [128, 128, 128, 115]).all()


def kind_of(layer: np.ndarray, rgb: tuple[int, int, int]) -> np.ndarray:
    """Pixels whose fill or hatch has a colour."""
    return (layer[..., :3] == rgb).all(axis=2) & (layer[..., 3] > 0)


def test_one_way_has_a_colour_for_found_false_and_missed() -> None:
    truth = np.zeros((60, 60), np.uint8)
    truth[:, 20:40], truth[:30, 50:] = 1, 255
    prediction = np.zeros_like(truth)
    prediction[20:40, :] = 1
    layer = judged(prediction, truth, 1)
    found, false, missed, void = (kind.colour for kind in kinds(1))
    assert kind_of(layer, found)[30, 30]
    assert kind_of(layer, false)[22:38, 3:17].any()
    assert kind_of(layer, missed)[3:17, 23:37].any()
    assert kind_of(layer, void)[20:30, 52:].any()
    assert not layer[:18, :18].any()  # neither labelled nor predicted
    inside = {found: (22, 38, 22, 38), false: (22, 38, 2, 18), missed: (2, 18, 22, 38)}
    for rgb, (top, bottom, left, right) in inside.items():
        part = layer[top:bottom, left:right]
        strangers = [other for other in inside if other != rgb and kind_of(part, other).any()]
        assert not strangers


def test_several_ways_keep_the_colours_of_their_classes() -> None:
    truth, prediction = np.zeros((40, 80), np.uint8), np.zeros((40, 80), np.uint8)
    truth[:, 20:60], prediction[:, 40:] = 1, 2
    layer = judged(prediction, truth, 2)
    assert kind_of(layer, colour(1))[3:37, 23:37].any()  # missed
    assert kind_of(layer, colour(2))[3:37, 43:57].any()  # one class taken for another
    assert kind_of(layer, colour(2))[3:37, 63:77].any()  # false
    crossed, striped = (layer[3:37, left : left + 14, 3] == 255 for left in (43, 63))
    assert crossed.sum() > 1.3 * striped.sum()
    right = judged(truth, truth, 2)
    assert (right[3:37, 23:57] == [*colour(1), 115]).all()  # found: no hatch


@pytest.mark.parametrize("kind", kinds(1)[:3], ids=lambda kind: kind.words)
@pytest.mark.parametrize("behind", [(200, 20, 20), (20, 160, 20), (0, 114, 178), (213, 94, 0), (240, 228, 66)])
@pytest.mark.parametrize("grey", [False, True])
def test_regions_show_on_objects_of_any_colour(kind: Kind, behind: tuple[int, int, int], grey: bool) -> None:
    """Also where a region has the colour of the object, and without any colour: lines differ from what is behind."""
    image = np.full((64, 64, 3), behind, np.uint8)
    truth = np.zeros((64, 64), np.uint8)
    truth[16:48, 16:48] = kind.words.startswith(("found", "missed"))
    prediction = np.zeros((64, 64), np.uint8)
    prediction[16:48, 16:48] = kind.words.startswith(("found", "false"))
    drawn = over(image, judged(prediction, truth, 1)).astype(float)
    if grey:
        drawn, image = drawn.mean(axis=2, keepdims=True), image.mean(axis=2, keepdims=True)
    clear = (np.abs(drawn - image).max(axis=2) > 80)[16:48, 16:48]
    assert clear.mean() > 0.08  # outline
    if kind.hatch:
        assert clear[4:-4, 4:-4].any()


def test_swatches_look_like_what_they_explain() -> None:
    for kind in kinds(1)[:3]:
        layer = swatch(kind)
        assert layer.shape == (24, 40, 4)
        assert kind_of(layer, kind.colour or (0, 0, 0)).any()
        assert (layer[1, 5, :3] == 0).all()
