"""The page's episodes: the recorded predictions of real runs, and what is said where they cannot be drawn."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsseg_bench.data.loading import load_image, query_label
from fsseg_bench.engine.plan import make_plan
from fsseg_bench.pictures.episode import enlarged
from fsseg_bench.pictures.overlay import judged, labelled
from fsseg_bench.records.predictions import stored_predictions
from fsseg_bench.records.read import read_run
from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.document import Request, document
from fsseg_bench.report.html.episodes import episodes_html
from fsseg_bench.report.html.runs import groups
from fsseg_bench.report.html.standing import contests
from fsseg_bench.report.recorded import DataPlaces
from tests.report.test_html_browser import BROWSER, browse
from tests.support.fresh import python
from tests.support.page import Page
from tests.support.runs import edit_info, forget_predictions
from tests.support.tiny_run import finish, tiny_request


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and two untrained methods' runs on fold 1."""
    folder = tmp_path_factory.mktemp("shown")
    for method in ("baseline", "inopt-dagger"):
        finish(tiny_request(folder, method=method, panels=1))
    return folder


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    """A copy of the results folder."""
    return Path(shutil.copytree(made / "runs", tmp_path / "runs"))


def section(root: Path, places: DataPlaces | None = None) -> tuple[str, list[str]]:
    found = find_runs(root)
    html, warnings = episodes_html(contests(groups(found), found, "mean", None), found, places)
    return html, [warning.message for warning in warnings]


def picture(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGBA"))


def test_tiles_show_what_was_predicted(made: Path) -> None:
    html, warnings = section(made / "runs")
    assert warnings == []
    page = Page(html)
    head = re.search(r"<h4>Best: .*?fold 1, episode (\d+)", html)
    assert head is not None
    episode = int(head[1])
    row = html[head.start() :].partition("</figure></div>")[0]
    tiles = re.findall(r'aria-label="([^"]*)"><use href="#([^"]*)"/><image [^>]*href="([^"]*)"', row)
    titles = [title.partition(",")[0] for title, _, _ in tiles]
    assert titles[0].startswith("support: ")
    assert titles[1] == "query"
    assert sorted(titles[2:]) == ["baseline (untrained)", "inopt-dagger (untrained)"]
    plan = make_plan(tiny_request(made))
    query, classes = plan.table.queries[episode], plan.table.classes[episode]
    truth = enlarged(query_label(plan.source, query, classes, 64), 256)
    assert np.array_equal(picture(tiles[1][2]), labelled(truth))
    for title, image, layer in tiles[2:]:
        name, iou = re.split(r" \(untrained\), IoU | %", title)[:2]
        (folder,) = (made / "runs").glob(f"*/{name}-*/*/*")
        run = read_run(folder)
        stored = stored_predictions(run, [episode])
        assert stored is not None
        assert np.array_equal(picture(layer), judged(enlarged(stored[episode], 256), truth, 1))
        counts = run.counts().input[episode]
        tp, union = counts[1, 1], counts.sum() - counts[0, 0]
        assert iou == f"{100 * tp / union:.1f}"
        shown = re.search(f'<image id="{image}"[^>]*href="([^"]*)"', html)
        assert shown is not None
        exact = load_image(plan.source, query, 64).permute(1, 2, 0).numpy().astype(int)
        assert np.abs(picture(shown[1])[..., :3] - exact).mean() < 8  # a JPEG
    assert len({use["href"] for use in page.all("use")}) == html.count("<image id=")
    assert " style=" not in html


def test_enlarging_needs_no_script_and_every_link_leads_somewhere(made: Path) -> None:
    page = Page(section(made / "runs")[0])
    names = [str(tag["id"]) for kind in ("div", "figure", "image") for tag in page.all(kind) if "id" in tag]
    assert len(names) == len(set(names))
    links = {str(tag["href"]) for kind in ("a", "use") for tag in page.all(kind)}
    assert all(link[1:] in names for link in links)


def test_without_the_data_the_recorded_pictures_are_shown(made: Path, runs: Path) -> None:
    nowhere = runs.parent / "empty"
    nowhere.mkdir()
    moved = made / "tiny-voc"
    moved.rename(made / "elsewhere")
    try:
        html, _ = section(runs, DataPlaces(data_root=str(nowhere)))
    finally:
        (made / "elsewhere").rename(moved)
    page = Page(html)
    assert "No pictures side by side of" in page.text
    assert "the data of tiny-voc were not found" in page.text
    assert len(page.all("img")) == 2


def test_other_images_than_those_evaluated_are_not_drawn(made: Path, runs: Path) -> None:
    places = runs.parent / "data"
    shutil.copytree(made / "tiny-voc", places / "tiny-voc")
    for path in (places / "tiny-voc" / "JPEGImages").iterdir():
        image = np.asarray(Image.open(path))
        Image.fromarray(255 - image).save(path)
    html, _ = section(runs, DataPlaces(data_root=str(places)))
    assert "not the image, or not the mask, that" in html
    assert "<use" not in html


def test_predictions_with_other_counts_are_not_drawn(runs: Path) -> None:
    """Rows of other episodes, sealed again as a careful forger would."""
    for path in runs.rglob("predictions.jsonl"):
        lines = path.read_bytes().splitlines()
        forged = [re.sub(rb'"ways":.*', re.search(rb'"ways":.*', lines[0])[0], line) for line in lines]  # type: ignore[index]
        data = b"\n".join(forged) + b"\n"
        path.write_bytes(data)
        files = json.loads((path.parent / "run.json").read_text())["files"]
        edit_info(path.parent, files=files | {path.name: hashlib.sha256(data).hexdigest()})
    html, warnings = section(runs)
    assert len(warnings) == 1
    assert "give other counts than recorded" in warnings[0]
    assert warnings[0] in html
    assert "<use" not in html


def test_changed_predictions_are_named_and_the_other_methods_drawn(runs: Path) -> None:
    first, second = runs.rglob("predictions.jsonl")
    first.write_bytes(first.read_bytes()[:-1])
    html, warnings = section(runs)
    assert warnings == [f"{first}: changed since the run was done (its SHA-256 is not the recorded one)"]
    names = [path.parents[2].name.rpartition("-resnet")[0] for path in (first, second)]
    assert [f"{name} (untrained), IoU" in html for name in names] == [False, True]
    second.write_bytes(second.read_bytes()[:-1])
    html, warnings = section(runs)
    assert len(warnings) == 2
    assert "their predictions are damaged. These are the pictures that the runs recorded" in html


def test_records_of_earlier_versions(runs: Path) -> None:
    forget_predictions(runs)
    page = Page(section(runs)[0])
    assert "their records keep no predictions (they were made by an earlier version)" in page.text
    assert len(page.all("img")) == 2


def test_the_page_needs_no_torch(made: Path) -> None:
    code = (
        "import sys; from fsseg_bench.report.document import Request, document; "
        f"text = document({str(made / 'runs')!r}, Request()).text('html'); "
        "print(text.count('<use'), 'torch' in sys.modules)"
    )
    tiles, torch = python(code).split()
    assert int(tiles) > 8
    assert torch == "False"


PROBE = """<script>
addEventListener("load", () => {
  const tile = document.getElementById("episode-1-3"), width = () => Math.round(tile.getBoundingClientRect().width);
  const drawn = () => Math.round(tile.querySelector("svg").getBoundingClientRect().width);
  const found = {before: [width(), drawn()], images: document.querySelectorAll("use").length};
  location.hash = "#episode-1-3";
  const whole = document.documentElement.clientWidth;
  found.large = [width() === whole, drawn() > 400, tile.querySelector(".episode-close").checkVisibility()];
  tile.querySelector(".episode-nav a:last-child").click();
  found.next = [location.hash, document.getElementById("episode-1-4").getBoundingClientRect().width > 700];
  dispatchEvent(new KeyboardEvent("keydown", {key: "Escape"}));
  found.closed = location.hash;
  found.after = [width(), drawn()];
  document.body.textContent = "FOUND" + JSON.stringify(found) + "END";
});
</script></body>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
def test_tiles_grow_in_a_browser(made: Path, tmp_path: Path) -> None:
    text = document(made / "runs", Request()).text("html")
    free, count = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    assert count == 1
    page = tmp_path / "page.html"
    page.write_text(free.replace("</body>", PROBE))
    seen = browse(page, tmp_path / "profile", "--dump-dom", "--window-size=1000,800")
    assert "Uncaught" not in seen.stderr
    found = json.loads(seen.stdout.partition("FOUND")[2].partition("END")[0])
    assert found["before"] == found["after"]
    assert found["before"][0] < 250
    assert found["large"] == [True, True, True]
    assert found["next"] == ["#episode-1-4", True]
    assert found["closed"] == "#episode-1"
