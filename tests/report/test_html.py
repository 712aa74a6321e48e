import base64
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from fsseg_bench.report.blocks import Measured
from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.html import to_html
from fsseg_bench.report.html.runs import ShownRun
from fsseg_bench.report.model import Cell, Column, Table
from fsseg_bench.report.paper import paper_table
from fsseg_bench.report.table import runs_tables
from tests.support.page import HOSTILE, Page
from tests.support.paper import BIOPT
from tests.support.runs import SPREAD, edit_info, write_panel, write_run


def report(root: Path) -> Page:
    found = find_runs(root)
    return Page(to_html(runs_tables(found), found))


class TestPage:
    def test_is_self_contained(self, tmp_path: Path):
        folder = write_run(tmp_path)
        write_panel(folder, "a.png", (40, 10), (200, 30, 30), {"episode": 3, "classes": ["cat"]})
        page = report(tmp_path)
        assert page.all("link") == page.all("iframe") == []
        assert page.all("script") == [{}], "its own, without a source"
        assert [img["src"][:11] for img in page.all("img")] == ["data:image/"]
        assert all(a["href"].startswith("#") for a in page.all("a"))
        assert not [name for _, attrs in page.tags for name in attrs if name == "style" or name.startswith("on")]
        assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")

    def test_the_policy_lets_in_its_own_style_and_script_alone(self, tmp_path: Path):
        write_run(tmp_path)
        found = find_runs(tmp_path)
        text = to_html(runs_tables(found), found)
        policy = next(m["content"] for m in Page(text).all("meta") if m.get("http-equiv") == "Content-Security-Policy")
        assert policy.startswith("default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; ")
        for tag in ("style", "script"):
            own = text.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
            digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
            assert f"{tag}-src 'sha256-{digest}'" in policy
        assert "unsafe" not in policy

    def test_says_what_it_shows(self, tmp_path: Path):
        folder = write_run(
            tmp_path,
            SPREAD,
            fold=2,
            passed={"method": "baseline", "fold": 2},
            extra={
                "diagnostics": {"norm": 1.25},
                "timings": {"evaluate_seconds": 8.5, "finished": "2026-01-02"},
                "device": "a processor",
            },
        )
        write_panel(folder, "a.png", (40, 10), (200, 30, 30), {"episode": 3, "classes": ["cat"], "iou": 0.5})
        page = report(tmp_path)
        name = "baseline, resnet18, toy fold 2, 1-way 1-shot, seed 0"
        assert page.text.count(name) == 2, "above its pictures and above its record"
        assert "65.00 ± 12.50" in page.text
        assert "Episode 3: cat; foreground IoU 50.0 %" in page.text
        assert "cat 50.00 dog 80.00" in page.text, "in the record"
        assert "mean-IoU 65.00" in page.text
        info = json.loads((folder / "run.json").read_text())
        versions = info["provenance"]["packages"]
        for part in (
            info["identity"],
            "3, " + "e" * 64,
            "toy, version 1, " + "d" * 64,
            "a processor",
            "evaluation 8.5 s, finished 2026-01-02",
            f"numpy {versions['numpy']}",
            "How each number was made",
            '"temperature": 20.0',
            '"norm": 1.25',
        ):
            assert part in page.text

    @pytest.mark.parametrize(
        ("provenance", "shown"),
        [
            ({"command": ["fsseg-bench", "run", "--set", "a=b c"]}, "command fsseg-bench run --set 'a=b c'"),
            ({"command": None}, "options, from Python method='baseline', fold=2"),
            ({"command": "again", "typed": "once"}, "to repeat it again as typed once"),
            ({"command": "again", "typed": None}, "to repeat it again protocol"),
        ],
    )
    def test_the_command(self, tmp_path: Path, provenance: dict[str, object], shown: str):
        folder = write_run(tmp_path, passed={"method": "baseline", "fold": 2})
        edit_info(folder, provenance={**provenance, "git": {"commit": "abc", "dirty": True}})
        text = report(tmp_path).text
        assert shown in text
        assert "commit abc, with changes that are not committed" in text

    def test_each_class_by_method_and_fold(self, tmp_path: Path):
        write_run(tmp_path, SPREAD, fold=2)
        write_run(tmp_path, fold=1, method="panet")
        page = report(tmp_path)
        # toy classes of fold 2: 40/80 and 20/25; of fold 1: 20/40 and 20/30
        assert "fold class baseline panet fold 1 cat - 50.00" in page.text
        assert "fold 2 cat 50.00 ± 25.00" in page.text

    def test_links_lead_to_the_records(self, tmp_path: Path):
        for fold in (1, 2):
            write_panel(write_run(tmp_path, fold=fold), "a.png", (8, 8), (1, 2, 3), None)
        page = report(tmp_path)
        targets = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
        links = {str(a["href"])[1:] for a in page.all("a")}
        assert len(targets) == len(set(targets))
        assert links <= set(targets)
        assert len([link for link in links if link.startswith("run-")]) == 2

    def test_tables_with_published_numbers_are_open_where_something_is_measured(self, tmp_path: Path):
        write_run(tmp_path)
        found = find_runs(tmp_path)
        columns = (Column(("method",)), Column(("mean",)))
        tables = [
            Table(title, title, "", columns, 1, ((Cell("a"), Cell("1", 1.0, runs=runs)),), published=True)
            for title, runs in (("One", ()), ("Two", ("x",)))
        ]
        text = to_html(tables, found)
        assert "<details open><summary>Two</summary>" in text
        nothing = text.index("1 table of which nothing was measured here")
        assert nothing < text.index("<details><summary>One</summary>"), "inside it"

    def test_errata_of_the_papers_shown_alone(self, tmp_path: Path):
        write_run(tmp_path)
        found = find_runs(tmp_path)
        first = BIOPT["1"]
        shown = to_html([paper_table(first, found, Measured(found))], found)
        assert "other records of this number say 23.65" in shown
        other = Table("other", "Other", "", (Column(("a",)),), 1, ((Cell("x"),),), published=True)
        assert "Errata" not in to_html([other], found)
        assert "Errata" not in to_html([], found)

    def test_two_paths_have_two_anchors(self):
        assert ShownRun(None, "a/b", "").anchor != ShownRun(None, "a-b", "").anchor

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
        assert page.all("script") == [{}]
        assert {name for img in page.all("img") for name in img} <= {
            "src",
            "width",
            "height",
            "alt",
            "loading",
            "class",
        }
        assert "$title {x} %s" in page.text
        assert page.text.count("<script>alert('x')</script>") >= 10
        assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]

    def test_skipped_records_and_pictures_are_named(self, tmp_path: Path):
        folder = write_run(tmp_path)
        broken = write_run(tmp_path, fold=2)
        (broken / "run.json").write_text("{")
        write_panel(folder, "a.png", (8, 8), (1, 2, 3), None)
        (folder / "panels" / "a.png").write_text("no picture")
        text = report(tmp_path).text
        assert f"{broken / 'run.json'}: not valid JSON" in text
        assert "a.png: not a readable picture" in text

    def test_no_empty_sections(self, tmp_path: Path):
        write_run(tmp_path)
        found = find_runs(tmp_path)
        text = to_html(runs_tables(found), found)
        for name in ("episodes", "training", "published"):
            assert f'id="{name}"' not in text
            assert f'href="#{name}"' not in text
        assert "Skipped" not in text

    def test_what_scrolls_can_be_reached_by_keyboard(self, tmp_path: Path):
        write_run(tmp_path, extra={"diagnostics": {"angle": [1, 2]}})
        found = find_runs(tmp_path)
        page = Page(to_html(runs_tables(found), found))
        scrolling = [*page.all("pre"), *(box for box in page.all("div") if box.get("class") == "scroll")]
        assert len(scrolling) > 6
        assert {box.get("tabindex") for box in scrolling} == {"0"}

    def test_what_was_compared_and_what_was_not_asked_for(self, tmp_path: Path):
        write_run(tmp_path, method="panet")
        write_run(tmp_path, method="biopt", status="evaluating")
        found = replace(find_runs(tmp_path), left_out=3)
        text = Page(to_html(runs_tables(found), found)).text
        assert "panet on resnet18; toy 1-way" in text
        assert "from 1 finished and 1 unfinished runs; 3 more were not asked for." in text

    def test_no_runs_at_all(self, tmp_path: Path):
        page = report(tmp_path)
        assert "0 finished and 0 unfinished runs" in page.text
