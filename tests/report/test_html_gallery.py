import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsseg_bench.records.read import RecordWarning, StoredRun, read_run
from fsseg_bench.records.run import RunRecord
from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.html import gallery
from fsseg_bench.report.html.gallery import Gallery, Picture, picture, run_panels
from fsseg_bench.report.html.runs import groups, shown_runs
from tests.support.page import Page
from tests.support.runs import TWO_EPISODES, request, row, settings, write_panel, write_run


def decoded(uri: str) -> Image.Image:
    kind, _, data = uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def run_pictures(record: StoredRun) -> tuple[list[tuple[str, Picture]], list[RecordWarning]]:
    """Captions and pictures, and all warnings."""
    panels, warnings = run_panels(record)
    made = [(panel.caption, picture(panel)) for panel in panels]
    pictures = [(caption, shown) for caption, shown in made if isinstance(shown, Picture)]
    return pictures, warnings + [shown for _, shown in made if isinstance(shown, RecordWarning)]


def run(root: Path) -> StoredRun:
    return read_run(write_run(root))


def test_pixels_size_and_order(tmp_path: Path):
    record = run(tmp_path)
    entry = {"episode": 7, "classes": ["cat", "dog"], "iou": 0.4567, "rank": "2 of 5", "shows": "support, truth"}
    write_panel(record.folder, "b.png", (40, 10), (200, 30, 30), entry | {"query": "2007_000033"})
    write_panel(record.folder, "a.png", (40, 10), (30, 200, 30), {"episode": 8, "classes": ["cat"]})
    pictures, warnings = run_pictures(record)
    assert warnings == []
    assert [caption for caption, _ in pictures] == [
        "Episode 7: cat, dog; foreground IoU 45.7 %; 2 of 5; support, truth; query 2007_000033",
        "Episode 8: cat",
    ]
    assert (pictures[0][1].width, pictures[0][1].height) == (40, 10)
    np.testing.assert_allclose(np.asarray(decoded(pictures[0][1].uri))[5, 20], (200, 30, 30), atol=4)


def test_wide_pictures_are_made_smaller(tmp_path: Path):
    record = run(tmp_path)
    write_panel(record.folder, "a.png", (2400, 600), (1, 2, 3), {"episode": 0})
    (((_, shown),), _) = run_pictures(record)
    assert (shown.width, shown.height) == (1200, 300)
    assert decoded(shown.uri).size == (1200, 300)


def test_no_panels_and_panels_without_a_listing(tmp_path: Path):
    record = run(tmp_path)
    assert run_pictures(record) == ([], [])
    write_panel(record.folder, "episode-0012.png", (8, 8), (1, 2, 3), None)
    (((caption, _),), warnings) = run_pictures(record)
    assert (caption, warnings) == ("episode 0012", [])


def test_what_is_damaged_or_missing_is_named_and_the_rest_stays(tmp_path: Path):
    record = run(tmp_path)
    write_panel(record.folder, "good.png", (8, 8), (1, 2, 3), {"episode": 1})
    write_panel(record.folder, "gone.png", (8, 8), (1, 2, 3), {"episode": 2})
    write_panel(record.folder, "cut.png", (64, 64), (1, 2, 3), {"episode": 3})
    panels = record.folder / "panels"
    (panels / "gone.png").unlink()
    (panels / "cut.png").write_bytes((panels / "cut.png").read_bytes()[:60])
    (panels / "text.png").write_text("<svg onload=alert(1)>")
    Image.new("RGB", (8, 8)).save(panels / "text2.png", "BMP")  # only PNG is decoded
    pictures, warnings = run_pictures(record)
    assert [caption for caption, _ in pictures] == ["Episode 1"]
    messages = [w.message for w in warnings]
    assert len(messages) == 4
    assert "names a picture that is not there: 'gone.png'" in messages[0]
    assert "cut.png: not a readable picture" in messages[1]
    assert "text.png: not a readable picture" in messages[2]
    assert "text2.png: not a readable picture" in messages[3]


def test_a_listing_cannot_reach_outside(tmp_path: Path):
    record = run(tmp_path)
    outside = record.folder / "secret.png"
    Image.new("RGB", (8, 8)).save(outside)
    (record.folder / "panels").mkdir()
    (record.folder / "panels" / "panels.json").write_text(
        json.dumps([{"file": "../secret.png"}, {"file": str(outside)}])
    )
    pictures, warnings = run_pictures(record)
    assert pictures == []
    assert len(warnings) == 2


def test_a_damaged_listing_is_named_and_the_pictures_stay(tmp_path: Path):
    record = run(tmp_path)
    write_panel(record.folder, "a.png", (8, 8), (1, 2, 3), None)
    for content in ("{", '{"file": 1}', "[1]", '[{"name": "a.png"}]', "\xff"):
        (record.folder / "panels" / "panels.json").write_text(content, encoding="latin-1")
        pictures, warnings = run_pictures(record)
        assert [caption for caption, _ in pictures] == ["a"]
        assert "panels.json: damaged or edited" in warnings[0].message


@pytest.mark.parametrize(
    "entry",
    [
        *({"iou": 1.5}, {"iou": True}, {"iou": -1}, {"iou": "high"}, {"episode": 2.5}, {"rank": 3}),
        *({"shows": "x" * 1000}, {"classes": [1]}, {"classes": "cat"}),
    ],
)
def test_captions_hold_only_what_a_run_writes(tmp_path: Path, entry: dict):
    record = run(tmp_path)
    write_panel(record.folder, "a.png", (8, 8), (1, 2, 3), entry)
    (((caption, _),), warnings) = run_pictures(record)
    assert caption == "a"
    assert "no list of pictures" in warnings[0].message


@pytest.mark.parametrize("name", ["panels.json", "a.png"])
def test_panels_that_changed_since_the_run_was_done_are_named(tmp_path: Path, name: str):
    """The digits of a caption, or pixels whose file still decodes."""
    with RunRecord.create(tmp_path, settings(), request(), folds=4) as record:
        with record.episode_log() as log:
            for i, episode in enumerate(TWO_EPISODES):
                log.append(row(i, episode))
        write_panel(record.folder, "a.png", (8, 8), (1, 2, 3), {"episode": 0, "iou": 0.5})
        record.update(status="done")
    stored = read_run(record.folder)
    pictures, warnings = run_pictures(stored)
    assert ([caption for caption, _ in pictures], warnings) == (["Episode 0; foreground IoU 50.0 %"], [])
    if name == "a.png":
        Image.new("RGB", (8, 8), (9, 9, 9)).save(record.folder / "panels" / name)
    else:
        listing = record.folder / "panels" / name
        listing.write_text(listing.read_text().replace("0.5", "0.9"))
    pictures, warnings = run_pictures(stored)
    assert f"{name}: changed since the run was done" in warnings[0].message
    assert not any("90.0" in caption for caption, _ in pictures)


def made(root: Path) -> tuple[Page, list[str]]:
    """The page's part, and warnings."""
    found = find_runs(root)
    own = Gallery()
    html = own.add(shown_runs(groups(found), found).values())
    return Page(html), [warning.message for warning in own.warnings]


def three_panels(root: Path, **settings: object) -> None:
    folder = write_run(root, **settings)  # type: ignore[arg-type]
    for rank, name in ((1, "a.png"), (2, "b.png"), (3, "c.png")):
        entry = {"episode": rank, "classes": ["cat"], "rank": f"{rank} of 3 by foreground IoU, worst first"}
        write_panel(folder, name, (8, 8), (1, 2, 3), entry)


def test_run_by_run_behind_a_line_each(tmp_path: Path):
    three_panels(tmp_path, fold=1)
    three_panels(tmp_path, method="panet")
    page, warnings = made(tmp_path)
    assert warnings == []
    names = [f"Episode {i}: cat; {i} of 3 by foreground IoU, worst first" for i in (1, 2, 3)]
    assert [img["alt"] for img in page.all("img")] == names * 2
    assert ["open" in block for block in page.all("details")] == [False] * 2
    assert "baseline, resnet18, toy fold 1, 1-way 1-shot, seed 0: 3 pictures" in page.text


def test_a_page_holds_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gallery, "_MOST", 4)
    three_panels(tmp_path, fold=1)
    three_panels(tmp_path, fold=2)
    page, _ = made(tmp_path)
    assert len(page.all("img")) == 4
    assert "2 more are in the run's folder panels" in page.text


def test_damaged_pictures_are_named_and_take_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gallery, "_MOST", 3)
    three_panels(tmp_path, fold=1)
    three_panels(tmp_path, fold=2)
    next(tmp_path.rglob("a.png")).write_bytes(b"no picture")
    page, warnings = made(tmp_path)
    assert len(page.all("img")) == 3
    assert len(warnings) == 1
    assert "a.png: not a readable picture" in warnings[0]
