"""Labels over an image, by hand-computed colours."""

from __future__ import annotations

import numpy as np

from fsseg_bench.engine.overlay import overlay


def blended(colour: tuple[int, int, int]) -> list[int]:
    """Over the grey value 100."""
    return [round(0.45 * 100 + 0.55 * value) for value in colour]


def test_each_label_has_its_colour() -> None:
    """Regions of 3 x 3 pixels side by side: their middles are away from any border but void's, which has no outline."""
    labels = np.repeat(np.array([[0, 1, 2, 255, 6]], dtype=np.uint8), 3, axis=1).repeat(3, axis=0)
    image = np.full((3, 15, 3), 100, dtype=np.uint8)
    drawn = overlay(image, labels)
    assert drawn.dtype == np.uint8
    assert drawn[1, 1::3].tolist() == [
        [100, 100, 100],
        blended((230, 60, 50)),
        blended((40, 130, 230)),
        blended((128, 128, 128)),
        blended((230, 60, 50)),  # five colours, then again from the first
    ]
    assert (image == 100).all()


def test_classes_are_outlined_inside_their_border() -> None:
    labels = np.zeros((7, 8), dtype=np.uint8)
    labels[1:6, 4:] = 1  # touches the image's right border, where no outline is
    labels[:, 0] = 255
    drawn = overlay(np.full((7, 8, 3), 100, dtype=np.uint8), labels)
    white = np.zeros((7, 8), dtype=bool)
    white[1, 4:] = white[5, 4:] = white[1:6, 4] = True
    assert np.array_equal((drawn == 255).all(axis=2), white)


def test_outlines_grow_with_the_image() -> None:
    labels = np.zeros((320, 320), dtype=np.uint8)
    labels[100:200, 100:200] = 1
    drawn = overlay(np.full((320, 320, 3), 100, dtype=np.uint8), labels)
    assert (drawn[150, 98:104] == 255).all(axis=1).tolist() == [False, False, True, True, False, False]
