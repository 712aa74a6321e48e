from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics import JaccardIndex

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.scoring import (
    binary_iou,
    class_counts,
    class_iou,
    constant_loss,
    constant_losses,
    episode_ious,
    mean_iou,
)
from tests.support.counting import confusion_of, pooled_iou

NOVEL = (4, 7, 9)


class Episodes(NamedTuple):
    """Small label maps with void, predictions and the label values of the ways."""

    labels: list[npt.NDArray[np.int64]]
    predictions: list[npt.NDArray[np.int64]]
    classes: list[tuple[int, ...]]

    @property
    def confusion(self) -> npt.NDArray[np.int64]:
        ways = len(self.classes[0])
        pairs = zip(self.labels, self.predictions, strict=True)
        return np.stack([confusion_of(label, prediction, ways) for label, prediction in pairs])


def random_episodes(seed: int, ways: int, count: int = 12) -> Episodes:
    rng = np.random.RandomState(seed)
    labels, predictions, classes = [], [], []
    for e in range(count):
        shape = (rng.randint(3, 8), rng.randint(3, 8))
        label = rng.randint(0, ways + 1, shape)
        prediction = np.where(rng.random_sample(shape) < 0.5, label, rng.randint(0, ways + 1, shape))
        labels.append(np.where(rng.random_sample(shape) < 0.15, 255, label))
        predictions.append(prediction)
        first = NOVEL[e % 3]
        others = [c for c in rng.permutation(NOVEL).tolist() if c != first]
        classes.append((first, *others[: ways - 1]))
    return Episodes(labels, predictions, classes)


def test_a_case_by_hand() -> None:
    """Two 1-way episodes of class 4, one of class 7; a cell for each of the four outcomes."""
    confusion = np.array([[[50, 10], [20, 20]], [[90, 0], [0, 10]], [[60, 15], [0, 25]]])
    classes = [[4], [4], [7]]
    counts = class_counts(confusion, classes, [7, 4])
    assert counts.tp.tolist() == [25, 30]
    assert counts.fp.tolist() == [15, 10]
    assert counts.fn.tolist() == [0, 20]
    assert class_iou(confusion, classes, [7, 4]).tolist() == [25 / 40, 30 / 60]
    assert mean_iou(confusion, classes, [7, 4]) == (25 / 40 + 30 / 60) / 2
    # Foreground: 55 of 55 + 25 + 20. Background: 200 of 200 + 25 + 20.
    assert binary_iou(confusion) == pytest.approx((55 / 100 + 200 / 245) / 2, abs=1e-15)


def test_a_two_way_case_by_hand() -> None:
    """One episode: way 1 is class 9, way 2 is class 4. 3 pixels of way 1 are taken for way 2, 2 the other way."""
    confusion = [[[40, 1, 2], [5, 10, 3], [7, 2, 30]]]
    counts = class_counts(confusion, [[9, 4]], (4, 9))
    assert counts.tp.tolist() == [30, 10]
    assert counts.fp.tolist() == [2 + 3, 1 + 2]
    assert counts.fn.tolist() == [7 + 2, 5 + 3]
    assert class_iou(confusion, [[9, 4]], (4, 9)).tolist() == [30 / 44, 10 / 21]
    # Confusing two ways is no error of the binary score: foreground 10 + 3 + 2 + 30.
    assert binary_iou(confusion) == pytest.approx((45 / 60 + 40 / 55) / 2, abs=1e-15)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_class_iou_equals_pixels_pooled_one_by_one(seed: int, ways: int) -> None:
    episodes = random_episodes(seed, ways)
    expected = [pooled_iou(*episodes, class_id=c) for c in NOVEL]
    assert class_iou(episodes.confusion, episodes.classes, NOVEL).tolist() == expected
    assert mean_iou(episodes.confusion, episodes.classes, NOVEL) == pytest.approx(sum(expected) / 3, abs=1e-15)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_binary_iou_equals_pixels_pooled_one_by_one(seed: int, ways: int) -> None:
    episodes = random_episodes(seed, ways)
    both, either = [0, 0], [0, 0]
    for label, prediction in zip(episodes.labels, episodes.predictions, strict=True):
        for true, predicted in zip(label.ravel().tolist(), prediction.ravel().tolist(), strict=True):
            if true != 255:
                for side in (0, 1):
                    both[side] += (true > 0) == (predicted > 0) == bool(side)
                    either[side] += (true > 0) == bool(side) or (predicted > 0) == bool(side)
    assert binary_iou(episodes.confusion) == pytest.approx((both[0] / either[0] + both[1] / either[1]) / 2, abs=1e-15)


@pytest.mark.parametrize("ways", [1, 2, 3])
def test_scores_equal_torchmetrics(ways: int) -> None:
    """Jaccard over label values: each way is written as its class; other classes' episodes have none of it."""
    episodes = random_episodes(5, ways, count=30)
    per_class = JaccardIndex(task="multiclass", num_classes=10, ignore_index=255, average="none")
    binary = JaccardIndex(task="multiclass", num_classes=2, ignore_index=255, average="macro")
    for label, prediction, classes in zip(*episodes, strict=True):
        values = np.zeros(256, np.int64)
        values[1 : ways + 1], values[255] = classes, 255
        per_class.update(torch.from_numpy(values[prediction]), torch.from_numpy(values[label]))
        sides = np.where(label == 255, 255, label > 0)
        binary.update(torch.from_numpy((prediction > 0).astype(np.int64)), torch.from_numpy(sides))
    expected = per_class.compute()[list(NOVEL)].numpy()
    np.testing.assert_allclose(class_iou(episodes.confusion, episodes.classes, NOVEL), expected, atol=1e-6)
    assert binary_iou(episodes.confusion) == pytest.approx(float(binary.compute()), abs=1e-6)


def test_counts_are_summed_before_anything_is_divided() -> None:
    """A mean over images would be 0.5 here; the pooled IoU is that of the large image."""
    confusion = [[[0, 0], [999, 0]], [[0, 0], [0, 1]]]
    assert mean_iou(confusion, [[4], [4]], [4]) == 1 / 1000


def test_the_order_of_episodes_and_classes_does_not_matter() -> None:
    episodes = random_episodes(1, 2)
    turned = episodes.confusion[::-1], episodes.classes[::-1]
    plain = class_iou(episodes.confusion, episodes.classes, NOVEL)
    assert class_iou(*turned, NOVEL[::-1]).tolist() == plain[::-1].tolist()


def test_counts_beyond_32_bits_are_exact() -> None:
    confusion = np.full((3, 2, 2), 2**40 + 1, np.int64)
    assert class_counts(confusion, [[4]] * 3, [4]).tp.tolist() == [3 * 2**40 + 3]
    small = np.full((3, 2, 2), 2**31 - 1, np.int32)
    assert class_counts(small, [[4]] * 3, [4]).fn.tolist() == [3 * (2**31 - 1)]


def test_a_perfect_and_a_wrong_prediction() -> None:
    label = np.array([[0, 1], [1, 255]])
    assert mean_iou([confusion_of(label, label * (label != 255), 1)], [[4]], [4]) == 1.0
    assert mean_iou([confusion_of(label, 1 - (label == 1), 1)], [[4]], [4]) == 0.0
    assert binary_iou([confusion_of(label, 1 - (label == 1), 1)]) == 0.0


# What has no score


def test_a_class_without_an_episode_is_an_error() -> None:
    confusion = np.ones((2, 2, 2), np.int64)
    for score in (class_iou, mean_iou):
        with pytest.raises(UserError, match="no episode of class 7, 9; evaluate more"):
            score(confusion, [[4], [4]], NOVEL)
    assert class_counts(confusion, [[4], [4]], NOVEL).tp.tolist() == [2, 0, 0]


def test_a_class_without_a_pixel_is_an_error() -> None:
    confusion = [[[5, 0], [0, 0]], [[5, 1], [1, 1]]]
    with pytest.raises(UserError, match="no pixel is labelled or predicted as class 4;"):
        mean_iou(confusion, [[4], [7]], [4, 7])


@pytest.mark.parametrize("confusion", [[[[5, 0], [0, 0]]], [[[0, 0], [0, 5]]]])
def test_a_side_without_a_pixel_is_an_error(confusion: list[list[list[int]]]) -> None:
    with pytest.raises(UserError, match="foreground or background has no pixel"):
        binary_iou(confusion)


@pytest.mark.parametrize(
    ("confusion", "classes", "novel", "message"),
    [
        (np.ones((2, 2, 3), np.int64), [[4], [4]], [4], r"shape \(E, N\+1, N\+1\); found \(2, 2, 3\)"),
        (np.ones((2, 2), np.int64), [[4], [4]], [4], "shape"),
        (np.ones((2, 1, 1), np.int64), [[], []], [4], "shape"),
        (np.ones((2, 2, 2)), [[4], [4]], [4], "counts must be integers; found float64"),
        (np.ones((2, 2, 2), np.int64), [[4]], [4], r"classes \(1, 1\) do not fit counts \(2, 2, 2\)"),
        (np.ones((2, 2, 2), np.int64), [[4, 7], [7, 4]], [4, 7], r"classes \(2, 2\) do not fit"),
        (np.ones((2, 2, 2), np.int64), [[4], [5]], [4], r"classes \[5\] are not among the held-out classes \[4\]"),
        (np.ones((2, 2, 2), np.int64), [[4], [4]], [4, 4], r"held-out classes \[4, 4\] are not distinct"),
    ],
)
def test_arguments_that_do_not_fit(
    confusion: npt.NDArray[np.int64], classes: list[list[int]], novel: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        mean_iou(confusion, classes, novel)


@pytest.mark.parametrize("confusion", [np.ones((2, 2, 3), np.int64), np.ones((2, 2, 2))])
def test_binary_arguments_that_do_not_fit(confusion: npt.NDArray[np.int64]) -> None:
    with pytest.raises(ValueError, match="counts must"):
        binary_iou(confusion)


def test_single_episodes_by_hand() -> None:
    one_way = [[[60, 10], [10, 20]], [[100, 0], [0, 0]], [[0, 50], [50, 0]], [[0, 0], [0, 7]]]
    assert episode_ious(one_way).tolist() == [20 / 40, 0.0, 0.0, 1.0]
    two_ways = [[[50, 1, 2], [3, 10, 4], [5, 6, 19]]]  # a confusion between ways is still foreground
    assert episode_ious(two_ways).tolist() == [(10 + 4 + 6 + 19) / (10 + 4 + 6 + 19 + 1 + 2 + 3 + 5)]


def test_by_hand() -> None:
    assert constant_loss([50, 50]) == pytest.approx(math.log(2))
    assert constant_loss([75, 25]) == pytest.approx(0.5623351446188083)  # 3/4 log 4/3 + 1/4 log 4
    assert constant_loss([2, 1, 1]) == pytest.approx(1.5 * math.log(2))  # 2-way
    assert constant_loss([[50, 0], [25, 25]]) == pytest.approx(0.5623351446188083)  # pooled, not averaged
    assert constant_loss([10, 0]) == 0.0
    assert constant_loss([0, 0]) == 0.0


@pytest.mark.parametrize("labels", [2, 4])
def test_no_constant_logits_do_better(labels: int) -> None:
    generator = torch.Generator().manual_seed(labels)
    truth = (torch.rand(2, 13, 17, generator=generator) ** 3 * labels).long()
    truth[0, :4] = 255
    logits = torch.zeros(labels, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=200)

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(logits[None, :, None, None].expand(2, -1, 13, 17), truth, ignore_index=255)
        value.backward()
        return value

    optimiser.step(loss)
    counts = [int((truth == label).sum()) for label in range(labels)]
    assert constant_loss(counts) == pytest.approx(loss().item(), abs=1e-5)


def test_each_step_under_the_constant_of_the_whole_training() -> None:
    counts = [[60, 40], [90, 10], [100, 0], [50, 50]]  # together 300 to 100
    expected = [-(b * math.log(0.75) + f * math.log(0.25)) / 100 for b, f in counts]
    assert constant_losses(counts) == pytest.approx(expected)
    assert np.mean(constant_losses(counts)) == pytest.approx(constant_loss(counts))
    assert constant_losses([[5, 0], [7, 0]]) == pytest.approx([0, 0])
    assert constant_losses([[0, 0], [3, 1]]) == pytest.approx([0, 0.5623351446188083])
