"""The answer in words."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.html.dots import Palette
from fsseg_bench.report.html.printed import Printed
from fsseg_bench.report.html.runs import groups
from fsseg_bench.report.html.standing import Contest, contests
from fsseg_bench.report.html.verdict import verdict_html
from tests.report.test_html_standing import three
from tests.support.page import HOSTILE, Page
from tests.support.pairs import pair, write_fold, write_pair
from tests.support.runs import write_run


def contest_of(root: Path) -> Contest:
    found = find_runs(root)
    return contests(groups(found), found, "mean", None)[0]


def said(contest: Contest, root: Path, **changes: bool) -> Page:
    return Page(verdict_html(contest, find_runs(root), "Title", "mean", {}, Palette(), **changes))


def moved(contest: Contest, **differences: tuple[float, float, float, float]) -> Contest:
    """The contest with other differences from the best: ``_1=(value, low, high, p_holm)``, in points."""
    pairs = dict(contest.pairs)
    for name, (value, low, high, p) in differences.items():
        own = pairs[0, int(name[1:])]
        d = replace(
            own.found.difference, baseline=0.3, other=0.3 + value / 100, low=low / 100, high=high / 100, p=p / 3
        )
        pairs[0, int(name[1:])] = own._replace(found=replace(own.found, difference=d, p_holm=p))
    return replace(contest, pairs=pairs)


def test_certain(tmp_path: Path):
    three(tmp_path)
    contest = moved(contest_of(tmp_path), _1=(5.6, 4.9, 6.3, 1e-9), _2=(9.25, 0.04, 10.5, 0.012))
    first, second, third = (contest.name(i) for i in range(3))
    page = said(contest, tmp_path)
    text = page.text
    assert f"Which is better? {first} , with {contest.standings[0].value:.1f} % mean-IoU." in text
    assert (
        "Is that certain? Yes , as far as the choice of test images goes: both differences are too large for chance "
        "(95 %, corrected for 3 comparisons)." in text
    )
    assert f"{first} is 5.6 points above {second}, 4.9 to 6.3; p < 0.001." in text
    assert f"{first} is 9.25 points above {third}, 0.04 to 10.50; p = 0.012." in text, "no end becomes 0"
    assert "Scores are of the mean over all 4 folds, with 21 episodes a fold." in text
    assert "their p-values corrected for all 3 pairs (Holm)" in text
    assert "Each was trained once" in text
    assert "style" not in {name for _, attrs in page.tags for name in attrs}


def test_in_part(tmp_path: Path):
    three(tmp_path)
    contest = moved(contest_of(tmp_path), _1=(0.5, -0.4, 1.4, 0.3), _2=(9.3, 8.1, 10.5, 0.0004))
    first, second, third = (contest.name(i) for i in range(3))
    text = said(contest, tmp_path).text
    assert f"Which is better? {first} is highest, with" in text
    assert f"In part. It is better than {third}; no difference from {second} is shown." in text
    assert f"No difference between {first} and {second} is shown: 0.5 points, −0.4 to 1.4; p = 0.3." in text
    assert f"{first} is 9.3 points above {third}, 8.1 to 10.5; p < 0.001." in text


def test_not_certain(tmp_path: Path):
    three(tmp_path)
    contest = moved(contest_of(tmp_path), _1=(0.5, -0.4, 1.4, 0.3), _2=(1.3, 0.1, 2.5, 0.09))
    first, second, third = (contest.name(i) for i in range(3))
    page = said(contest, tmp_path, folds=True, opened=False)
    assert f"No. No difference from {second} or {third} is shown." in page.text
    assert f"{first} is 1.3 points above {third}, 0.1 to 2.5; p = 0.03 alone, corrected p = 0.09." in page.text
    assert "not after correction" in page.text
    assert f"Title {first} not certain" in page.text, "beside the title that it is folded behind"
    assert "open" not in page.all("details")[0]


def test_two_are_not_corrected(tmp_path: Path):
    write_pair(tmp_path, images=8)
    contest = moved(contest_of(tmp_path), _1=(5.6, 4.9, 6.3, 0.001))
    text = said(contest, tmp_path).text
    assert "the difference is too large for chance (95 %)." in text
    assert "corrected" not in text


def test_one_alone(tmp_path: Path):
    write_run(tmp_path, fold=2)
    text = said(contest_of(tmp_path), tmp_path).text
    assert "Only baseline was measured here: 58.3 % mean-IoU. There is nothing to compare it with." in text
    assert "Scores are of fold 2 alone, with 2 episodes." in text


def test_marks_are_where_the_axis_says(tmp_path: Path):
    three(tmp_path)
    contest = contest_of(tmp_path)
    printed = {1: [Printed(50.0, "50.00", "Biopt 50.00 (a paper)")]}
    html = verdict_html(contest, find_runs(tmp_path), "T", "mean", printed, Palette())
    ranking = html.partition("Differences from the best")[0]
    axis = [(float(x), float(v)) for x, v in re.findall(r'<text x="([\d.]+)%"[^>]*>([\d.]+)</text>', ranking)]
    (x0, v0), (x1, v1) = axis[0], axis[-1]

    def value(x: str) -> float:
        return v0 + (float(x) - x0) * (v1 - v0) / (x1 - x0)

    dots = [value(x) for x in re.findall(r'<svg x="([\d.]+)%"', ranking)]
    bars = re.findall(r'class="bar s\d" x1="([\d.]+)%" x2="([\d.]+)%"', ranking)
    for own, dot, (low, high) in zip(contest.standings, dots, bars, strict=True):
        assert (dot, value(low), value(high)) == pytest.approx((own.value, own.low, own.high), abs=0.02)
    (tick,) = re.findall(r'class="tick" x1="([\d.]+)%"', ranking)
    assert value(tick) == pytest.approx(50.0, abs=0.02)
    assert "published: Biopt 50.00 (a paper)" in Page(html).text


def test_what_is_left_out_and_what_differs(tmp_path: Path):
    write_pair(tmp_path, images=8, recipe={"iterations": 100, "lr": 0.001})
    for fold in (1, 2):
        side = pair(fold, sizes=(12, 9))[1]
        write_fold(tmp_path, side, fold, images=8, method="panet", recipe={"iterations": 100, "lr": 0.001})
    for fold in (1, 2, 3, 4):
        side = pair(fold, sizes=(12, 9))[1]
        write_fold(tmp_path, side, fold, images=8, method="ppnet", recipe={"iterations": 100, "lr": 0.5})
    text = said(contest_of(tmp_path), tmp_path).text
    assert "Not ranked, since folds are missing: panet: fold 1, 2." in text
    assert "What else must be known" in text
    assert "ppnet 0.5" in text
    assert "What was seen differs: transductive (" in text
    assert "under 30 test images of a class" in text


def test_names_come_out_as_text(tmp_path: Path):
    write_run(tmp_path, method=HOSTILE, backbone=HOSTILE, protocol_label=HOSTILE)
    write_run(tmp_path, method="other", backbone=HOSTILE, protocol_label=HOSTILE)
    page = said(contest_of(tmp_path), tmp_path)
    assert page.all("script") == page.all("img") == []
    assert HOSTILE in page.text
