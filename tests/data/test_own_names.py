"""Names and colours of classes from a file: which lines are classes, and what would shift labels in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsseg_bench.data.decode import sha256
from fsseg_bench.data.open import open_source
from fsseg_bench.data.own.names import class_names, voc_class_names
from fsseg_bench.data.own.proposal import propose
from fsseg_bench.data.sources.voc import VocKeys, VocSource
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.load import load_protocol
from tests.support.datasets import CLASSES, write_voc

LABELMAP = "# label:color_rgb:parts:actions\n"
COLORS = tuple(f"{20 * i},{255 - 20 * i},{7 * i}" for i in range(1, 9))


def write_coloured(root: Path, file: str, text: str, kind: str = "RGB") -> Path:
    """VOC's layout with masks in ``COLORS``, void in VOC's own, and a file of names beside."""
    write_voc(root, 2, 2)
    colours = np.zeros((256, 3), dtype=np.uint8)
    colours[1:9] = [[int(c) for c in color.split(",")] for color in COLORS]
    colours[255] = (224, 224, 192)
    for path in (root / "SegmentationClass").iterdir():
        with Image.open(path) as file_:
            labels = np.array(file_)
        if kind == "RGB":
            Image.fromarray(colours[labels]).save(path)
        else:
            Image.fromarray(colours[labels]).quantize(256 if kind == "P" else 0).save(path)
    (root / file).write_text(text, encoding="utf-8")
    return root


def lines(form: str, *more: str, at: int = 0) -> str:
    made = [form.format(name, color, color.replace(",", " ")) for name, color in zip(CLASSES, COLORS, strict=True)]
    return "\n".join([*made[:at], *more, *made[at:]]) + "\n"


@pytest.mark.parametrize("kind", ["RGB", "P"])
@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("labelmap.txt", LABELMAP + lines("{0}:{1}::", "background:0,0,0::")),
        (
            "labelmap.txt",
            LABELMAP + lines("{0}:{1}:head,tail:sit", "background:0,0,0::", at=3),
        ),  # its place is no matter
        ("labelmap.txt", "\ufeff" + lines("{0}:{1}::", "ignored:224,224,192::", at=8).replace("\n", "\r\n")),
        ("classes.txt", lines("{0} {2}", "background 0 0 0")),
        ("classes.txt", lines("{0}, {1}", at=8)),
        ("label_colors.txt", lines("{2}\t{0}", "0 0 0\tbackground", at=8)),
        ("colors.txt", lines("{0} {1}")),
    ],
)
def test_colours_are_read_as_tools_write_them(tmp_path: Path, file: str, text: str, kind: str) -> None:
    plain = VocSource(write_voc(tmp_path / "plain", 2, 2), CLASSES, ["SegmentationClass"])
    root = write_coloured(tmp_path / "coloured", file, text, kind)
    proposal = propose(root)
    for name, content in proposal.files.items():
        (root / name).write_text(content, encoding="utf-8")
    protocol = load_protocol(root / "protocol.toml")
    assert protocol.classes == CLASSES
    assert protocol.data.options_as(VocKeys).colors == COLORS
    source = open_source(protocol)
    for image in plain.ids("val"):
        assert np.array_equal(source.class_masks(image, range(1, 9)), plain.class_masks(image, range(1, 9)))
    mask = root / "SegmentationClass/val_c1_0.png"
    assert source.content("val_c1_0", labels=True).files[mask] == sha256(mask.read_bytes())
    assert source.label_digest("val_c1_0") != sha256(mask.read_bytes())  # the colours are part of it


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (lines("{0}:{1}::", at=1).replace(CLASSES[2], "background"), "gives the background the colour 60,195,21"),
        (lines("{0}:{1}::").replace(COLORS[0], ""), "'anchor' has no colour"),
        (lines("{0}:{1}::").replace(COLORS[0], "0,0,0"), "'anchor' has 0,0,0"),
        (lines("{0}:{1}::").replace(COLORS[0], "0,0,300"), "'anchor' has 0,0,300"),
        (lines("{0}:{1}::").replace(COLORS[0], COLORS[1]), f"has the colour {COLORS[1]} more than once"),
        (lines("{0}:{1}::").replace(CLASSES[0], CLASSES[1]), f"has the name {CLASSES[1]} more than once"),
    ],
)
def test_colours_that_decide_nothing_are_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError, match=rf"labelmap\.txt: .*{words}"):
        propose(write_coloured(tmp_path, "labelmap.txt", text))


def test_a_colour_without_a_class_is_refused(tmp_path: Path) -> None:
    text = "".join(line for line in lines("{0}:{1}::").splitlines(keepends=True) if "harp" not in line)
    with pytest.raises(UserError, match=rf"\.png: the mask has the colours {COLORS[7]} \(\d+ pixels\), which are no"):
        propose(write_coloured(tmp_path, "labelmap.txt", text))


def test_colours_without_names_are_refused(tmp_path: Path) -> None:
    root = write_coloured(tmp_path, "colors.txt", lines("{2}"))
    with pytest.raises(UserError, match=r"colors\.txt: has 8 colours, but .*classes\.txt 0 names"):
        propose(root)
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES), encoding="utf-8")
    assert "classes" in propose(root).files["protocol.toml"]


def test_label_values_need_no_colours(tmp_path: Path) -> None:
    """Greyscale masks beside a labelmap.txt: a value is the place of its line."""
    write_voc(tmp_path, 2, 2, palette=False)
    (tmp_path / "labelmap.txt").write_text(LABELMAP + lines("{0}:{1}::", "background:0,0,0::"), encoding="utf-8")
    text = propose(tmp_path).files["protocol.toml"]
    assert 'classes = ["anchor", "barrel"' in text
    assert "colors" not in text


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("background\nant\nbee\n", ("ant", "bee")),
        ("__ignore__\n_background_\nant\nbee\n", ("ant", "bee")),
        ("__ignore__\nant\nbee\n", ("ant", "bee")),
        ("__background__\nant\nbee\n", ("ant", "bee")),
        ("0 background\n1 ant\n2 bee\n", ("ant", "bee")),
        ("1: ant\n2: bee\n", ("ant", "bee")),
        ("1 euro\n2 euro\n", ("1 euro", "2 euro")),
        ("2 euro\n5 cent\n", ("2 euro", "5 cent")),
        ("#1\n#2 red\n", ("#1", "#2 red")),
        ("ant 1 2 3\nbee\n", ("ant 1 2 3", "bee")),  # not all lines have colours: it is a name
    ],
)
def test_lines_that_are_classes(tmp_path: Path, text: str, names: tuple[str, ...]) -> None:
    (tmp_path / "classes.txt").write_text(text)
    assert class_names(tmp_path / "classes.txt") == names


def test_classes_numbered_from_zero_are_refused(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("0 ant\n1 bee\n")
    with pytest.raises(UserError, match=r"classes\.txt: numbers the classes from 0 \('0 ant'\)"):
        class_names(tmp_path / "classes.txt")


@pytest.mark.parametrize(
    ("text", "line"),
    [("ant\nbackground\nbee\n", 2), ("ant\n\nbee\nBackground\n", 4), ("background\nant\n__ignore__\n", 3)],
)
def test_background_behind_a_class_is_refused(tmp_path: Path, text: str, line: int) -> None:
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(UserError, match=rf"classes\.txt: line {line} is .* may only be the first"):
        class_names(tmp_path / "classes.txt")


def test_palettes_that_differ_are_told(tmp_path: Path) -> None:
    root = write_voc(tmp_path, 2, 2)
    assert "palettes" not in propose(root).summary
    path = root / "SegmentationClass" / "val_c3_0.png"
    with Image.open(path) as file:
        mask = file.copy()
    mask.putpalette([0, 0, 0, *range(1, 61)])
    mask.save(path)
    assert (
        "the palettes of the masks differ: the label value 3 is 111,222,77 in train_c2_1.png and 7,8,9 in val_c3_0"
        in (propose(root).summary)
    )


@pytest.mark.parametrize(
    ("file", "text", "names"),
    [
        ("classes.txt", "ant\nbee\n\n  cow \n", ("ant", "bee", "cow")),
        ("class_names.txt", "__ignore__\n_background_\nant\nbee\n", ("ant", "bee")),  # as labelme writes them
        ("another.txt", "ant\nbee\n", ("class-1", "class-2")),
    ],
)
def test_names_of_classes(tmp_path: Path, file: str, text: str, names: tuple[str, ...]) -> None:
    (tmp_path / file).write_text(text)
    assert voc_class_names(tmp_path, 2) == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"ant\nbee\n", "has 2 names, but a mask has the label value 3"),
        (b"ant\nbee\nant\n", "names ant more than once"),
        (b"\xff\xfe\x00", "the names of the classes cannot be read"),
    ],
)
def test_wrong_files(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / "classes.txt").write_bytes(text)
    with pytest.raises(UserError, match=rf"classes\.txt: {message}"):
        voc_class_names(tmp_path, 3)
