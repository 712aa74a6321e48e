from html import unescape
from pathlib import Path

from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.html import to_html
from fsseg_bench.report.html.sweeps import sweeps_html
from fsseg_bench.sweeps.attempts import begin_attempt, end_attempt
from tests.support.runs import write_run
from tests.support.sweeps import cell, planned


def failing(folder: Path, label: str, words: str) -> None:
    begin_attempt(folder / "cells" / label, "local", 0)
    end_attempt(folder / "cells" / label, 2, 0)
    (folder / "cells" / label / "log.txt").write_text(f"error: {words}\n")


def test_a_block_for_each_sweep_with_what_failed(tmp_path: Path) -> None:
    write_run(tmp_path, method="panet")
    folder = planned(tmp_path, [cell(tmp_path, name) for name in ("panet", "canet", "dan")], "shots")
    planned(tmp_path, [cell(tmp_path, "panet")], "other")
    failing(folder, "canet", "no <data>")
    html = to_html([], find_runs(tmp_path))
    text = html[html.index('<section id="sweeps">') :]
    text = text[: text.index("</section>")]
    assert text.index("<h3>other</h3>") < text.index("<h3>shots</h3>")
    assert "3 cells: 1 done, 1 waiting, 1 failed; 33 % of all steps." in text
    assert "no &lt;data&gt;" in text
    assert "exit code 2: error: no <data>" in unescape(text)
    assert 'value="0.3333"' in text
    assert '<a href="#sweeps">Sweeps</a>' in html


def test_there_is_no_such_part_without_sweeps(tmp_path: Path) -> None:
    write_run(tmp_path)
    assert "sweeps" not in to_html([], find_runs(tmp_path))


def test_a_damaged_plan_is_named_and_the_page_is_made(tmp_path: Path) -> None:
    write_run(tmp_path, method="panet")
    folder = planned(tmp_path, [cell(tmp_path, "panet")])
    (folder / "plan.json").write_text("{")
    html = to_html([], find_runs(tmp_path))
    assert "plan.json: not valid JSON" in html
    assert 'id="sweeps"' not in html


def test_many_failed_cells_are_folded(tmp_path: Path) -> None:
    folder = planned(tmp_path, [cell(tmp_path, f"m{i}") for i in range(25)])
    for i in range(25):
        failing(folder, f"m{i}", "x")
    html, warnings = sweeps_html(tmp_path)
    assert not warnings
    assert "<summary>5 more</summary>" in html
    assert html.count('<th scope="row">') == 25
