"""The page in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape
from pathlib import Path

import pytest

from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.report.blocks import Measured
from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.html import to_html
from fsseg_bench.report.model import arranged
from fsseg_bench.report.paper import paper_table
from fsseg_bench.report.table import runs_tables
from tests.support.page import HOSTILE
from tests.support.paper import BIOPT
from tests.support.runs import SPREAD, write_panel, write_run

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run", "--enable-logging=stderr"),
)
LONG = "a" * 200
PROBE = """
<script>
const scrolls = () => document.documentElement.scrollWidth > document.documentElement.clientWidth;
const found = {width: innerWidth, folded: scrolls()};
document.querySelectorAll("details").forEach(d => d.open = true);
found.open = scrolls();
const cell = document.querySelector("td[tabindex]"), tip = cell.querySelector(".tip");
found.before = tip.checkVisibility();
cell.focus();
found.after = tip.checkVisibility();
const box = tip.getBoundingClientRect();
found.inside = box.left >= 0 && box.right <= innerWidth && box.bottom <= innerHeight && box.height > 20;
const scroll = document.querySelector(".scroll"), label = scroll.querySelector("tbody th.stick");
found.wide = scroll.scrollWidth > scroll.clientWidth;
scroll.scrollLeft = 1000;
const gap = label.getBoundingClientRect().left - scroll.getBoundingClientRect().left;
found.sticks = scroll.scrollLeft === 0 || Math.abs(gap) < 1;
const missing = [...document.querySelectorAll("a[href^='#']")].filter(a => !document.querySelector(a.hash));
found.dead = missing.map(a => a.hash);
const boxed = e => e.closest(".scroll, pre, .tip") !== null;
const beyond = e => e.getBoundingClientRect().right > innerWidth + 1 && !boxed(e);
found.beyond = [...document.querySelectorAll("body *")].filter(beyond).map(e => e.tagName);
const table = document.querySelector("table.sortable");
const order = () => [...table.tBodies[0].rows].map(row => row.cells[0].textContent);
const head = [...table.tHead.rows].at(-1).cells[0], before = order();
head.querySelector("button").click();
const up = String([...before].sort((a, b) => a.localeCompare(b))), down = String(up.split(",").reverse());
found.sorted = [head.getAttribute("aria-sort"), String(order()) === up];
head.querySelector("button").click();
found.turned = [head.getAttribute("aria-sort"), String(order()) === down];
const select = document.querySelector(".filters select");
select.value = "biopt";
select.dispatchEvent(new Event("change"));
found.filtered = [...table.tBodies[0].rows].filter(row => row.checkVisibility()).map(row => row.cells[0].textContent);
found.said = document.querySelector(".filters [role=status]").textContent;
found.copy = document.querySelectorAll("pre.copy").length === document.querySelectorAll("button.act").length;
top.document.body.textContent = "FOUND" + JSON.stringify(found) + "END";
</script></body>
"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")


def browse(page: Path, profile: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page with everything on it, and names that are long or hostile."""
    root = tmp_path_factory.mktemp("runs")
    digest = load_protocol("pascal5i").digest
    for method in ("biopt", LONG, HOSTILE):
        for fold in (1, 2, 3, 4):
            folder = write_run(
                root,
                SPREAD,
                method=method,
                fold=fold,
                protocol="pascal5i",
                protocol_label="pascal5i",
                protocol_digest=digest,
                class_names={"1": HOSTILE, "2": LONG},
                extra={"diagnostics": {"inner_angle": list(range(11))}, "device": LONG},
            )
            rows = ({"iteration": i, "loss": 1.0, "parts": {"final": 1.0}} for i in range(9))
            (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            for rank, name in ((1, "a.png"), (2, "b.png")):
                entry = {"episode": rank, "classes": [HOSTILE, LONG], "rank": f"{rank} of 2"}
                write_panel(folder, name, (1040, 257), (200, 30, 30), entry)
    found = find_runs(root)
    measured = Measured(found)
    tables = [arranged(paper_table(table, found, measured), "auto") for table in BIOPT.values()]
    return to_html([*runs_tables(found), *tables], found)


@pytest.mark.slow
@pytest.mark.parametrize("width", [380, 1200])
def test_nothing_is_wider_than_the_screen(page: str, width: int, tmp_path: Path):
    file = tmp_path / "page.html"
    free, count = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    assert count == 1
    inner = escape(free.replace("</body>", PROBE))
    frame = f'<iframe srcdoc="{inner}" style="width: {width}px; height: 900px; border: 0"></iframe>'
    file.write_text(f"<!doctype html><body>{frame}</body>")  # a window cannot be as narrow as a phone
    seen = browse(file, tmp_path / "profile", "--dump-dom").stdout
    found = json.loads(seen.partition("FOUND")[2].partition("END")[0])
    assert found == {
        "width": width,
        "folded": False,
        "open": False,
        "before": False,
        "after": True,
        "inside": True,
        "wide": True if width == 380 else found["wide"],
        "sticks": True,
        "beyond": [],
        "dead": [],
        "sorted": ["ascending", True],
        "turned": ["descending", True],
        "filtered": ["biopt"],
        "said": "1 of 3 rows",
        "copy": True,
    }


@pytest.mark.slow
def test_the_console_stays_empty(page: str, tmp_path: Path):
    """Under its own policy, which lets its own script in and nothing else: an attempt would be logged."""
    file = tmp_path / "page.html"
    file.write_text(page)
    done = browse(file, tmp_path / "profile", "--window-size=380,900", "--dump-dom")
    assert "How each number was made" in done.stdout
    assert '<button type="button">method</button>' in done.stdout, "its script has run"
    assert "CONSOLE" not in done.stderr
    file.write_text(page.replace("</body>", "<script>1</script></body>"))
    assert "CONSOLE" in browse(file, tmp_path / "profile", "--dump-dom").stderr, "the check sees what it should"
