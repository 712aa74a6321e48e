"""Features in half the bytes: what they become, that it does not depend on what is kept, and whose run it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fsseg_bench.engine.cache import Budget, FeatureCache
from fsseg_bench.engine.feed import Feed, ImageKey
from fsseg_bench.engine.packing import packed, unpacked
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.engine.reader import FeatureReader
from fsseg_bench.engine.run_evaluation import setting_of
from fsseg_bench.errors import UserError
from fsseg_bench.method import Features
from fsseg_bench.records.request import CacheDtype
from fsseg_bench.records.settings import settings_shown
from fsseg_bench.report.words import always
from tests.engine.test_precision import request
from tests.engine.test_reader import SIZE, Pictures

CPU = torch.device("cpu")
THIRDS = torch.arange(1, 41, dtype=torch.float32) / 3


def bfloat16(value: float) -> float:
    """By its bits: the upper half of float32's, rounded to the nearest, of two as near to the even one."""
    bits = int(np.float32(value).view(np.uint32))
    rest, upper = bits & 0xFFFF, bits >> 16
    upper += rest > 0x8000 or (rest == 0x8000 and upper & 1)
    return float(np.uint32(upper << 16).view(np.float32))


def test_numbers_are_rounded_to_the_nearest() -> None:
    values = [1.00390625, 1.01171875, -0.1, 3e38, 1e-30, *THIRDS.tolist()]  # the first two lie between two neighbours
    (found,) = (unpacked(packed(torch.tensor(values), "bfloat16"), "bfloat16"),)
    assert isinstance(found, Tensor)
    assert found.dtype == torch.float32
    assert found.tolist() == [bfloat16(value) for value in values]
    half = unpacked(packed(THIRDS, "float16"), "float16")
    assert isinstance(half, Tensor)
    np.testing.assert_array_equal(half.numpy(), THIRDS.numpy().astype(np.float16).astype(np.float32))


def test_what_is_no_float32_stays_as_it_is() -> None:
    levels = (torch.tensor([3, 4]), torch.tensor([0.1], dtype=torch.float64))
    found = packed(levels, "bfloat16")
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(found, levels, strict=True))
    assert packed(THIRDS, "float32") is THIRDS
    assert unpacked(THIRDS, "float32") is THIRDS


def test_float16_says_where_it_ends() -> None:
    with pytest.raises(UserError, match=r"a feature is 7e\+04, and float16 ends at 65,504; use bfloat16"):
        packed(torch.tensor([1.0, -70_000.0]), "float16")
    packed(torch.tensor([65_504.0]), "float16")


class Thirds:
    """Encodes an image as its number's thirds."""

    encode_batch = 1
    mask_enters_encoder = unlabelled_encoded_apart = False

    def encode(self, images: list[Tensor]) -> list[Features]:
        return [image[0, 0, :1] * THIRDS for image in images]


@pytest.mark.parametrize(("kept_as", "taken"), [("float32", 160), ("bfloat16", 80), ("float16", 80)])
def test_kept_or_not_the_numbers_are_the_same_and_half_the_bytes(kept_as: CacheDtype, taken: int) -> None:
    def read(budget: int) -> tuple[list[Features], FeatureReader]:
        reader = FeatureReader(Thirds(), FeatureCache(CPU, Budget(0, budget)), kept_as)  # type: ignore[arg-type]
        with Feed(Pictures(), 0) as feed:  # type: ignore[arg-type]
            keys = [ImageKey(str(i), SIZE) for i in (3, 5, 3)]
            return [one for _ in range(2) for one in reader.features(feed, keys)], reader

    none, reader = read(0)
    assert reader.encoded == 4
    kept, reader = read(1000)
    assert (reader.encoded, reader.cache.used) == (2, 2 * taken)
    for first, second in zip(none, kept, strict=True):
        assert isinstance(first, Tensor)
        assert isinstance(second, Tensor)
        assert first.dtype == torch.float32
        assert torch.equal(first, second)
    exact = [3 * THIRDS, 5 * THIRDS, 3 * THIRDS] * 2
    same = all(torch.equal(a, b) for a, b in zip(kept, exact, strict=True) if isinstance(a, Tensor))
    assert same == (kept_as == "float32")


def test_it_is_a_run_of_its_own_and_the_default_is_not_written(tmp_path: Path) -> None:
    plans = [make_plan(request(tmp_path, cache_dtype=kept)) for kept in ("float32", "bfloat16", "float16")]
    assert len({plan.settings.identity for plan in plans}) == 3
    usual, packed_plan = plans[0].settings, plans[1]
    assert "cache_dtype" not in usual.to_json()
    assert packed_plan.settings.to_json() == {**usual.to_json(), "cache_dtype": "bfloat16"}
    assert "features kept in bfloat16" in always(settings_shown(packed_plan.settings, None))
    assert not [word for word in always(settings_shown(usual, None)) if "kept" in word]
    assert setting_of(packed_plan.request, packed_plan.protocol, CPU).kept_as == "bfloat16"
