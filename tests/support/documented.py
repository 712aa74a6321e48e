"""The blocks of the documentation, run as they stand, with trainings of two steps and tables of 20 episodes.

A block is run where its first line says so: ```` ```sh tested ```` or ```` ```python tested ````.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import pytest

from fsseg_bench.protocol import load
from fsseg_bench.recipe import Recipe
from tests.support.datasets import write_class_folders
from tests.support.fresh import ROOT

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)]
ITERATIONS, EPISODES = 2, 20
_FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SCRIPT = """\
#!/bin/sh
exec {python} -m tests.support.shortened "$@"
"""


class Block(NamedTuple):
    """What stands between two fences."""

    info: str
    """The words behind the first fence: ``sh tested``."""
    code: str
    line: int
    """Of the first fence, from 1."""

    @property
    def tested(self) -> bool:
        """Whether it is to be run."""
        return self.info in {"sh tested", "python tested"}


def name_of(page: Path) -> str:
    """The page as tests are named after it."""
    return page.relative_to(ROOT).as_posix().removeprefix("docs/")


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [Block(m[1].strip(), m[2], text.count("\n", 0, m.start()) + 1) for m in _FENCE.finditer(text)]


def commands(page: Path) -> Iterator[tuple[int, list[str]]]:
    """Line and arguments of each ``fsseg-bench`` command in any block of a page, variables of the block put in."""
    for block in blocks(page):
        if block.info.split()[:1] not in ([], ["sh"], ["text"], ["console"]):
            continue
        variables = dict(re.findall(r'^(\w+)="(.*)"$', block.code, re.MULTILINE))
        lines = re.sub(r"\\\n *", " ", block.code).splitlines()
        for number, line in enumerate(lines):
            for part in re.split(r" \| | && |; ", line.partition(" # ")[0]):
                found = re.match(r"\s*(?:\$ )?(?:\w+=\S* )*(?:.venv/bin/)?fsseg-bench (.+)", part)
                if found:
                    yield block.line + 1 + number, shlex.split(Template(found[1]).safe_substitute(variables))


def shorten(put: Callable[[Any, str, Any], None] = setattr) -> None:
    """Makes trainings and episode tables short where nothing else was asked for, in this process."""
    read, with_settings = load._read, Recipe.with_settings

    def read_short(path: Path) -> dict[str, Any]:
        table = read(path)
        if table.get("episodes", {}).get("count", 0) == 1000:
            table["episodes"]["count"] = EPISODES
        return table

    def few_steps(self: Recipe, given: dict[str, Any]) -> Recipe:
        return with_settings(self, {"iterations": min(ITERATIONS, self.iterations), **given})

    put(load, "_read", read_short)
    put(Recipe, "with_settings", few_steps)


class Place:
    """A folder to follow a page in: like a checkout after ``make demo``, with photos of one's own."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, python: str) -> None:
        """``python``: the shell command to run the package's commands with."""
        self.folder, self._patch = folder, patch
        self._names: dict[str, Any] = {"__name__": "__main__"}
        write_class_folders(folder / "my-photos", 6, ("cup", "dog", "leaf", "shoe"))
        command = folder / "bin" / "fsseg-bench"
        command.parent.mkdir()
        command.write_text(_SCRIPT.format(python=python))
        command.chmod(0o755)
        (folder / "methods").symlink_to(ROOT / "methods")

    def add_demo(self, records: Path) -> None:
        """Puts the records of the demo where ``make demo`` leaves them."""
        shutil.copytree(records, self.folder / "results" / "runs", copy_function=os.link)

    def follow(self, page: Path) -> list[str]:
        """What the blocks of a page print that are to be run, in order."""
        return [self.run(block) for block in blocks(page) if block.tested]

    def run(self, block: Block) -> str:
        """What a block prints; fails where it does."""
        return self.python(block.code) if block.info.startswith("python") else self.shell(block.code)

    def python(self, code: str) -> str:
        """What code prints in this process, which has the names of the page's earlier blocks."""
        printed = io.StringIO()
        with self._patch.context() as patch, contextlib.redirect_stdout(printed):
            shorten(patch.setattr)
            patch.chdir(self.folder)
            exec(compile(code, "block", "exec"), self._names)
        return printed.getvalue()

    def shell(self, script: str) -> str:
        """What a script prints on its standard output."""
        variables = {
            **os.environ,
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "methods"))),
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(
            ["bash", "-e", "-c", script], cwd=self.folder, env=variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout
