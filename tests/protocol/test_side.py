"""What an image fills of a square, against the rule in words and against papers' own arithmetic."""

from __future__ import annotations

import copy
import pickle
from fractions import Fraction
from pathlib import Path

import pytest

from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.protocol.side import Side
from tests.support.protocol_text import TEXT, changed, refused, write


def by_fractions(height: int, width: int, side: int, multiple: int) -> tuple[int, int]:
    scale = Fraction(side, max(height, width))
    tall, wide = (max(int(length * scale) // multiple, 1) * multiple for length in (height, width))
    return tall, wide


@pytest.mark.parametrize(
    ("shape", "side", "multiple", "part"),
    [
        ((500, 375), 473, 8, (472, 352)),  # 473 x 354.75
        ((375, 500), 473, 8, (352, 472)),
        ((375, 500), 473, 1, (354, 473)),
        ((500, 500), 473, 8, (472, 472)),
        ((300, 300), 416, 8, (416, 416)),
        ((1000, 3), 473, 8, (472, 8)),  # 473 x 1.419, at least one multiple
        ((3, 1000), 417, 1, (1, 417)),
        ((107, 107), 512, 8, (512, 512)),
    ],
)
def test_the_longer_side_fills_the_square(
    shape: tuple[int, int], side: int, multiple: int, part: tuple[int, int]
) -> None:
    assert Side(side, multiple).part(*shape) == part == by_fractions(*shape, side, multiple)
    assert Side(side, multiple).shares(*shape) == (part[0] / side, part[1] / side)
    assert Side(side).part(*shape) == (side, side)
    assert Side(side).shares(*shape) == (1.0, 1.0)


def test_it_is_the_papers_rule_but_for_their_rounding() -> None:
    """PFENet, RePRI, CAPL and DIaM compute int(length * (side / longest)) in floats, then floor to 8."""
    differ = []
    for side in (417, 473, 641):
        for longest in range(300, 641, 7):
            for other in range(8, longest + 1):
                ratio = side * 1.0 / longest
                theirs = side // 8 * 8, int(other * ratio) // 8 * 8
                if theirs[1] and (found := Side(side, 8).part(longest, other)) != theirs:
                    differ.append((side, longest, other, found, theirs))
    assert all(found[1] - theirs[1] == 8 and found[0] == theirs[0] for *_, found, theirs in differ)
    assert len(differ) <= 3


def test_a_side_is_a_number_that_keeps_its_kind_where_it_is_sent_on() -> None:
    side = Side(473, 8)
    for again in (pickle.loads(pickle.dumps(side)), copy.deepcopy(side), Side.of(side)):
        assert (again, again.multiple) == (473, 8)
    assert (side.scaled(0.7), side.scaled(0.7).multiple) == (331, 8)
    assert not Side.of(side + 1).pads


def test_keys_of_the_protocol(tmp_path: Path) -> None:
    folder = tmp_path
    text = changed('resize = "squash"', 'resize = "pad"\nmultiple = 8')
    plain = load_protocol(write(folder))
    padded = load_protocol(write(folder, text))
    assert (plain.image.side, plain.image.side.pads) == (257, False)
    assert (padded.image.side, padded.image.side.multiple) == (257, 8)
    assert plain.settings()["image"] == {"size": 257, "resize": "squash", "decoder": "pillow"}
    assert padded.settings()["image"] == {"size": 257, "resize": "pad", "decoder": "pillow", "multiple": 8}
    assert load_protocol(write(folder), {"image.resize": "pad"}).image.side.multiple == 1
    assert 'image.multiple is 8; it is for image.resize = "pad" alone' in refused(
        folder, changed('resize = "squash"', 'resize = "squash"\nmultiple = 8', TEXT)
    )
    assert "image.multiple is 300, which is more than image.size, 257" in refused(
        folder, changed("multiple = 8", "multiple = 300", text)
    )
