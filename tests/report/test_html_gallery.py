from pathlib import Path

import pytest

from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.html import gallery
from fsseg_bench.report.html.gallery import Gallery
from fsseg_bench.report.html.runs import groups, shown_runs
from tests.support.page import Page
from tests.support.runs import write_panel, write_run


def made(root: Path) -> tuple[Page, Page, list[str]]:
    """Failures, other pictures, warnings."""
    found = find_runs(root)
    own = Gallery(shown_runs(groups(found), found).values())
    return Page(own.failures), Page(own.others), [warning.message for warning in own.warnings]


def three_panels(root: Path, **settings: object) -> None:
    folder = write_run(root, **settings)  # type: ignore[arg-type]
    for rank, name in ((1, "a.png"), (2, "b.png"), (3, "c.png")):
        entry = {"episode": rank, "classes": ["cat"], "rank": f"{rank} of 3 by foreground IoU, worst first"}
        write_panel(folder, name, (8, 8), (1, 2, 3), entry)


def test_failures_apart_by_method_and_the_rest_by_run(tmp_path: Path):
    three_panels(tmp_path, fold=1)
    three_panels(tmp_path, fold=2)
    three_panels(tmp_path, method="panet")
    failures, others, warnings = made(tmp_path)
    assert warnings == []
    expected = "Episode 1: cat; 1 of 3 by foreground IoU, worst first"
    assert [img["alt"] for img in failures.all("img")] == [expected] * 3
    assert "baseline: 2 pictures" in failures.text
    assert "panet: 1 picture " in failures.text
    assert ["open" in block for block in failures.all("details")] == [True, False]
    assert "lowest foreground IoU of all its episodes" in failures.text
    assert [str(img["alt"])[:9] for img in others.all("img")] == ["Episode 2", "Episode 3"] * 3
    assert ["open" in block for block in others.all("details")] == [False] * 3


def test_a_page_holds_so_many_and_the_failures_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gallery, "_MOST", 3)
    three_panels(tmp_path, fold=1)
    three_panels(tmp_path, fold=2)
    failures, others, _ = made(tmp_path)
    assert (len(failures.all("img")), len(others.all("img"))) == (2, 1)
    assert "3 more pictures are in the panels folders of the runs; this page holds 3" in others.text


def test_damaged_pictures_are_named_and_take_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gallery, "_MOST", 2)
    three_panels(tmp_path)
    next(tmp_path.rglob("a.png")).write_bytes(b"no picture")
    failures, others, warnings = made(tmp_path)
    assert failures.text == ""
    assert len(others.all("img")) == 2
    assert "a.png: not a readable picture" in warnings[0]
