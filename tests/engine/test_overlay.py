"""Labels over an image, by hand-computed colours."""

from __future__ import annotations

import numpy as np

from fsseg_bench.engine.overlay import overlay


def test_blends_over_labelled_pixels_alone() -> None:
    image = np.full((1, 4, 3), 100, dtype=np.uint8)
    labels = np.array([[0, 1, 255, 6]], dtype=np.uint8)
    drawn = overlay(image, labels)
    red = [round(0.45 * 100 + 0.55 * value) for value in (230, 60, 50)]
    grey = [round(0.45 * 100 + 0.55 * 128)] * 3
    assert drawn.dtype == np.uint8
    assert drawn[0].tolist() == [[100, 100, 100], red, grey, red]  # five colours, then again from the first
    assert (image == 100).all()
