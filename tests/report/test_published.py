"""The published numbers against values typed in by hand from the papers' tables."""

from collections import Counter, defaultdict
from decimal import Decimal

import pytest

from fsseg_bench.protocol.find import builtin_protocols
from fsseg_bench.report.find_papers import papers
from fsseg_bench.report.published import PublishedNumber, mean_note

# Tables 1, 2 and 4 of the BiOpt paper: fold 1, 2, 3, 4, mean, typed from the paper.
TYPED = {
    ("1", "OSLSM", "VGG-16", "pascal5i", 1): "33.60 55.30 40.90 33.50 40.80",
    ("1", "PANet", "VGG-16", "pascal5i", 5): "51.80 64.60 59.80 46.50 55.70",
    ("1", "BiOpt", "VGG-16", "pascal5i", 1): "50.01 63.41 56.73 43.60 53.44",
    ("1", "BiOpt", "VGG-16", "pascal5i", 5): "56.27 65.65 63.15 49.42 58.62",
    ("1", "PPNet", "ResNet-50", "pascal5i", 5): "58.85 68.28 66.77 57.98 62.97",
    ("1", "BiOpt", "ResNet-50", "pascal5i", 1): "56.21 64.63 57.95 48.61 56.85",
    ("1", "BiOpt", "ResNet-50", "pascal5i", 5): "61.32 69.45 67.74 58.11 64.16",
    ("1", "DAN", "ResNet-101", "pascal5i", 1): "54.70 68.60 57.80 51.60 58.20",
    ("1", "BiOpt", "ResNet-101", "pascal5i", 1): "58.16 64.82 59.12 49.23 57.83",
    ("1", "BiOpt", "ResNet-101", "pascal5i", 5): "62.72 73.27 68.20 57.00 65.30",
    ("2", "PANet", "VGG-16", "coco20i-a", 1): "28.70 21.20 19.10 14.80 20.90",
    ("2", "BiOpt", "VGG-16", "coco20i-a", 1): "32.95 24.29 18.58 16.51 23.08",
    ("2", "BiOpt", "VGG-16", "coco20i-a", 5): "38.08 27.52 27.30 21.83 28.68",
    ("2", "BiOpt", "ResNet-50", "coco20i-a", 1): "38.63 29.61 23.52 23.62 28.85",
    ("2", "BiOpt", "ResNet-50", "coco20i-a", 5): "47.44 34.42 31.89 27.90 35.41",
    ("2", "BiOpt", "ResNet-101", "coco20i-a", 1): "41.55 29.83 25.30 24.74 30.36",
    ("2", "BiOpt", "ResNet-101", "coco20i-a", 5): "49.22 33.81 31.47 33.25 36.94",
    ("2", "RPMMs", "ResNet-50", "coco20i-b", 1): "29.53 36.82 28.94 27.02 30.58",
    ("2", "FWB", "ResNet-101", "coco20i-b", 5): "19.13 21.46 23.93 30.08 23.05",
    ("2", "BiOpt", "VGG-16", "coco20i-b", 1): "24.61 30.84 25.96 26.41 26.96",
    ("2", "BiOpt", "VGG-16", "coco20i-b", 5): "29.29 34.90 31.87 30.14 31.55",
    ("2", "BiOpt", "ResNet-50", "coco20i-b", 1): "32.23 36.05 32.00 32.33 33.15",
    ("2", "BiOpt", "ResNet-50", "coco20i-b", 5): "37.96 44.43 36.24 37.12 38.94",
    ("2", "BiOpt", "ResNet-101", "coco20i-b", 1): "34.28 38.50 34.75 30.76 34.57",
    ("2", "BiOpt", "ResNet-101", "coco20i-b", 5): "38.49 46.18 35.81 38.98 39.87",
    ("4", "baseline", "ResNet-50", "pascal5i", 1): "49.88 60.81 50.81 45.66 51.70",
    ("4", "InOpt†", "ResNet-50", "pascal5i", 1): "53.69 62.43 54.74 48.17 54.76",
    ("4", "InOpt", "ResNet-50", "pascal5i", 1): "56.21 64.63 57.95 48.61 56.85",
}

# Printed means that are not the mean of their folds up to rounding: printed, arithmetic.
DISAGREE = {
    ("FWB", "VGG-16", "pascal5i", 1): ("51.90", "51.865"),
    ("RPMMs", "ResNet-50", "pascal5i", 5): ("57.30", "57.285"),
    ("PANet", "VGG-16", "coco20i-a", 5): ("29.70", "29.6575"),
    ("FWB", "ResNet-101", "coco20i-b", 5): ("23.05", "23.65"),
    ("baseline", "ResNet-50", "pascal5i", 1): ("51.70", "51.79"),
    ("RePRI", "ResNet-101", "pascal5i", 1): ("59.4", "59.325"),
    ("RePRI", "ResNet-50", "coco20i-b", 1): ("34.0", "33.9"),
    ("SSP (HSNet protocol)", "ResNet-101", "coco20i-b", 5): ("50.2", "50.475"),
    ("PFENet", "ResNet-50", "pascal5i", 1): ("60.8", "60.725"),
}


PAPERS = {paper.name: paper for paper in papers()}
BIOPT, LATER = PAPERS["biopt"], PAPERS["later"]
NUMBERS = [*BIOPT.numbers, *LATER.numbers]


def texts(**wanted: object) -> list[str]:
    return [n.text for n in NUMBERS if all(getattr(n, key) == value for key, value in wanted.items())]


def rows_with_a_mean() -> list[tuple[PublishedNumber, list[PublishedNumber], int]]:
    """Each printed mean with the folds printed beside it, and how many folds its protocol has."""
    groups = defaultdict(list)
    for paper in PAPERS.values():
        for n in paper.numbers:
            row = n.source, n.table, n.method, n.backbone, n.protocol, n.way, n.shot, n.metric, n.multi_scale
            groups[len(paper.folds[n.protocol]), *row].append(n)
    return [
        (mean, [n for n in own if n.fold != "mean"], key[0])
        for key, own in groups.items()
        for mean in own
        if mean.fold == "mean"
    ]


def test_all_numbers_of_the_five_tables_are_there() -> None:
    assert Counter(n.table for n in NUMBERS) == {"1": 160, "2": 130, "3": 14, "4": 15, "5": 8, "": 312}


@pytest.mark.parametrize("key", TYPED)
def test_rows_typed_from_the_paper(key: tuple) -> None:
    table, method, backbone, protocol, shot = key
    found = texts(table=table, method=method, backbone=backbone, protocol=protocol, shot=shot, metric="mean", way=1)
    assert found == TYPED[key].split()


def test_insid3_as_its_authors_gave_it() -> None:
    assert texts(method="INSID3", shot=1) == ["57.1", "61.2", "55.8", "56.1", "57.6"]
    assert texts(method="INSID3", shot=5) == ["65.1"]


def test_binary_iou_typed_from_table_3() -> None:
    rows = {
        ("PANet", "VGG-16", "pascal5i"): ["66.50", "70.70"],
        ("CANet", "ResNet-50", "pascal5i"): ["66.20", "69.60"],
        ("PGNet", "ResNet-50", "pascal5i"): ["69.90", "70.50"],
        ("PPNet", "ResNet-50", "pascal5i"): ["69.19", "75.76"],
        ("BiOpt", "ResNet-50", "pascal5i"): ["70.74", "75.66"],
        ("BiOpt", "ResNet-50", "coco20i-a"): ["64.11", "66.40"],
        ("BiOpt", "ResNet-50", "coco20i-b"): ["66.52", "69.01"],
    }
    for (method, backbone, protocol), typed in rows.items():
        found = texts(table="3", method=method, backbone=backbone, protocol=protocol, metric="binary", fold="mean")
        assert found == typed


def test_scales_typed_from_table_5() -> None:
    typed = {
        ("no", "pascal5i"): ["56.04", "63.17"],
        ("yes", "pascal5i"): ["56.85", "64.16"],
        ("no", "coco20i-a"): ["28.76", "34.61"],
        ("yes", "coco20i-a"): ["28.85", "35.41"],
    }
    assert {key: texts(table="5", multi_scale=key[0], protocol=key[1]) for key in typed} == typed


def test_every_mean_is_recomputed_and_those_that_disagree_are_the_known_ones() -> None:
    checked, wrong = 0, {}
    for mean, folds, all_folds in rows_with_a_mean():
        assert len(folds) in {0, 1, all_folds}
        note = mean_note(mean, folds, all_folds)
        if len(folds) < max(all_folds, 1):
            assert note == ""
            continue
        checked += 1
        average = sum(Decimal(n.text) for n in folds) / len(folds)
        if note:
            wrong[mean.method, mean.backbone, mean.protocol, mean.shot] = (mean.text, str(average.normalize()))
            assert note == f"printed {mean.text}; its four folds average {average.normalize()}"
        else:
            assert abs(float(mean.text) - float(average)) <= 0.05 + 1e-9
    assert checked == 134
    assert wrong == DISAGREE


def test_what_a_source_says_stays_visible() -> None:
    kinds = Counter(n.source_kind for n in NUMBERS)
    assert kinds["paper table"] == 119
    assert kinds["paper table, quoted by BiOpt"] == 208
    assert all(n.source and n.source_kind and n.venue and n.year >= 2017 for n in NUMBERS)


def test_rows_without_a_stated_fold_layout_are_marked_and_enter_no_protocol() -> None:
    marked = [n for n in NUMBERS if "fold layout not stated" in n.note]
    assert len(marked) == 8
    assert {n.protocol for n in marked} == {"coco20i"}
    assert "coco20i" not in builtin_protocols()
    assert {n.protocol for n in NUMBERS} <= {*builtin_protocols(), *LATER.said.without_file}


def test_each_erratum_concerns_what_it_says() -> None:
    concerned = {
        erratum.text: {
            (n.method, n.backbone, n.protocol, n.shot, n.fold, n.text)
            for n in BIOPT.numbers
            if erratum.concerns(n, n.table)
        }
        for erratum in BIOPT.errata
        if not erratum.whole_table
    }
    by_words = {text.split(":")[0][:20]: found for text, found in concerned.items()}
    assert by_words["a misprint"] == {("FWB", "ResNet-101", "coco20i-b", 5, "mean", "23.05")}
    assert by_words["the gain of the whol"] == {("baseline", "ResNet-50", "pascal5i", 1, "mean", "51.70")}
    assert {n[-1] for n in by_words["PANet's VGG-16 value"]} == {"66.50", "70.70"}
    assert {n[-1] for n in by_words["not the first binary"]} == {"64.11", "66.40"}
    assert {n[-1] for n in by_words["the paper's text say"]} == {"63.17", "64.16"}
    assert {erratum.table for erratum in BIOPT.errata if erratum.whole_table} == {"1", "2", "5"}
