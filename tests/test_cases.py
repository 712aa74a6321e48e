"""Inputs that people really have: each case's commands, given as its user would, end as its ``expect.md`` says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.real_data]

_ALIGNED = r"IoU of mask and drawn object (0\.[89]\d|1\.00)"
_MISPLACED = r"IoU of mask and drawn object 0\.[0-6]"
_TRACEBACK = r'Traceback \(most recent call last\):\n(?!  File "[^"]*align\.py")'  # which shows what init has written
_OPENED = [rf"\n\| panet .*? {score} .*\n1 image in .* -> out\n" for score in (r"(\d+\.\d+ ± \d+\.\d+)", r"\1")]
"""What evaluation and prediction from a checkpoint print: a score, and then the same again."""
_TABLE = r"\| *baseline"


class Ends(NamedTuple):
    """What the commands of a case print, on either stream, as regular expressions."""

    says: tuple[str, ...]
    never: tuple[str, ...] = ()
    root: bool = False
    """Whether the case needs the rights of root."""


CASES = {
    "01-exif-6": Ends((r"EXIF orientation .*: 1 \(cup/000\)", _TABLE)),
    "02-exif-3": Ends(
        (r"EXIF orientation .*: 12 \(cup/000, cup/001, cup/002, \.\.\.\)", _ALIGNED, _TABLE), (_MISPLACED,)
    ),
    "04-cvat-brush-iscrowd1": Ends((r"4 annotations with iscrowd 1, crowd regions: void.* cup 1, dog 1,", _TABLE)),
    "05-iscrowd-text": Ends((r"4 annotations with an iscrowd that is not the number", _ALIGNED, _TABLE), (_MISPLACED,)),
    "06-json-bom": Ends((_TABLE,)),
    "08-flat-polygon": Ends((r"12 annotations in a form that COCO does not have", r"wrote data/protocol\.toml")),
    "09-box-as-polygon": Ends((r"4 annotations without an outline .*: left out; cup 1, dog 1,",)),
    "10-polygon-outside": Ends((r"differ [0-9]\b",), (r"differ \d{3}",)),
    "11-category-gap": Ends((_ALIGNED, _TABLE), (_MISPLACED,)),
    "12-roboflow-same-name": Ends(
        (r"category 0 \(cup\) has no annotation and the same name as another", r"wrote data/protocol\.toml")
    ),
    "13-labelstudio-backslash": Ends((r"12 images found by another spelling", r"wrote data/protocol\.toml")),
    "19-voc-4bit-grey": Ends((_ALIGNED, r"4 classes"), (_MISPLACED, r"class-\d")),
    "20b-voc-jpeg-train-val": Ends((r"is a JPEG, whatever its name says; a JPEG cannot hold label values",), (_TABLE,)),
    "21b-background-not-0-train-val": Ends((r"classes\.txt: line 3 is 'background'",), (_TABLE, _MISPLACED)),
    "22-list-bom": Ends((r"wrote data/protocol.toml",)),
    "24-appledouble": Ends((r"wrote data/protocol.toml", r"passed over: 32 \(")),
    "25-mask-upper-case": Ends((r"wrote data/protocol.toml",)),
    "26-latin1-names": Ends((r"error: data/cup/images/caf\\xe9\.jpg: the name is not UTF-8",)),
    "36-labelme-SegmentationClassPNG": Ends((r"wrote data/protocol.toml", r"SegmentationClass/ holds no mask")),
    "37-palette-white-first": Ends((_ALIGNED,), (_MISPLACED,)),
    "39-broken-symlink": Ends(
        (r"error: data/cup/images/000\.jpg: the image is a link", r"error: all: .*/000\.jpg is a l")
    ),
    "51-lists-train1-train2": Ends((r'train_list = \["train1", "train2"\]', r'test_list = \["val"\]')),
    "17-coco-leak": Ends(
        (r"8 training images are left out", r"in training 8 in test 8 in both 0"), (r"in both [1-9]",)
    ),
    "28-no-home-unknown-user": Ends(
        (r"no home folder .*set FSSEG_CACHE", r"denied; set FSSEG_CACHE", r"exit 2\nexit 2\nnext: .*\nexit 0"),
        root=True,
    ),
    "34-small-shm": Ends((r"go through pipes .*--shm-size", r"train 6/6", r"exit 0"), (r"exit 137",), root=True),
    "53-folder-photo-in-two-classes": Ends(
        (
            r"fold 1: 4 training images are left out: .*dog/000 is cup/000",
            r"fold 1 test photos 4 of them in training 0",
        ),
        (r"in training [1-9]",),
    ),
    "62-predict-exif-support": Ends((r"(?s)\nout IoU.* (0\.\d+)\nout2 IoU.* \1\n",)),
    "61-checkpoint-dataparallel": Ends((rf"== plain.pth{_OPENED[0]}(== \S+{_OPENED[1]}){{5}}",), (r"error",)),
    "63-broken-image-late": Ends(
        (r"cup/images/003\.jpg: the image cannot be read .*truncated", r"exit 2"), (r"train \d+/60",)
    ),
    "54-coco-overlap": Ends((r"\ncup 525\n", r"\ndog (2[5-9]\d|300)\n")),
    "57-roboflow-layout": Ends((r"wrote data/protocol\.toml",)),
    "58b-jpeg-masks": Ends((r"masks are missing: .* there is data/cup/masks/000\.jpg, but its format",)),
    "59-fss1000-layout": Ends((r"wrote data/protocol.toml", r"cup 10/10")),
    "64-init-leaves-protocol": Ends((r"(?s)caf\\xe9.*caf\\xe9",), (r"protocol\.toml", "is there already")),
    "67-cvat-subsets-Train-Test": Ends((r'train_list = \["Train"\]', r'test_list = \["Test"\]')),
    "68-coco-images-subset-of-files": Ends((r"data/images/cup_000\.jpg: no such image and 1 more \(cup_001\.jpg\)",)),
}


def write_commands(folder: Path, python: str) -> Path:
    """A folder with ``fsseg-bench`` and ``python``, to stand first in PATH."""
    folder.mkdir()
    for name, line in {"fsseg-bench": "-m fsseg_bench", "python": ""}.items():
        (folder / name).write_text(f'#!/bin/sh\nexec {python} {line} "$@"\n', encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize("case", sorted(CASES))
def test_a_case_ends_as_is_right(case: str, test_data: Path, tmp_path: Path, forked_python: str) -> None:
    ends = CASES[case]
    if ends.root and os.geteuid() != 0:
        pytest.skip("needs the rights of root")
    shutil.copytree(test_data / "cases" / case, tmp_path / case, symlinks=True)
    shutil.copy(test_data / "cases" / "align.py", tmp_path)
    python = sys.executable if ends.root else forked_python  # another user, another /dev/shm
    commands = write_commands(tmp_path / "bin", python)
    environment = {**os.environ, "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "400"}
    done = subprocess.run(
        ["bash", str(tmp_path / case / "cmd.sh")], env=environment, capture_output=True, text=True, errors="replace"
    )
    printed = f"\n{done.stdout}\n{done.stderr}\n"
    for pattern in ends.says:
        assert re.search(pattern, printed), f"{pattern!r} is not in\n{printed}"
    for pattern in (_TRACEBACK, *ends.never):
        assert not re.search(pattern, printed), f"{pattern!r} is in\n{printed}"
