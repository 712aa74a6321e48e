"""What is put in an order, over which folds, and what is known of each two: against ``compare``."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from fsseg_bench.protocol.significance import holm
from fsseg_bench.report.collect import Collection, find_runs
from fsseg_bench.report.compare import compare
from fsseg_bench.report.html import pairs
from fsseg_bench.report.html.runs import groups
from fsseg_bench.report.html.sentences import about, certainty, sentence
from fsseg_bench.report.html.standing import Contest, contests
from fsseg_bench.report.select import select
from fsseg_bench.report.table import runs_tables
from tests.support.pairs import pair, write_fold, write_pair
from tests.support.runs import write_run


def found(root: Path, **how: object) -> tuple[list[Contest], Collection]:
    collection = find_runs(root, **how)  # type: ignore[arg-type]
    return contests(groups(collection), collection, "mean", None), collection


def three(root: Path, **changes: object) -> None:
    """baseline, biopt and panet on four folds."""
    write_pair(root, images=8, **changes)
    for fold in (1, 2, 3, 4):
        write_fold(root, pair(fold, sizes=(12, 9), noise=7)[1], fold, images=8, method="panet", **changes)


def test_order_scores_and_intervals_are_those_of_the_table(tmp_path: Path):
    three(tmp_path)
    (contest,), collection = found(tmp_path)
    (table,) = runs_tables(collection)
    place = next(i for i, column in enumerate(table.columns) if column.head[-1] == "mean")
    cells = {row[0].text: row[place] for row in table.rows}
    for own in contest.standings:
        cell = cells[own.entrant.method]
        assert (own.value, own.low, own.high) == pytest.approx((cell.value, cell.low, cell.high), rel=1e-12)
    values = [own.value for own in contest.standings]
    assert values == sorted(values, reverse=True)
    assert (contest.title, contest.folds, contest.every) == ("toy, 1-way, 1-shot, resnet18", (1, 2, 3, 4), (1, 2, 3, 4))


def test_differences_are_those_of_compare_and_corrected_for_all_pairs(tmp_path: Path):
    three(tmp_path)
    (contest,), _ = found(tmp_path)
    ps = []
    for a, b in combinations(range(3), 2):
        own = contest.pairs[a, b].found.difference
        whole = compare(select([contest.name(b), contest.name(a)], tmp_path, {}).contenders)
        expected = whole.versus[0].overall["mean"].difference
        assert (own.value, own.low, own.high, own.p) == pytest.approx(
            (expected.value, expected.low, expected.high, expected.p), rel=1e-9
        )
        assert own.value >= 0, "the better one first"
        ps.append(expected.p)
    assert contest.family == 3
    assert [own.found.p_holm for own in contest.pairs.values()] == pytest.approx(holm(ps), rel=1e-9)


def test_of_many_rows_the_best_with_all_and_each_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    three(tmp_path)
    for fold in (1, 2, 3, 4):
        write_fold(tmp_path, pair(fold, sizes=(12, 9), noise=3)[0], fold, images=8, method="ppnet")
    (every,), _ = found(tmp_path)
    monkeypatch.setattr(pairs, "_ALL_PAIRS", 3)
    (some,), _ = found(tmp_path)
    assert list(some.pairs) == [(0, 1), (0, 2), (0, 3), (1, 2), (2, 3)]
    assert some.family == 6
    for key, own in some.pairs.items():
        assert own.found.difference == every.pairs[key].found.difference
        assert own.found.p_holm >= every.pairs[key].found.p_holm - 1e-12, "never less strict than with all pairs"


def test_trainings_that_differ_in_the_seed_are_one_entrant(tmp_path: Path):
    write_pair(tmp_path, images=8)
    for fold in (1, 2, 3, 4):
        for side, method in zip(pair(fold, sizes=(12, 9), noise=5), ("baseline", "biopt"), strict=True):
            write_fold(tmp_path, side, fold, images=8, method=method, seed=1)
    (contest,), _ = found(tmp_path)
    assert [contest.name(i) for i in (0, 1)] == ["biopt", "baseline"]
    best = contest.standings[0]
    runs = best.entrant.folds
    assert best.entrant.seeds == [0, 1]
    expected = [100 * sum(runs[fold][i].score("mean", "input") for fold in runs) / 4 for i in (0, 1)]
    assert best.trainings == pytest.approx(expected)
    assert best.value == pytest.approx(sum(expected) / 2)
    assert best.low is not None
    assert best.low < best.value < best.high
    whole = compare(select(["baseline", "biopt"], tmp_path, {}).contenders).versus[0].overall["mean"].difference
    own = contest.pairs[0, 1].found.difference
    assert (own.value, own.low, own.high, own.p) == pytest.approx(
        (whole.value, whole.low, whole.high, whole.p), rel=1e-9
    )


def test_one_with_three_trainings_and_one_with_one_are_paired(tmp_path: Path):
    write_pair(tmp_path, images=8)
    for fold in (1, 2, 3, 4):
        write_fold(tmp_path, pair(fold, sizes=(12, 9), noise=5)[1], fold, images=8, method="biopt", seed=1)
    (contest,), _ = found(tmp_path)
    best, other = contest.standings
    assert (len(best.trainings), len(other.trainings)) == (2, 1)
    assert 100 * contest.pairs[0, 1].found.difference.value == pytest.approx(best.value - other.value)


def test_two_records_of_one_training_stay_apart(tmp_path: Path):
    write_run(tmp_path / "a", fold=1)
    write_run(tmp_path / "b", fold=1)
    (contest,), _ = found(tmp_path)
    assert len(contest.standings) == 2
    assert contest.name(0) != contest.name(1)


@pytest.mark.parametrize(
    ("have", "folds", "ranked"),
    [
        ({"a": (1, 2, 3, 4), "b": (1, 2, 3, 4), "c": (1, 2)}, (1, 2, 3, 4), {"a", "b"}),
        ({"a": (1, 2, 3, 4), "b": (1, 2), "c": (2,)}, (2,), {"a", "b", "c"}),
        ({"a": (1, 2), "b": (2, 3)}, (2,), {"a", "b"}),
        ({"a": (1, 2), "b": (1, 2), "c": (3, 4)}, (1, 2), {"a", "b"}),
        ({"a": (1, 3)}, (1, 3), {"a"}),
    ],
)
def test_over_which_folds(tmp_path: Path, have: dict[str, tuple[int, ...]], folds: tuple[int, ...], ranked: set[str]):
    for method, own in have.items():
        for fold in own:
            write_run(tmp_path, method=method, fold=fold, episode_digest=str(fold) * 64)
    (contest,), _ = found(tmp_path)
    assert contest.folds == folds
    assert {own.entrant.method for own in contest.standings} == ranked
    assert {text.partition(":")[0] for text in contest.left_out} == set(have) - ranked
    assert contest.every == (1, 2, 3, 4)


def test_backbones_apart_unless_nothing_could_be_compared(tmp_path: Path):
    for method, backbone in (("a", "resnet18"), ("b", "resnet18"), ("a", "resnet50")):
        write_run(tmp_path, method=method, backbone=backbone)
    several, alone = found(tmp_path)[0]
    assert [several.title, alone.title] == ["toy, 1-way, 1-shot, resnet18", "toy, 1-way, 1-shot, resnet50"]
    assert (len(several.standings), len(alone.standings)) == (2, 1)


def test_methods_with_a_backbone_each(tmp_path: Path):
    for method, backbone in (("a", "resnet18"), ("b", "resnet50")):
        write_run(tmp_path, method=method, backbone=backbone)
    ((contest,), _) = found(tmp_path)
    assert contest.title == "toy, 1-way, 1-shot, several backbones"
    assert {contest.name(i) for i in (0, 1)} == {"a on resnet18", "b on resnet50"}


def test_other_episodes_or_images_are_not_put_in_one_order(tmp_path: Path):
    write_run(tmp_path, method="a")
    write_run(tmp_path, method="b")
    write_run(tmp_path, method="c", data_fingerprint="0" * 64)
    write_run(tmp_path, method="d", episode_digest="0" * 64)
    assert [{s.entrant.method for s in contest.standings} for contest in found(tmp_path)[0]] == [
        {"a", "b"},
        {"c"},
        {"d"},
    ]


def test_images_that_are_not_known_or_not_wanted(tmp_path: Path):
    write_pair(tmp_path / "unknown")
    (contest,), _ = found(tmp_path / "unknown")
    assert not contest.over_images
    write_pair(tmp_path / "known", images=8)
    (contest,), _ = found(tmp_path / "known", interval="episodes")
    assert not contest.over_images
    contenders = select(["baseline", "biopt"], tmp_path / "known", {}).contenders
    whole = compare(contenders, interval="episodes", resamples=2000).versus[0].overall["mean"].difference
    own = contest.pairs[0, 1].found.difference
    assert own == whole


def test_two_that_count_alike(tmp_path: Path):
    for fold in (1, 2, 3, 4):
        for method in ("baseline", "biopt"):
            write_fold(tmp_path, pair(fold, sizes=(12, 9))[0], fold, images=8, method=method)
    (contest,), _ = found(tmp_path)
    assert sentence(contest, contest.pairs[0, 1]) == "baseline and biopt have the same counts in every episode."


def shown(own: pairs.Pair) -> pairs.Pair:
    """The pair with a difference that is shown."""
    difference = replace(own.found.difference, low=0.01, high=0.02)
    return own._replace(found=replace(own.found, difference=difference, p_holm=0.0))


def test_over_episodes_alone_the_first_rows_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    three(tmp_path)
    monkeypatch.setattr(pairs, "_MOST_BY_EPISODES", 2)
    (contest,), _ = found(tmp_path, interval="episodes")
    assert (list(contest.pairs), contest.compared, contest.family) == ([(0, 1)], 2, 1)
    assert "Of 3 rows the first 2 are compared." in about(contest)
    assert contest.name(2) not in certainty(contest)[1]
    sure = {place: shown(own) for place, own in contest.pairs.items()}
    assert "goes among the first 2 rows: the difference is too large" in certainty(replace(contest, pairs=sure))[1]


def test_states(tmp_path: Path):
    three(tmp_path)
    (contest,), _ = found(tmp_path)
    for own in contest.pairs.values():
        d = own.found.difference
        holds = d.low <= 0 <= d.high
        assert own.state == ("open" if holds else "shown" if own.found.p_holm < 0.05 else "corrected")
