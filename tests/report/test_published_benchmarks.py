"""The published numbers of other benchmarks against figures typed by hand from their sources' lists."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from fsseg_bench.protocol.find import builtin_protocols
from fsseg_bench.report.blocks import Measured
from fsseg_bench.report.find_papers import papers
from fsseg_bench.report.paper import paper_table
from fsseg_bench.report.papers import Paper, PaperTable
from fsseg_bench.seen import NOTHING_KNOWN
from tests.support.paper import NOTHING

BY_NAME = {paper.name: paper for paper in papers()}
OTHER, GENERALISED = BY_NAME["benchmarks"], BY_NAME["generalised"]

# Folds, then the mean, typed from the sources: protocol, method, shot.
FOLDS = {
    ("lvis92i-1shot", "Matcher", 1): "31.38 30.86 33.66 38.09 30.46 32.47 35.89 34.22 33.02 29.65 32.97",
    ("lvis92i-5shot", "Matcher", 5): "37.00 36.58 47.27 39.13 37.05 41.78 42.68 37.70 37.88 43.29 40.04",
    ("lvis92i-1shot", "SANSA", 1): "50.1 47.8 51.4 51.6 46.9 49.1 51.2 51.6 48.8 47.4 49.6",
    ("pascal-part", "Matcher", 1): "37.11 56.29 32.44 45.74 42.90",
    ("pascal-part", "GF-SAM", 1): "33.17 59.60 35.19 50.06 44.51",
    ("paco-part", "Matcher", 1): "32.69 35.61 36.47 34.10 34.72",
    ("paco-part", "GF-SAM", 1): "33.43 34.86 39.68 37.04 36.25",
    ("isaid5i", "GF-SAM", 1): "53.36 36.84 51.16 47.12",
    ("isaid5i", "GF-SAM", 5): "59.33 39.88 58.02 52.41",
}
# Mean and binary-IoU over folds.
MEANS = {
    ("fss1000-hsnet", "Matcher", 1): ("87.12", "91.64"),
    ("fss1000-hsnet", "Matcher", 5): ("89.61", "93.33"),
    ("fss1000-hsnet", "GF-SAM", 1): ("88.04", "92.16"),
    ("fss1000-hsnet", "GF-SAM", 5): ("88.94", "92.90"),
    ("lvis92i-1shot", "Matcher", 1): ("32.97", "66.24"),
    ("lvis92i-5shot", "Matcher", 5): ("40.04", "70.64"),
    ("lvis92i-1shot", "GF-SAM", 1): ("35.17", "66.89"),
    ("lvis92i-5shot", "GF-SAM", 5): ("44.16", "73.46"),
    ("deepglobe", "GF-SAM", 1): ("49.54", "51.47"),
    ("deepglobe", "GF-SAM", 5): ("57.68", "56.95"),
    ("isic2018", "GF-SAM", 5): ("55.23", "68.91"),
}
# Base, novel and the headline of each source, typed from their pages: protocol, shot.
HEADLINES = {
    ("pascal5i-diam", 1): "70.89 35.11 53.00",
    ("pascal5i-diam", 5): "70.85 55.31 63.08",
    ("coco20i-diam", 1): "48.28 17.22 32.75",
    ("coco20i-diam", 5): "48.37 28.73 38.55",
    ("pascal10i-diam", 1): "70.26 31.29 50.77",
    ("pascal10i-diam", 5): "70.25 51.89 61.07",
    ("pascal5i-pop", 1): "73.81 36.74 64.98",
    ("pascal5i-pop", 5): "74.74 56.55 70.41",
    ("pascal5i-pop", 10): "75.15 60.06 71.56",
    ("coco20i-pop", 1): "54.24 23.89 46.75",
    ("coco20i-pop", 5): "54.59 36.77 50.19",
    ("coco20i-pop", 10): "54.62 38.91 50.74",
}


def texts(paper: Paper, method: str = "", **wanted: object) -> list[str]:
    return [
        n.text
        for n in paper.numbers
        if n.method.startswith(method) and all(getattr(n, key) == value for key, value in wanted.items())
    ]


def table(paper: Paper, name: str) -> PaperTable:
    return next(table for table in paper.tables if table.name == name)


def test_every_number_is_counted() -> None:
    assert Counter(n.protocol for n in OTHER.numbers) == {
        "fss1000-hsnet": 22, "lvis92i-1shot": 57, "lvis92i-5shot": 45, "pascal-part": 22, "paco-part": 22,
        "isaid5i": 17, "isaid5i-dmnet": 2, "deepglobe": 9, "isic2018": 10, "chestx-566": 5, "chestx-704": 1,
        "fss1000-cdfss": 3, "fss1000-cdfss-validation": 2,
        "suim": 2, "perseg": 3, "permis": 1,
    }  # fmt: skip
    assert Counter(n.protocol for n in GENERALISED.numbers) == {
        "gfss-pascal5i-diam": 30, "gfss-coco20i-diam": 30, "gfss-pascal10i-diam": 18,
        "gfss-pascal5i-pop": 9, "gfss-coco20i-pop": 9,
    }  # fmt: skip


def test_every_number_is_in_a_table_but_those_of_unstated_shots() -> None:
    shown = {n.where for paper in (OTHER, GENERALISED) for t in paper.tables for n in t.numbers}
    left = {(n.method, n.shot) for paper in (OTHER, GENERALISED) for n in paper.numbers if n.where not in shown}
    assert left == {("ABCDFSS", None)}


@pytest.mark.parametrize("key", FOLDS)
def test_folds_and_their_mean(key: tuple[str, str, int]) -> None:
    protocol, method, shot = key
    method = {"SANSA": "SANSA (strict"}.get(method, method)
    assert texts(OTHER, method, protocol=protocol, shot=shot, metric="mean") == FOLDS[key].split()


@pytest.mark.parametrize("key", MEANS)
def test_means(key: tuple[str, str, int]) -> None:
    protocol, method, shot = key
    found = (texts(OTHER, method, protocol=protocol, shot=shot, fold="mean", metric=m) for m in ("mean", "binary"))
    assert [*map(tuple, found)] == [(text,) for text in MEANS[key]]


@pytest.mark.parametrize("key", HEADLINES)
def test_generalised(key: tuple[str, int]) -> None:
    name, shot = key
    own = [n for n in GENERALISED.numbers if (n.protocol, n.shot, n.fold) == (f"gfss-{name}", shot, "mean")]
    headline = "mean of base and novel" if "diam" in name else "mean over all classes"
    assert [n.metric for n in own] == ["base", "novel", headline]
    assert [n.text for n in own] == HEADLINES[key].split()


def test_the_two_headlines_are_what_their_names_say() -> None:
    """POP: 16 classes with the background and 5 novel ones, or 61 and 20. DIaM: half and half, in every fold."""
    for name, base, novel in (("pascal5i", 16, 5), ("coco20i", 61, 20)):
        for shot in (1, 5, 10):
            b, n, printed = map(Fraction, HEADLINES[f"{name}-pop", shot].split())
            assert abs((base * b + novel * n) / (base + novel) - printed) <= Fraction("0.011")
    b, n, _ = map(Fraction, HEADLINES["pascal5i-pop", 1].split())
    assert round(float((b + n) / 2), 2) in {55.27, 55.28}
    cells: dict[tuple[object, ...], dict[str, Fraction]] = {}
    for number in GENERALISED.numbers:
        if number.method == "DIaM":
            cells.setdefault((number.protocol, number.shot, number.fold), {})[number.metric] = Fraction(number.text)
    assert len(cells) == 26
    for cell in cells.values():
        assert abs((cell["base"] + cell["novel"]) / 2 - cell["mean of base and novel"]) <= Fraction("0.011")
    assert "mean over all classes" not in {key for cell in cells.values() for key in cell}


def test_what_ifa_prints_as_miou_is_binary_iou_and_says_so() -> None:
    own = [n for n in OTHER.numbers if n.method == "IFA"]
    assert [n.text for n in own] == ["50.6", "58.8", "66.3", "69.8", "74.0", "74.6", "80.1", "82.4"]
    assert [n.metric for n in own] == ["binary"] * 4 + ["mean"] * 2 + ["binary"] * 2  # one class: both are one
    assert all(n.note.startswith("printed as mIoU") for n in own)
    assert all("45.78" in n.note for n in own if n.metric == "binary")
    assert all("validation classes" in n.note for n in own if n.protocol == "fss1000-cdfss-validation")


def test_what_is_not_comparable_says_why() -> None:
    words = {
        "lvis92i-1shot": "68 a fold",
        "lvis92i-5shot": "68 classes, others than the 92",
        "parts": "cropped to the true box",
        "isaid5i": "are not comparable",
        "domains": "5,666, 9,174 or 20,542",
    }
    for name, text in words.items():
        assert any(text in remark for remark in paper_table(table(OTHER, name), NOTHING, Measured(NOTHING)).remarks)
    recalled = {n.method for n in OTHER.numbers if n.source_kind == "recalled"}
    assert recalled == {"PATNet", "PerSAM", "PerSAM-F", "SegGPT"}
    assert all("not comparable" in n.note for n in OTHER.numbers if "generalist" in n.method or n.method == "DMNet")
    assert all("base with" in n.note for n in GENERALISED.numbers)


def test_what_was_seen_is_said_of_every_row() -> None:
    for paper in (OTHER, GENERALISED):
        assert set(paper.seen) == {(n.method, n.backbone) for n in paper.numbers}
    known = {row[0]: printed.seen for row, printed in OTHER.seen.items()}
    assert {name for name, seen in known.items() if seen.novel_classes == "by masks"} == {
        "SANSA (generalist; trained on COCO+ADE20K+LVIS+PACO)"
    }
    assert known["PATNet"] == NOTHING_KNOWN
    assert GENERALISED.seen["DIaM", "ResNet-50 + PSPNet"].seen.transductive == "own query"


def test_one_fold_has_one_column_and_ten_have_eleven() -> None:
    heads = {
        name: list(
            dict.fromkeys(c.head[:2] for c in paper_table(table(OTHER, name), NOTHING, Measured(NOTHING)).columns[3:])
        )
        for name in ("fss1000", "lvis92i-5shot")
    }
    assert heads["fss1000"] == [("1-shot", "mean"), ("5-shot", "mean")]
    assert heads["lvis92i-5shot"] == [("5-shot", f"fold {f}") for f in range(1, 11)] + [("5-shot", "mean")]


def test_a_generalised_table_never_calls_both_headlines_by_one_name() -> None:
    two, total = (
        paper_table(table(GENERALISED, name), NOTHING, Measured(NOTHING)) for name in ("mean-of-two", "all-classes")
    )
    assert "mean of base and novel" in two.title and "mean over all classes" in total.title
    assert any(remark.startswith("Mean of base and novel: half") for remark in two.remarks)
    assert any(remark.startswith("Mean over all classes: of the IoU of background") for remark in total.remarks)
    assert {row[0].text for row in two.rows} == {f"gfss-{n}-diam" for n in ("pascal5i", "coco20i", "pascal10i")}


def test_lists_that_data_prepare_writes_are_taken_from_the_data_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers in print need no lists; measured ones stand beside them where the lists lie under the data root."""

    def references() -> PaperTable:
        return table(replace(OTHER), "references")  # a paper that has read nothing yet

    monkeypatch.delenv("FSSEG_DATA", raising=False)
    words = paper_table(references(), NOTHING, Measured(NOTHING)).remarks
    assert any(line.startswith("Nothing measured under perseg: --dataset perseg: its lists") for line in words)
    assert any(line.startswith("No protocol file of permis is here") for line in words)
    home = tmp_path / "perseg"
    home.mkdir()
    text = builtin_protocols()["pascal5i"].read_text(encoding="utf-8")
    (home / "protocol.toml").write_text(text.replace('"pascal5i"', '"perseg"'), encoding="utf-8")
    monkeypatch.setenv("FSSEG_DATA", str(tmp_path))
    (perseg,) = [protocol for protocol in references().rules if protocol.name == "perseg"]
    assert perseg.rules is not None and perseg.rules.classes[0] == "aeroplane"
