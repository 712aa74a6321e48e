"""Dot plots of classes, read back from the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.html import classes
from fsseg_bench.report.html.classes import classes_html
from fsseg_bench.report.html.dots import Palette
from fsseg_bench.report.table import class_tables
from tests.support.page import HOSTILE, Page
from tests.support.runs import SPREAD, write_run


def drawn(root: Path) -> str:
    return classes_html(class_tables(find_runs(root)), {}, Palette())


def test_marks_are_where_the_axis_says(tmp_path: Path):
    write_run(tmp_path, SPREAD, fold=2)
    write_run(tmp_path, fold=2, method="panet", episode_digest="0" * 64)
    html = drawn(tmp_path)
    axis = [(float(x), float(v)) for x, v in re.findall(r'<text x="([\d.]+)%"[^>]*>([\d.]+)</text>', html)]
    (x0, v0), (x1, v1) = axis[0], axis[-1]
    found = [v0 + (float(x) - x0) * (v1 - v0) / (x1 - x0) for x in re.findall(r'<svg x="([\d.]+)%"', html)]
    assert found == pytest.approx([50, 50, 80, 200 / 3], abs=0.02)  # cat of both, dog of both
    text = Page(html).text
    assert "cat baseline 50.0, panet 50.0" in text
    assert "dog baseline 80.0, panet 66.7" in text


def test_a_class_without_a_score_has_no_mark(tmp_path: Path):
    write_run(tmp_path, fold=2)
    write_run(tmp_path, fold=1, method="panet")
    html = drawn(tmp_path)
    assert html.count("<svg x=") == 4
    assert "fold 1 cat panet 50.0" in Page(html).text


def test_only_so_many_and_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(classes, "_MOST", 1)
    write_run(tmp_path, SPREAD)
    write_run(tmp_path, method="panet")
    page = Page(drawn(tmp_path))
    assert "The 1 highest of 2 rows; the numbers below have all." in page.text
    assert "cat baseline 50.0 dog" in page.text, "65 against 58"
    assert "panet" in page.text.partition("The numbers")[2]


def test_the_first_is_open_and_backbones_have_plots_of_their_own(tmp_path: Path):
    for shot in (1, 5):
        for backbone in ("resnet18", "resnet50"):
            write_run(tmp_path, shot=shot, backbone=backbone)
    page = Page(drawn(tmp_path))
    outer = [block for block in page.all("details") if block]
    assert outer == [{"open": None}]
    assert page.text.count("resnet18") >= 2


def test_names_come_out_as_text(tmp_path: Path):
    write_run(tmp_path, method=HOSTILE, class_names={"1": HOSTILE, "2": "dog"})
    page = Page(drawn(tmp_path))
    assert page.all("script") == page.all("img") == []
    assert HOSTILE in page.text
