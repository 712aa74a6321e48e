import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.html import table_html, to_html
from fsseg_bench.report.model import Cell, Column, Table
from fsseg_bench.report.table import runs_tables
from tests.support.runs import SPREAD, write_panel, write_run

VOID = {"meta", "img", "br", "link", "input", "hr"}
HOSTILE = "\"><script>alert('x')</script>&amp;<img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """Collects elements, attributes and text; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def report(root: Path) -> Page:
    found = find_runs(root)
    return Page(to_html(runs_tables(found), found))


class TestTable:
    columns = (Column(("", "method")), Column(("1-shot", "fold 1")), Column(("1-shot", "mean")))

    def test_cells_intervals_and_footnotes(self):
        number = Cell("58.33 ± 1.20", 58.333, 57.1, 59.5, runs=("toy/a", "toy/b"))
        rows = ((Cell("panet"), number, Cell("-", note="1 of 4 folds")),)
        page = Page(table_html(Table("t", "Title", "Caption.", self.columns, 1, rows)))
        assert page.text == "Title 1-shot method fold 1 mean panet 58.33 ± 1.20 - a Caption. a 1 of 4 folds"
        assert [cell.get("title") for cell in page.all("td")] == [
            "95 % interval 57.10 to 59.50; from toy/a, toy/b",
            "1 of 4 folds",
        ]
        assert [cell.get("colspan") for cell in page.all("th")] == ["1", "2", None, None, None, None]
        assert [cell.get("class") for cell in page.all("th")] == [None, None, "label", None, None, None]

    def test_names_come_out_as_text(self):
        rows = ((Cell(HOSTILE), Cell("1", note=HOSTILE, runs=(HOSTILE,)), Cell("2")),)
        page = Page(table_html(Table("t", HOSTILE, HOSTILE, self.columns, 1, rows)))
        assert {tag for tag, _ in page.tags} == {
            *("section", "h2", "div", "table", "thead", "tbody", "tr", "th", "td", "p", "sup", "ul", "li"),
        }
        assert page.text.count("<script>alert('x')</script>") == 4
        assert page.all("td")[0]["title"] == f"{HOSTILE}; from {HOSTILE}"


class TestPage:
    def test_is_self_contained(self, tmp_path: Path):
        folder = write_run(tmp_path)
        write_panel(folder, "a.png", (40, 10), (200, 30, 30), {"episode": 3, "classes": ["cat"]})
        page = report(tmp_path)
        assert page.all("script") == page.all("link") == page.all("iframe") == []
        assert [img["src"][:22] for img in page.all("img")] == ["data:image/jpeg;base64"]
        assert all(a["href"].startswith("#") for a in page.all("a"))
        policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
        assert policy.startswith("default-src 'none'; img-src data:")
        assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")

    def test_says_what_it_shows(self, tmp_path: Path):
        folder = write_run(
            tmp_path,
            SPREAD,
            fold=2,
            extra={
                "diagnostics": {"angle": [1.25, 2.5]},
                "timings": {"evaluate_seconds": 8.5},
                "device": "a processor",
            },
        )
        write_panel(folder, "a.png", (40, 10), (200, 30, 30), {"episode": 3, "classes": ["cat"], "iou": 0.5})
        page = report(tmp_path)
        name = "baseline, resnet18, toy fold 2, 1-way 1-shot, seed 0"
        assert page.text.count(name) == 2, "above its pictures and above its settings"
        assert "65.00 ± 12.50" in page.text
        assert "Episode 3: cat; foreground IoU 50.0 %" in page.text
        assert "cat 50.00 dog 80.00" in page.text
        assert "mean-IoU 65.00" in page.text
        for part in ("e" * 64, "d" * 64, "evaluate_seconds", "angle", "a processor", "How each number was made"):
            assert part in page.text
        info = json.loads((folder / "run.json").read_text())
        assert info["identity"] in page.text
        assert '"temperature": 20.0' in page.text

    def test_links_lead_to_the_settings(self, tmp_path: Path):
        for fold in (1, 2):
            write_panel(write_run(tmp_path, fold=fold), "a.png", (8, 8), (1, 2, 3), None)
        page = report(tmp_path)
        targets = {attrs.get("id") for _, attrs in page.tags}
        links = [a["href"][1:] for a in page.all("a")]
        assert len(set(links)) == 2
        assert set(links) <= targets
        assert [("open" in d) for d in page.all("details")] == [True, False, False, False]

    def test_hostile_names_everywhere(self, tmp_path: Path):
        folder = write_run(
            tmp_path,
            method=HOSTILE,
            backbone=HOSTILE,
            protocol_label=HOSTILE,
            class_names={"1": HOSTILE, "2": "$title {x} %s"},
            switches={HOSTILE: HOSTILE},
            extra={"diagnostics": {HOSTILE: 1}, "device": HOSTILE},
        )
        write_panel(folder, "a.png", (8, 8), (1, 2, 3), {"episode": 1, "classes": [HOSTILE]})
        write_run(tmp_path, method=HOSTILE, backbone=HOSTILE, protocol_label=HOSTILE)
        page = report(tmp_path)
        assert page.all("script") == []
        assert [set(img) for img in page.all("img")] == [{"src", "width", "height", "alt"}]
        assert "$title {x} %s" in page.text
        assert page.text.count("<script>alert('x')</script>") >= 10

    def test_skipped_records_and_pictures_are_named(self, tmp_path: Path):
        folder = write_run(tmp_path)
        broken = write_run(tmp_path, fold=2)
        (broken / "run.json").write_text("{")
        write_panel(folder, "a.png", (8, 8), (1, 2, 3), None)
        (folder / "panels" / "a.png").write_text("no picture")
        text = report(tmp_path).text
        assert f"{broken / 'run.json'}: not valid JSON" in text
        assert "a.png: not a readable picture" in text

    @pytest.mark.parametrize("heading", ["Episodes", "Skipped"])
    def test_no_empty_sections(self, tmp_path: Path, heading: str):
        write_run(tmp_path)
        found = find_runs(tmp_path)
        assert f"<h2>{heading}</h2>" not in to_html(runs_tables(found), found)
