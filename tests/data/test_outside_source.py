"""A data source from outside the package: the example of docs/howto/add-source.md, from verify to report."""

from __future__ import annotations

import pickle
import re
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from fsseg_bench import plugins
from fsseg_bench.cli.main import main
from fsseg_bench.data.index import build_index
from fsseg_bench.data.open import open_source
from fsseg_bench.data.sources.voc import VocSource
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.protocol.spec import Protocol
from tests.support.datasets import label_map, save_image, save_mask, scenes, write_protocol
from tests.support.fresh import ROOT, python

PAGE = (ROOT / "docs" / "howto" / "add-source.md").read_text(encoding="utf-8")
CODE = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """my-sources/table.py, mine.toml and the folder photos."""
    (tmp_path / "my-sources").mkdir()
    (tmp_path / "my-sources" / "table.py").write_text(CODE, encoding="utf-8")
    rows = ["list,image,mask"]
    for list_name in ("train", "val"):
        for scene in scenes(list_name, 4):
            save_image(tmp_path / f"photos/pixels/{scene.name}.png", scene.image)
            save_mask(tmp_path / f"photos/labels/{scene.name}.png", label_map(scene))
            rows.append(f"{list_name},pixels/{scene.name}.png,labels/{scene.name}.png")
    (tmp_path / "photos" / "images.csv").write_text("\n".join(rows), encoding="utf-8")
    write_protocol(tmp_path / "mine.toml", "table", root="photos", table="images.csv")
    return tmp_path


def call(place: Path, *arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([*map(str, arguments), "--sources-path", str(place / "my-sources")])
    return int(end.value.code or 0)


@pytest.mark.slow
def test_from_verify_to_report(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    protocol, out = place / "mine.toml", place / "runs"
    assert call(place, "list", "sources") == 0
    assert "Images and masks that a CSV file names" in capsys.readouterr().out
    assert call(place, "data", "verify", protocol) == 0
    assert "list val: 32 images" in capsys.readouterr().out
    assert call(place, "data", "info", protocol) == 0
    assert f"--dataset {protocol} --sources-path {place}/my-sources" in capsys.readouterr().out
    assert call(place, "episodes", "--dataset", protocol, "--episodes", 3) == 0
    assert "class_1,query,support_1_1" in capsys.readouterr().out
    common = ("--dataset", protocol, "--fold", 1, "--backbone", "resnet18-layer2", "--weights", "none", "--out", out)
    small = ("--episodes", 6, "--workers", 0, "--panels", 0, "--device", "cpu", "--set", "recipe.batch=2")
    for steps in (0, 2):
        assert call(place, "run", "--method", "baseline", *common, *small, "--iterations", steps) == 0
    with pytest.raises(SystemExit) as end:  # a report needs no source
        main(["report", "--results", str(out), "--commands"])
    assert not end.value.code
    assert f"--sources-path {place}/my-sources" in capsys.readouterr().out
    masks = ("verify", out, "--masks")
    with pytest.raises(SystemExit):
        main([*map(str, masks)])
    assert f"data sources from {place}/my-sources; name the folder with --sources-path" in capsys.readouterr().out
    assert call(place, *masks) == 0
    page = ("report", "--results", out, "--format", "html")
    with pytest.raises(SystemExit):
        main([*map(str, page)])
    alone = capsys.readouterr().out
    assert f"the run took data sources from {place}/my-sources; name the folder with --sources-path" in alone
    assert "<use" not in alone
    assert call(place, *page) == 0
    assert "<use" in capsys.readouterr().out


def test_a_process_of_its_own_unpickles_it(place: Path) -> None:
    """As loader workers do where processes are not forked."""
    source = open_source(load_protocol(place / "mine.toml", sources_path=place / "my-sources"))
    (place / "pickled").write_bytes(pickle.dumps(source))
    code = f"import pickle; s = pickle.loads(open({str(place / 'pickled')!r}, 'rb').read()); print(len(s.ids('val')))"
    assert python(code).strip() == "32"
    assert pickle.loads(pickle.dumps(source)).ids("val") == source.ids("val")


def test_an_entry_point(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = place / "third_party"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "table.py").write_text(CODE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(place))
    point = EntryPoint("table", "third_party.table:TableSource", "fsseg_bench.sources")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point] if group == point.group else [])
    source = open_source(load_protocol(place / "mine.toml"))
    assert type(source).__module__ == "third_party.table"
    assert len(source.ids("train")) == 32


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            '"table"',
            '"tabel"',
            r"data\.source: unknown source 'tabel'\. Did you mean 'table'\?.* --sources-path or FSSEG",
        ),
        ('table = "images.csv"\n', "", "missing data.table"),
        ('table = "images.csv"', 'tabel = "images.csv"', r"unknown key 'data\.tabel'\. Did you mean 'data\.table'"),
        ('table = "images.csv"', "table = 3", "data.table is 3; it must be text"),
        ('table = "images.csv"', 'table = "a"\ndelimiter = "|"', r'data.delimiter is "\|"; allowed: ",", ";"'),
    ],
)
def test_wrong_protocols_name_file_and_key(place: Path, old: str, new: str, message: str) -> None:
    protocol = place / "mine.toml"
    text = protocol.read_text()
    assert text.count(old) == 1
    protocol.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=rf"mine\.toml: {message}"):
        load_protocol(protocol, sources_path=place / "my-sources")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("    table: str", "    root: str", "TableSource has a key root, which is taken; rename it"),
        ("@dataclass(frozen=True)\n", "", r"TableSource\.keys is no usable dataclass"),
        ("(VocSource)", "(SourceKind)", r"TableSource is no fsseg_bench\.data\.source\.Source"),
        ("import csv", "import cvs", "cannot be imported: No module named 'cvs'"),
    ],
)
def test_wrong_sources_are_told(place: Path, old: str, new: str, message: str) -> None:
    code = "from fsseg_bench.protocol.source import SourceKind\n" + CODE
    (place / "my-sources" / "table.py").write_text(code.replace(old, new), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        open_source(load_protocol(place / "mine.toml", sources_path=place / "my-sources"))


def test_own_keys_can_be_set_and_enter_the_digest(place: Path) -> None:
    def load(delimiter: str) -> Protocol:
        return load_protocol(place / "mine.toml", {"data.delimiter": delimiter}, place / "my-sources")

    plain = load(",")
    assert plain.label == "tiny-table"  # the value that it has anyway
    assert load(";").label == "tiny-table[data.delimiter=;]"
    assert load(";").digest != plain.digest
    assert plain.settings()["data"]["delimiter"] == ","


def test_masks_are_counted_anew_when_the_source_changes(place: Path) -> None:
    protocol = load_protocol(place / "mine.toml", sources_path=place / "my-sources")
    source = open_source(protocol)
    before = build_index(source, protocol).frame
    TableSource = type(source)
    assert TableSource.class_pixels is VocSource.class_pixels
    TableSource.class_pixels = lambda self, image_id: {1: 99}  # type: ignore[method-assign]
    assert build_index(source, protocol).frame.equals(before)  # from the cache: no file has changed
    with (place / "my-sources" / "table.py").open("a") as file:
        file.write("# class_pixels says something else\n")
    assert set(build_index(source, protocol).frame["pixels"]) == {99}
