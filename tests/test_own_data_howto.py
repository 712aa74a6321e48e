"""The how-to pages on own images, followed literally: commands in a shell, Python in an interpreter, in order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.datasets import HEIGHT, WIDTH, write_class_folders
from tests.support.fresh import ROOT, python

PAGES = [ROOT / "docs" / "howto" / f"{name}.md" for name in ("own-data", "predict", "episodes")]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
_BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = """\
#!{python}
from fsseg_bench.cli.main import main
main()
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with my-photos, and fsseg-bench as a command."""
    write_class_folders(tmp_path / "my-photos", 6, ("cup", "dog", "leaf", "shoe"))
    command = tmp_path / "bin" / "fsseg-bench"
    command.parent.mkdir()
    command.write_text(_COMMAND.format(python=sys.executable))
    command.chmod(0o755)
    return tmp_path


def shell(script: str, place: Path) -> str:
    variables = {
        **os.environ,
        "PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "methods"))),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=place, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_the_page_works_as_it_stands(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    blocks = _BLOCK.findall(TEXT)
    outputs = [python(code) if language == "python" else shell(code, place) for language, code in blocks]
    assert len(outputs) == 10
    init, _, run, predict, files, several, _, episodes, replay, _ = outputs
    assert "fold 1: cup 6/6" in init
    assert (place / "my-photos/protocol.toml").is_file()
    assert run.count("record: runs/my-photos/baseline-resnet18-layer2/1way-1shot/fold") == 4
    assert "dog: drawn with seed 0 from my-photos: dog/" in predict
    assert "my-photos/dog/images/002.jpg:" in predict
    assert files.count("of the pixels -> predicted-dogs/") == 8
    assert "dog " in several
    assert (place / "predicted-map" / "legend.csv").read_text() == "value,name\n0,background\n1,dog\n2,cup\n"
    for name in ("002", "003"):
        for kind, values in (("mask", {0, 255}), ("probability", None), ("overlay", None)):
            picture = Image.open(place / "predicted" / f"{name}-{kind}.png")
            assert picture.size == (WIDTH, HEIGHT)
            assert values is None or set(np.unique(np.asarray(picture)).tolist()) <= values
    header, *rows = episodes.splitlines()
    assert header == "class_1,query,support_1_1"
    assert {image for row in rows for image in row.split(",")[1:]} <= {f"cup/00{i}" for i in range(3)}
    assert "record: runs/my-photos/" in replay
    assert (place / "imported-1.csv").read_bytes() == (place / "episodes.csv").read_bytes()


def test_every_command_of_the_page_is_run() -> None:
    """What is not in a tested block is an example that needs data one may not have: CANet's lists alone."""
    left = re.findall(r"^fsseg-bench .*$", _BLOCK.sub("", TEXT), re.MULTILINE)
    assert len(left) == 1
    assert "canet-train.txt" in left[0]
