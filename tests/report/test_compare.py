"""What is compared with what, and the families that p-values are corrected in."""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.protocol.paired import PairedResult, paired_by_images
from fsseg_bench.protocol.paired_episodes import paired_by_episodes
from fsseg_bench.protocol.scoring import mean_iou
from fsseg_bench.protocol.significance import holm
from fsseg_bench.protocol.statistics import FoldCounts
from fsseg_bench.protocol.table import EpisodeTable
from fsseg_bench.report.compare import Comparison, compare
from fsseg_bench.report.select import select
from tests.support.pairs import pair, write_fold, write_pair
from tests.support.runs import write_run


def compared(root: Path, *texts: str, **options: Any) -> Comparison:
    found = select(texts or ("baseline", "biopt"), root, {})
    return compare(found.contenders, **{"resamples": 200, "interval": "episodes", **options})


def shows(found: Comparison, expected: PairedResult) -> None:
    (versus,) = found.versus
    for metric, scores in expected.scores.items():
        assert versus.overall[metric].difference == scores.overall
        assert [own.difference for own in versus.folds[metric]] == list(scores.folds)
    classes = [[own.difference for own in fold.values()] for fold in versus.classes]
    assert classes == [list(fold.values()) for fold in expected.classes]


def test_numbers_are_those_of_the_paired_statistics(tmp_path: Path):
    pairs = write_pair(tmp_path)
    found = compared(tmp_path, seed=3, level=0.9)
    expected = paired_by_episodes([[a] for a, _ in pairs], [[b] for _, b in pairs], resamples=200, seed=3, level=0.9)
    shows(found, expected)
    assert (found.folds, found.seeds, found.episodes) == ((1, 2, 3, 4), ((0,), (0,)), (21,) * 4)
    assert found.digests == tuple(str(f) * 64 for f in (1, 2, 3, 4))
    assert found.class_names[102] == "class 102"
    assert found.notes == ()


def test_the_default_is_over_images_and_episodes(tmp_path: Path):
    """Settled by digest: the table of one record serves all over the same episodes."""
    pairs = write_pair(tmp_path, images=31)
    for path in tmp_path.glob("toy/biopt*/*/*/episodes.csv"):
        path.unlink()
    found = compare(select(("baseline", "biopt"), tmp_path, {}).contenders, level=0.9)
    sides = [
        [
            [FoldCounts(side.confusion, images.classes, sorted({*images.classes[:, 0]}), images)]
            for side, images in zip(own, found.images, strict=True)
        ]
        for own in zip(*pairs, strict=True)
    ]
    shows(found, paired_by_images(*sides, level=0.9))
    assert found.interval == "images"
    assert [images.numbers.episodes for images in found.images] == [21] * 4
    assert not [note for note in found.notes if "not known" in note]


def test_a_fold_of_unknown_images_takes_all_to_episodes_and_it_says_so(tmp_path: Path):
    write_pair(tmp_path, (1,), images=31)
    write_pair(tmp_path, (2,))
    found = compare(select(("baseline", "biopt"), tmp_path, {}).contenders, resamples=100)
    assert found.interval == "episodes"
    assert "no record of fold 2 has an episodes.csv, so its images are not known: all intervals" in found.notes[0]
    assert compared(tmp_path).notes == found.notes[1:]


def test_few_images_are_in_the_notes(tmp_path: Path):
    write_pair(tmp_path, (3,), images=4)
    notes = compared(tmp_path).notes
    assert re.fullmatch(r"Not all episodes are different: \d+ of 21 \(fold 3\)\.", notes[0])
    assert "with under 30 test images of a class, as in 2 classes of fold 3 (4)." in notes[1]


def test_differences_without_a_p_value_are_in_no_family(tmp_path: Path):
    """Class 301 has one query image; the p-values of the others are corrected for one another alone."""
    table = EpisodeTable(
        tuple((c,) for c in (1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3)),
        ("a", "a", "a", *"bcde", *"fghi"),
        tuple(((s,),) for s in ("b", "c", "b", *"cdeb", *"ghif")),
    )
    a, b = pair(3, (3, 4, 4))
    for side, method in ((a, "baseline"), (b, "biopt")):
        write_run(
            tmp_path,
            [
                (row, cells.ravel().tolist())
                for row, cells in zip(table.classes, np.asarray(side.confusion), strict=True)
            ],
            table=table,
            method=method,
            novel=[1, 2, 3],
        )
    (versus,) = compare(select(("baseline", "biopt"), tmp_path, {}).contenders).versus
    first, second, third = versus.classes[0].values()
    assert first.p_holm is first.difference.p is None
    assert (second.p_holm, third.p_holm) == holm([second.difference.p, third.difference.p])
    assert versus.overall["mean"].p_holm is None


def test_the_resolution_is_the_protocols_unless_given(tmp_path: Path):
    (a, b), (c, d) = pair(0), pair(1)
    for method, at_input, at_native in (("baseline", a, c), ("biopt", b, d)):
        write_fold(tmp_path, at_input, 1, native=at_native, method=method, headline="native")
    own = compared(tmp_path)
    assert own.resolution == "native"
    assert own.versus[0].overall["mean"].difference.other == mean_iou(d.confusion, d.classes, d.novel)
    other = compared(tmp_path, resolution="input").versus[0].overall["mean"].difference
    assert other.other == mean_iou(b.confusion, b.classes, b.novel)


def test_holm_runs_over_methods_fold_by_fold_and_over_the_classes_of_a_method(tmp_path: Path):
    gains = {"baseline": 0.0, "good": 0.08, "better": 0.2, "same": 0.0}
    for fold in (1, 2):
        for i, (method, gain) in enumerate(gains.items()):
            write_fold(tmp_path, pair(fold, sizes=(12, 9), gain=gain, noise=i)[1], fold, method=method)
    found = compared(tmp_path, *gains)
    for metric in ("mean", "binary"):
        for select_own in (
            lambda v, m=metric: v.overall[m],
            lambda v, m=metric: v.folds[m][0],
            lambda v, m=metric: v.folds[m][1],
        ):
            own = [select_own(v) for v in found.versus]
            assert [o.p_holm for o in own] == list(holm([o.difference.p for o in own]))
    for versus in found.versus:
        own = [o for fold in versus.classes for o in fold.values()]
        assert len(own) == 4
        assert [o.p_holm for o in own] == list(holm([o.difference.p for o in own]))


def test_only_common_folds_are_compared_and_it_says_so(tmp_path: Path):
    write_pair(tmp_path, (1, 2))
    write_fold(tmp_path, pair(3)[0], 3, method="baseline")
    found = compared(tmp_path)
    assert found.folds == (1, 2)
    assert found.notes == ("baseline: fold 3 left out, since others lack it",)


def test_several_training_seeds_are_averaged_and_spread_apart(tmp_path: Path):
    sides: dict[str, list[float]] = {"baseline": [], "biopt": []}
    counts: dict[str, list[list[Any]]] = {"baseline": [[], []], "biopt": [[], []]}
    for seed in (0, 1, 5):
        scores: dict[str, list[float]] = {"baseline": [], "biopt": []}
        for fold in (1, 2):
            for method, side in zip(sides, pair(fold, sizes=(12, 9), noise=seed), strict=True):
                write_fold(tmp_path, side, fold, method=method, seed=seed)
                scores[method].append(mean_iou(side.confusion, side.classes, side.novel))
                counts[method][fold - 1].append(side)
        for method, own in scores.items():
            sides[method].append(statistics.fmean(own))
    write_fold(tmp_path, pair(1, sizes=(12, 9))[0], 1, method="baseline", seed=8)
    found = compared(tmp_path)
    assert found.seeds == ((0, 1, 5), (0, 1, 5))
    assert found.notes == ("baseline: training seed 8 left out, not common to all folds and methods",)
    spread = found.versus[0].seeds["mean"]
    for own, values in ((spread.baseline, sides["baseline"]), (spread.other, sides["biopt"])):
        assert own == pytest.approx((statistics.fmean(values), statistics.stdev(values), 3), abs=1e-12)
    differences = [b - a for a, b in zip(sides["baseline"], sides["biopt"], strict=True)]
    assert spread.difference == pytest.approx(
        (statistics.fmean(differences), statistics.stdev(differences), 3), abs=1e-12
    )
    expected = paired_by_episodes(counts["baseline"], counts["biopt"], resamples=200)
    assert found.versus[0].overall["mean"].difference == expected.scores["mean"].overall


def test_one_seed_a_side_may_be_another_on_each(tmp_path: Path):
    a, b = pair(1, sizes=(12, 9))
    write_fold(tmp_path, a, 1, method="baseline", seed=0)
    write_fold(tmp_path, b, 1, method="biopt", seed=7)
    found = compared(tmp_path)
    assert found.seeds == ((0,), (7,))
    assert found.versus[0].seeds["mean"].difference is None


def test_settings_that_differ_beside_the_method_are_told(tmp_path: Path):
    a, b = pair(1, sizes=(12, 9))
    write_fold(tmp_path, a, 1, method="baseline")
    write_fold(tmp_path, b, 1, method="biopt", precision="bf16")
    assert compared(tmp_path).versus[0].differs == ('precision: "fp32" / "bf16"',)


# Refusals


@pytest.mark.parametrize(
    ("key", "what", "second"),
    [
        ("episode_digest", "episodes differ", "b" * 64),
        ("data_fingerprint", "data differ", "b" * 64),
        ("protocol_digest", "protocols differ", "b" * 64),
        ("evaluated_digest", "test images or masks differ", "b" * 64),
        ("evaluated_digest", "test images or masks differ", None),
    ],
)
def test_what_must_agree_is_refused_and_both_digests_named(tmp_path: Path, key: str, what: str, second: str | None):
    sides = zip(pair(1, sizes=(12, 9)), ("baseline", "biopt"), ("a" * 64, second), strict=True)
    folders = [write_fold(tmp_path, side, 1, method=method, **{key: digest}) for side, method, digest in sides]
    with pytest.raises(UserError, match=f"fold 1: {what}, so nothing can be paired") as error:
        compared(tmp_path)
    for part in (*map(str, folders), f"{key} {'a' * 64}", second or "not noted"):
        assert part in str(error.value)


def test_nothing_in_common(tmp_path: Path):
    (a, b), (c, d) = pair(1), pair(2)
    write_fold(tmp_path / "folds", a, 1, method="baseline")
    write_fold(tmp_path / "folds", b, 2, method="biopt")
    with pytest.raises(UserError, match=r"no fold was finished by all \(baseline: 1; biopt: 2\)"):
        compared(tmp_path / "folds")
    for seed in (0, 1):
        write_fold(tmp_path / "seeds", a, 1, method="baseline", seed=seed)
        write_fold(tmp_path / "seeds", b, 1, method="biopt", seed=seed + 2)
    with pytest.raises(UserError, match=r"no training seed is common to all \(baseline: 0, 1; biopt: 2, 3\)"):
        compared(tmp_path / "seeds")
    write_fold(tmp_path / "torn", a, 1, method="baseline", seed=0)
    write_fold(tmp_path / "torn", c, 2, method="baseline", seed=1)
    for fold, side in ((1, b), (2, d)):
        write_fold(tmp_path / "torn", side, fold, method="biopt")
    with pytest.raises(
        UserError, match=r"baseline: no training seed has all of the folds 1, 2 \(fold 1: 0; fold 2: 1\)"
    ):
        compared(tmp_path / "torn")


def test_one_contender_is_no_comparison(tmp_path: Path):
    write_pair(tmp_path, (1,))
    with pytest.raises(UserError, match="nothing to compare; name a baseline and at least one other"):
        compared(tmp_path, "baseline")


def test_an_edited_record_is_refused(tmp_path: Path):
    write_pair(tmp_path, (1,))
    (log,) = tmp_path.glob("toy/biopt*/*/*/episodes.jsonl")
    log.write_text(log.read_text().replace("1", "2", 1))
    with pytest.raises(UserError, match="changed since the run was done"):
        compared(tmp_path)


def test_further_images_of_one_method_are_no_obstacle(tmp_path: Path):
    a, b = pair(0)
    write_fold(tmp_path, a, 1, method="baseline", evaluated_digest="1" * 64)
    write_fold(tmp_path, b, 1, method="biopt", evaluated_digest="1" * 64, unlabelled_digest="3" * 64)
    (versus,) = compared(tmp_path).versus
    assert versus.differs == ()
