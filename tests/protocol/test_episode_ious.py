import numpy as np
import pytest

from fsseg_bench.protocol.scoring import episode_ious


def test_by_hand():
    one_way = [[[60, 10], [10, 20]], [[100, 0], [0, 0]], [[0, 50], [50, 0]], [[0, 0], [0, 7]]]
    assert episode_ious(one_way).tolist() == [20 / 40, 0.0, 0.0, 1.0]
    two_ways = [[[50, 1, 2], [3, 10, 4], [5, 6, 19]]]  # a confusion between ways is still foreground
    assert episode_ious(two_ways).tolist() == [(10 + 4 + 6 + 19) / (10 + 4 + 6 + 19 + 1 + 2 + 3 + 5)]


def test_counts_must_be_counts():
    with pytest.raises(ValueError, match="integers"):
        episode_ious(np.ones((2, 2, 2)))
