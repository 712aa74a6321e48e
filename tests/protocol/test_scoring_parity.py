"""Our counts and scores against the scoring code of four repositories, on the same predictions.

Each case says how a repository treats void and absent classes; the comparisons are made where, and in the way in
which, its convention agrees with ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.scoring import binary_iou, class_counts, class_iou, mean_iou
from tests.support.counting import confusion_of
from tests.support.golden import Golden, load

pytestmark = pytest.mark.real_data

Ints = npt.NDArray[np.int64]


class Case(NamedTuple):
    """A case's episodes, made again from their names."""

    golden: Golden
    drawn: list[int]
    """The fold's classes that have episodes."""
    classes: Ints
    """(40, N) label values."""
    labels: list[Ints]
    """255 is void."""
    predictions: list[Ints]

    @property
    def novel(self) -> list[int]:
        return list(self.golden.info["constants"]["fold_classes"])

    def confusion(self, void_is_background: bool = False) -> Ints:
        ways = self.classes.shape[1]
        labels = [np.where(la == 255, 0, la) for la in self.labels] if void_is_background else self.labels
        return np.stack([confusion_of(la, p, ways) for la, p in zip(labels, self.predictions, strict=True)])


@pytest.fixture(params=["metrics-1", "metrics-2"])
def golden(request: pytest.FixtureRequest, test_data: Path) -> Golden:
    return load(test_data / "golden", request.param)


@pytest.fixture
def one_way(golden: Golden) -> Case:
    sizes, drawn = _sizes(golden), _drawn(golden)
    chosen = golden.stream("class").randint(0, len(drawn), 40)
    labels, predictions = [], []
    for e, size in enumerate(sizes):
        label, prediction = _mask(golden, f"label{e}", size), _mask(golden, f"pred{e}", size)
        if e % 10 == 3:
            label[:] = 0
        if e % 10 == 7 or e == 13:
            prediction[:] = 0
        if e % 10 == 5:
            label[:] = 1
        if e % 2 == 0 or e % 10 == 5:
            label[_mask(golden, f"void{e}", size) == 1] = 255
        labels.append(label)
        predictions.append(prediction)
    return Case(golden, drawn, np.array(drawn)[chosen][:, None], labels, predictions)


@pytest.fixture
def two_way(golden: Golden) -> Case:
    sizes, drawn = _sizes(golden), _drawn(golden)
    first = golden.stream("class.2way").randint(0, len(drawn), 40)
    second = (first + 1 + golden.stream("other.2way").randint(0, len(drawn) - 1, 40)) % len(drawn)
    labels, predictions = [], []
    for e, size in enumerate(sizes):
        label, prediction = _mask(golden, f"label{e}.2way", size), _mask(golden, f"pred{e}.2way", size)
        label[_mask(golden, f"second{e}.2way", size) == 1] = 2
        prediction[_mask(golden, f"predsecond{e}.2way", size) == 1] = 2
        if e % 10 == 3:
            label[label == 2] = 0
        if e % 10 == 7:
            label[label == 1] = 0
        if e % 2 == 0:
            label[_mask(golden, f"void{e}.2way", size) == 1] = 255
        labels.append(label)
        predictions.append(prediction)
    return Case(golden, drawn, np.array(drawn)[np.stack([first, second], axis=1)], labels, predictions)


def _sizes(golden: Golden) -> list[tuple[int, int]]:
    constants = golden.info["constants"]
    sizes = golden.stream("size").randint(constants["size_lo"], constants["size_hi"], (40, 2))
    return [(int(h), int(w)) for h, w in sizes]


def _drawn(golden: Golden) -> list[int]:
    constants = golden.info["constants"]
    return [c for c in constants["fold_classes"] if c not in constants["never_drawn"]]


def _mask(golden: Golden, name: str, size: tuple[int, int]) -> Ints:
    return golden.value(name, size, "mask").astype(np.int64)


def _flat(confusion: Ints) -> Ints:
    """(E, 4): tp, fp, fn, tn of 1-way counts."""
    return np.stack([confusion[:, 1, 1], confusion[:, 0, 1], confusion[:, 1, 0], confusion[:, 0, 0]], axis=1)


def test_the_episodes_are_those_of_the_case(one_way: Case) -> None:
    stored = one_way.golden.stored
    assert one_way.classes[:, 0].tolist() == stored["episode.class_id"].tolist()
    assert [int((la == 255).sum()) for la in one_way.labels] == stored["episode.void_pixels"].tolist()
    assert _flat(one_way.confusion()).tolist() == stored["episode.counts"].tolist()


def test_counts_and_scores_of_this_rule(one_way: Case) -> None:
    confusion, stored = one_way.confusion(), one_way.golden.stored
    counts = class_counts(confusion, one_way.classes, one_way.novel)
    assert np.stack(counts, axis=1).tolist() == stored["ours.class_counts"][:, :3].tolist()
    iou = class_iou(confusion, one_way.classes, one_way.drawn)
    expected = stored["ours.class_iou"][[one_way.novel.index(c) for c in one_way.drawn]]
    np.testing.assert_allclose(iou, expected, atol=1e-6)
    mean = mean_iou(confusion, one_way.classes, one_way.drawn)
    one_way.golden.assert_close("ours.mean_iou", np.array([mean], np.float32))
    assert binary_iou(confusion) == pytest.approx(float(stored["ours.binary_iou"][2]), abs=1e-6)


def test_a_class_that_was_never_drawn_is_an_error(one_way: Case) -> None:
    absent = sorted(set(one_way.novel) - set(one_way.drawn))
    if absent:
        with pytest.raises(UserError, match=f"no episode of class {absent[0]}"):
            mean_iou(one_way.confusion(), one_way.classes, one_way.novel)
    else:
        assert 0 < mean_iou(one_way.confusion(), one_way.classes, one_way.novel) < 1


def test_hsnet(one_way: Case) -> None:
    """The same counts; its mean gives classes without episodes a 0."""
    confusion, stored = one_way.confusion(), one_way.golden.stored
    tp, fp, fn = class_counts(confusion, one_way.classes, one_way.novel)
    tn = np.array([confusion[one_way.classes[:, 0] == c, 0, 0].sum() for c in one_way.novel])
    assert np.stack([tn, tp]).tolist() == stored["hsnet.intersection"].tolist()
    assert np.stack([tn + fp + fn, tp + fp + fn]).tolist() == stored["hsnet.union"].tolist()
    mean = mean_iou(confusion, one_way.classes, one_way.drawn) * len(one_way.drawn) / len(one_way.novel)
    one_way.golden.assert_close("hsnet.mean_iou", np.array([100 * mean], np.float32))
    one_way.golden.assert_close("hsnet.fb_iou", np.array([100 * binary_iou(confusion)], np.float32))


def test_pfenet(one_way: Case) -> None:
    """The same counts; its mean gives classes without episodes a 0."""
    confusion, stored = one_way.confusion(), one_way.golden.stored
    tp, fp, fn = class_counts(confusion, one_way.classes, one_way.novel)
    assert tp.tolist() == stored["pfenet.intersection"].tolist()
    assert (tp + fp + fn).tolist() == stored["pfenet.union"].tolist()
    mean = mean_iou(confusion, one_way.classes, one_way.drawn) * len(one_way.drawn) / len(one_way.novel)
    one_way.golden.assert_close("pfenet.mean_iou", np.array([mean], np.float32))
    assert binary_iou(confusion) == pytest.approx(float(stored["pfenet.fb_iou"][2]), abs=1e-6)


def test_rpmms(one_way: Case) -> None:
    """It turns void into background before counting; on such labels the counts are the same."""
    confusion, stored = one_way.confusion(void_is_background=True), one_way.golden.stored
    tp, fp, fn = class_counts(confusion, one_way.classes, one_way.novel)
    assert tp.tolist() == stored["rpmms.tp"].tolist()
    assert (tp + fp + fn).tolist() == stored["rpmms.total"].tolist()
    mean = mean_iou(confusion, one_way.classes, one_way.drawn) * len(one_way.drawn) / len(one_way.novel)
    one_way.golden.assert_close("rpmms.mean_iou", np.array([mean], np.float32))


def test_panet(one_way: Case) -> None:
    """It forgets an episode's class, or its background, that the label does not show; else the counts agree."""
    confusion, stored = one_way.confusion(), one_way.golden.stored
    shown = [bool((la == 1).any()) for la in one_way.labels]
    backed = [bool((la == 0).any()) for la in one_way.labels]
    assert not all(shown)
    assert not all(backed)
    counts = class_counts(confusion[shown], one_way.classes[shown], one_way.novel)
    assert np.stack(counts, axis=1).tolist() == stored["panet.class_counts"][1:].tolist()
    tp, fp, fn, tn = _flat(confusion[backed]).sum(axis=0)
    assert [tn, fn, fp] == stored["panet.class_counts"][0].tolist()
    assert tp > 0


def test_panet_on_episodes_that_show_both_sides(one_way: Case) -> None:
    """Here every convention is ours, so PANet's scores can be built from our functions alone."""
    stored = one_way.golden.stored
    shown = [bool((la == 1).any()) for la in one_way.labels]
    iou = class_iou(one_way.confusion()[shown], one_way.classes[shown], one_way.drawn)
    expected = stored["panet.class_iou"][[one_way.novel.index(c) for c in one_way.drawn]]
    np.testing.assert_allclose(iou, expected, atol=1e-6)


def test_panet_two_way(two_way: Case) -> None:
    """Each way of each episode adds the same counts, where the label shows the way."""
    confusion, stored = two_way.confusion(), two_way.golden.stored
    assert two_way.classes.tolist() == stored["panet_2way.ways"].tolist()
    totals = np.zeros((len(two_way.novel), 3), np.int64)
    left_out = 0
    for e, label in enumerate(two_way.labels):
        counts = class_counts(confusion[e : e + 1], two_way.classes[e : e + 1], two_way.novel)
        for way in (1, 2):
            place = two_way.novel.index(two_way.classes[e, way - 1])
            if (label == way).any():
                totals[place] += [int(c[place]) for c in counts]
            else:
                left_out += 1
    assert left_out >= 8
    assert totals.tolist() == stored["panet_2way.class_counts"][1:].tolist()
