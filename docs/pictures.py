"""Makes the pictures of the documentation from the records of ``make demo``: ``python docs/pictures.py``.

Terminals are drawn by rich from what the commands print on one; pages are photographed with Chromium.
"""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click
from PIL import Image
from rich.console import Console
from rich.text import Text

STATIC = Path(__file__).parent / "_static"
_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""Of the web, which a picture in a page never loads."""
_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
"""Allows no style but the page's own."""
_COMMANDS = {"report": ("report", 9), "compare": ("compare baseline biopt", 16), "show": ("show biopt", 30)}
"""What is typed, and how many of the printed lines are drawn."""


def on_a_terminal(command: list[str], width: int) -> str:
    """What a command prints on a terminal of ``width`` columns, with its colours."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(width), "LINES": "60", "TERM": "xterm-256color"}
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=environment)
    os.close(theirs)
    parts = []
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux says so when the last writer is gone
            break
        if not part:
            break
        parts.append(part)
    os.close(ours)
    if process.wait():
        raise click.ClickException(f"{' '.join(command)}: ended with exit code {process.returncode}")
    return b"".join(parts).decode().replace("\r\n", "\n")


def terminal(name: str, words: str, results: Path, width: int, lines: int) -> None:
    """``_static/terminal-NAME.svg``: the first lines that ``fsseg-bench WORDS`` prints."""
    place = [] if words.startswith("show") else ["--results", str(results)]
    printed = on_a_terminal([sys.executable, "-m", "fsseg_bench", *words.split(), *place], width)
    text = Text.from_ansi(printed.replace(f"{STATIC.parents[1]}{os.sep}", ""))  # readers have their own checkout
    shown = Text("\n").join(text.split("\n")[:lines])
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=width, file=nowhere, force_terminal=True)
        console.print(shown, no_wrap=True, crop=True)
        svg = console.export_svg(title=f"fsseg-bench {words}", unique_id=name)
    (STATIC / f"terminal-{name}.svg").write_text(_FONTS.sub("", svg), encoding="utf-8")


def photograph(page: str, name: str, width: int, height: int) -> None:
    """``_static/NAME.webp``: the upper part of a page in Chromium."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        raise click.ClickException("there is no Chromium on the PATH")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}/user"]
        size = [f"--window-size={width},{height}", f"--screenshot={shot}", "--virtual-time-budget=4000"]
        subprocess.run([browser, *flags, *size, page], check=True, capture_output=True)
        Image.open(shot).convert("RGB").save(STATIC / f"{name}.webp", quality=80, method=6)


def only(page: str, section: str) -> str:
    """The page with one section of it shown."""
    hidden = f"<style>body > *, main > * {{ display: none }} main, #{section} {{ display: block }}</style></head>"
    return _POLICY.sub("", page).replace("</head>", hidden, 1)


@click.command()
@click.option("--results", type=Path, default=Path("results/runs"), show_default=True)
def main(results: Path) -> None:
    """Write all pictures into ``docs/_static``."""
    for name, (words, lines) in _COMMANDS.items():
        terminal(name, words, results, 100, lines)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        command = [sys.executable, "-m", "fsseg_bench", "report", "--format", "html", "--out", str(page)]
        subprocess.run([*command, "--results", str(results)], check=True, capture_output=True)
        photograph(page.as_uri(), "page", 1200, 740)
        alone = Path(folder) / "episodes.html"
        alone.write_text(only(page.read_text(encoding="utf-8"), "episodes"), encoding="utf-8")
        photograph(alone.as_uri(), "page-episodes", 1200, 780)


if __name__ == "__main__":
    main()
