"""Scores of one confusion matrix against figures by hand and in print; draws of supports."""

import numpy as np
import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.generalised import Labels, draw_supports, intervals, iou, scores, terms_of
from fsseg_bench.protocol.load import load_protocol


def ring(places: range, right: int, wrong: int, matrix: np.ndarray) -> None:
    """Each label has ``right`` pixels right, and ``wrong`` that are taken for the next label of its ring."""
    for i, place in enumerate(places):
        matrix[place, place] = right
        matrix[place, places[(i + 1) % len(places)]] = wrong


def test_by_hand() -> None:
    """Rows are labels. Background 50/70; class 4 (base) 30/50; class 9 (novel) 10/30."""
    matrix = [[50, 5, 5], [5, 30, 5], [5, 5, 10]]
    labels = Labels((4, 9), (9,))
    assert iou(matrix) == pytest.approx([50 / 70, 30 / 50, 10 / 30])
    apart = scores(matrix, labels, background_in_base=False)
    assert apart == pytest.approx((0.6, 1 / 3, (0.6 + 1 / 3) / 2, (5 / 7 + 0.6 + 1 / 3) / 3))
    together = scores(matrix, labels, background_in_base=True)
    base = (5 / 7 + 0.6) / 2
    assert together == pytest.approx((base, 1 / 3, (base + 1 / 3) / 2, (5 / 7 + 0.6 + 1 / 3) / 3))


def test_the_two_headlines_of_pop_in_print() -> None:
    """Base 73.81 with the background (16), novel 36.74 (5): it prints 64.98; half and half would be 55.28."""
    matrix = np.zeros((21, 21), np.int64)
    ring(range(16), 2 * 7381, 2619, matrix)  # right / (right + 2 wrong) = 0.7381
    ring(range(16, 21), 2 * 3674, 6326, matrix)
    made = scores(matrix, Labels(tuple(range(1, 21)), (16, 17, 18, 19, 20)), background_in_base=True)
    assert made.base == pytest.approx(0.7381)
    assert made.novel == pytest.approx(0.3674)
    assert round(100 * made.mean_over_all_classes, 2) == 64.98
    assert 100 * made.mean_of_base_and_novel == pytest.approx(55.28, abs=0.0051)


def test_the_labels_of_novel_classes_are_found_among_all() -> None:
    """Fold in the middle: classes 2, 3, 5, 8 with 3 and 8 novel."""
    labels = Labels((2, 3, 5, 8), (3, 8))
    assert (labels.novel_places, labels.base_places, labels.size) == ((2, 4), (1, 3), 5)
    matrix = np.diag([10, 20, 30, 40, 50])
    matrix[2, 0] = 30  # half of class 3 is taken for background
    made = scores(matrix, labels, background_in_base=False)
    assert (made.base, made.novel) == (1.0, 0.75)
    assert made.mean_over_all_classes == pytest.approx((0.25 + 1 + 0.5 + 1 + 1) / 5)


def test_a_class_without_pixels_has_no_score() -> None:
    with pytest.raises(UserError, match=r"labelled or predicted as class 9"):
        scores([[5, 0, 0], [0, 5, 0], [0, 0, 0]], Labels((4, 9), (9,)), background_in_base=True)


def test_intervals_against_resampling_image_by_image() -> None:
    rng = np.random.default_rng(5)
    images = rng.integers(1, 100, (12, 3, 3)) + 200 * np.eye(3, dtype=np.int64) * rng.integers(0, 2, (12, 1, 1))
    labels = Labels((4, 9), (9,))
    made = intervals([terms_of(images)], labels, background_in_base=True)
    picked = [scores(images[rng.integers(0, 12, 12)].sum(axis=0), labels, background_in_base=True) for _ in range(2000)]
    for name in ("base", "novel", "mean_of_base_and_novel", "mean_over_all_classes"):
        low, high = np.quantile([getattr(one, name) for one in picked], [0.025, 0.975])
        assert made[name].low == pytest.approx(low, abs=0.02)
        assert made[name].high == pytest.approx(high, abs=0.02)
        assert high - low > 0.05
    same = intervals([terms_of(images[:1].repeat(6, axis=0))], labels, background_in_base=True)
    assert same["novel"].low == pytest.approx(same["novel"].high)


def test_supports_are_a_function_of_class_and_seed() -> None:
    images = {c: tuple(f"{c}_{i}" for i in range(9)) for c in (3, 7)}
    drawn = draw_supports(images, 5, 123)
    assert drawn == draw_supports(images, 5, 123)
    assert all(len(set(drawn[c])) == 5 and set(drawn[c]) <= set(images[c]) for c in images)
    assert drawn[7] == draw_supports({7: images[7]}, 5, 123)[7]
    assert drawn[7][:1] == draw_supports(images, 1, 123)[7]
    assert len({draw_supports(images, 5, seed)[3] for seed in range(20)}) > 15


def test_too_few_images_come_again_and_none_is_refused() -> None:
    drawn = draw_supports({3: ("a", "b")}, 5, 1)[3]
    assert drawn[:2] == drawn[2:4] and drawn[4] == drawn[0] and set(drawn) == {"a", "b"}
    with pytest.raises(UserError, match=r"no image can support class 8"):
        draw_supports({3: ("a",), 8: ()}, 1, 1)


@pytest.mark.parametrize("change", [{"scoring.background": "apart"}, {"scoring.overall": "mean-of-two"}])
def test_what_has_no_part_in_episodes_is_refused_there(change: dict[str, str]) -> None:
    ((key, value),) = change.items()
    with pytest.raises(UserError, match=f'{key} is "{value}"; it is for episodes.task "generalised" alone'):
        load_protocol("pascal5i", change)
    assert load_protocol("gfss-pascal5i-capl", change).overrides == change
