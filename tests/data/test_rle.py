"""COCO's run lengths, against pycocotools' compressor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from fsseg_bench.data.coco_json import run_lengths
from tests.support.datasets import run_lengths as lengths_of


@pytest.mark.parametrize("seed", range(8))
def test_compressed_text_gives_the_plain_counts(seed: int) -> None:
    rng = np.random.RandomState(seed)
    height, width = int(rng.randint(1, 80)), int(rng.randint(1, 400))
    region = (rng.random_sample((height, width)) < rng.choice([0.02, 0.5, 0.995])).astype(np.uint8)
    text = coco_mask.encode(np.asfortranarray(region))["counts"].decode()
    assert run_lengths({"size": [height, width], "counts": text}, height, width)["counts"] == lengths_of(region)


def test_plain_counts_pass_unchanged() -> None:
    rle = {"size": [2, 3], "counts": [1, 4, 1]}
    assert run_lengths(rle, 2, 3) == rle


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ({"size": [3, 2], "counts": [6]}, r"size \[3, 2\] is not the image's \[2, 3\]"),
        ({"counts": [6]}, "size None"),
        ({"size": [2, 3], "counts": [1, 4]}, "add up to 5, not 2 x 3"),
        ({"size": [2, 3], "counts": [7, -1]}, "whole numbers from 0"),
        ({"size": [2, 3], "counts": [6.0]}, "whole numbers from 0"),
        ({"size": [2, 3]}, "whole numbers from 0"),
        ({"size": [2, 3], "counts": "6"}, None),
        ({"size": [2, 3], "counts": "60"}, None),
        ({"size": [2, 3], "counts": "5"}, "add up to 5"),
        ({"size": [2, 3], "counts": "6 "}, "character ' '"),
        ({"size": [2, 3], "counts": "P"}, "middle of a number"),
        ({"size": [2, 3], "counts": "7O"}, "whole numbers from 0"),
    ],
)
def test_counts_that_c_code_must_not_see(rle: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert sum(run_lengths(rle, 2, 3)["counts"]) == 6
    else:
        with pytest.raises(ValueError, match=message):
            run_lengths(rle, 2, 3)
