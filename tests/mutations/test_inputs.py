"""Damaged data, lists, protocols and checkpoints that a run is made from, and odd words on the command line."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.mutations import mutate
from tests.mutations.verdicts import Tally, damaged, family, judged, numbers
from tests.mutations.world import Ending, World, call, replaced

pytestmark = pytest.mark.slow

DRY = ("--dry-run", "--json", "--no-estimate")


class Inputs:
    """What a command makes of changed data: its identity and, where that is the same, its counts."""

    def __init__(self, world: World, words: list[str], *more: str | Path) -> None:
        self.world = world
        self.words = [*words, *map(str, more)]
        self.settings = self._settings(call(*self.words, *DRY))
        assert self.settings is not None
        self.counts = self._counts()

    def verdict(self, path: Path, same: bool = False) -> str:
        """``same``: the change is known to change nothing, so that nothing is run where the identity is the same."""
        ending = call(*self.words, *DRY)
        if ending.code == 0 and json.loads(ending.out)["not_here"]:  # a plan goes on where a run does not
            ending = call(*self.words, "--out", self.world.fresh("missing"))
        if ending.broken:
            return f"broken: {ending.broken}"
        if ending.code == 2:
            return self._named(ending, path)
        if self._settings(ending) != self.settings:
            return "other"
        if same:
            return "equal"
        counts = self._counts()
        if isinstance(counts, Ending):
            return f"broken: {counts.broken}" if counts.broken else self._named(counts, path)
        return "equal" if counts == self.counts else "silent: other counts under the same identity"

    def _named(self, ending: Ending, path: Path) -> str:
        names = {path.name, path.stem, str(path.parent)}
        return judged(ending, next((name for name in names if name in ending.err), path.name), "")

    @staticmethod
    def _settings(ending: Ending) -> Any:
        return [run["settings"] for run in json.loads(ending.out)["runs"]] if ending.code == 0 else None

    def _counts(self) -> Any:
        out = self.world.fresh("counted")
        ending = call(*self.words, "--out", out)
        if ending.code != 0:
            return ending
        (folder,) = out.glob("*/*/*/*")
        return numbers(folder)


def input_family(inputs: Inputs, name: str, path: Path, count: int, *more: mutate.Mutator, seed: str = "") -> None:
    cases = damaged(path.read_bytes(), count, seed or name, *more)
    family(name, path, cases, lambda: inputs.verdict(path), count)


def _meaning(data: bytes) -> Any:
    """What a protocol file says, without its description; None where it is no TOML."""
    try:
        table = tomllib.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    table.pop("description", None)
    return table


def test_protocols(world: World) -> None:
    path = world.root / "tiny-voc.toml"
    whole = path.read_bytes()
    inputs = Inputs(world, world.words["voc"])
    tally = Tally("protocol TOML")
    for case, data in damaged(whole, 150, "protocol", *[mutate.toml_value] * 8, *mutate.LINES):
        with replaced(path, data):
            tally.add(case, inputs.verdict(path, same=_meaning(data) == _meaning(whole)))
    tally.close(150)


@pytest.mark.parametrize("name", ["train", "val"])
def test_lists(world: World, name: str) -> None:
    path = world.voc / "ImageSets" / "Segmentation" / f"{name}.txt"
    inputs = Inputs(world, world.words["voc"])
    input_family(inputs, f"list {name}", path, 25, *mutate.LINES)


def test_list_files(world: World) -> None:
    path = world.root / "mine.txt"
    names = sorted(file.stem for file in (world.voc / "JPEGImages").glob("val_*"))
    path.write_text("".join(f"JPEGImages/{name}.jpg SegmentationClass/{name}.png\n" for name in names))
    inputs = Inputs(world, world.words["voc"], "--set", f"protocol.data.test_list={path}")
    input_family(inputs, "list file", path, 40, *mutate.LINES)


@pytest.mark.parametrize(
    ("name", "folder", "pattern", "count"),
    [("mask", "SegmentationClass", "val_c[12]_*.png", 25), ("image", "JPEGImages", "val_c[12]_*.jpg", 20)],
)
def test_pictures(world: World, name: str, folder: str, pattern: str, count: int) -> None:
    inputs = Inputs(world, world.words["voc"])
    for i, path in enumerate(sorted((world.voc / folder).glob(pattern))[:2]):
        input_family(inputs, name, path, count, seed=f"{name} {i}")


def test_coco_instances(world: World) -> None:
    path = world.coco / "annotations" / "instances_val2017.json"
    inputs = Inputs(world, world.words["coco"])
    input_family(inputs, "COCO JSON", path, 90, *[mutate.json_value] * 8, *mutate.LINES, seed="coco")


def test_episode_files(world: World) -> None:
    path = world.root / "mine.csv"
    assert call("episodes", "--dataset", world.root / "tiny-voc.toml", "--fold", "1", "--out", path).code == 0
    inputs = Inputs(world, world.words["voc"], "--episodes", path)
    input_family(inputs, "episode file", path, 70, *mutate.LINES, *[mutate.csv_cell] * 4)


def test_imported_episode_files(world: World) -> None:
    """Another tool's list: refused by name, or read as other episodes, which their digest tells."""
    path = world.root / "theirs.csv"
    protocol = world.root / "tiny-voc.toml"
    assert call("episodes", "--dataset", protocol, "--fold", "1", "--out", path).code == 0
    rows = [f"fold,{line}" if i == 0 else f"0,{line}" for i, line in enumerate(path.read_text().splitlines())]
    path.write_text("\n".join(rows) + "\n")

    def imported() -> Ending:
        return call("episodes", "--dataset", protocol, "--fold", "1", "--import", path)

    whole = imported()
    assert whole.code == 0, whole.err

    def verdict() -> str:
        ending = imported()
        return judged(ending, path.name, "equal" if ending.out == whole.out else "other")

    cases = damaged(path.read_bytes(), 40, "imported", *mutate.LINES, *[mutate.csv_cell] * 4)
    family("imported episode file", path, cases, verdict, 40)


def test_data_folders(world: World) -> None:
    """Files that are gone, of another kind, exchanged, or can never be read to their end."""
    inputs = Inputs(world, world.words["voc"])
    image = world.voc / "JPEGImages" / "val_c1_0.jpg"
    mask = world.voc / "SegmentationClass" / "val_c2_1.png"
    listing = world.voc / "ImageSets" / "Segmentation" / "val.txt"
    tally = Tally("data folders")

    def kinds(path: Path) -> dict[str, Callable[[], None]]:
        return {
            "gone": lambda: None,
            "a folder": path.mkdir,
            "a pipe": lambda: os.mkfifo(path),
            "a link to itself": lambda: path.symlink_to(path),
            "a link to nothing": lambda: path.symlink_to("nothing"),
            "a device": lambda: path.symlink_to("/dev/zero"),
            "a long link": lambda: path.symlink_to("x" * 200),
            "a file of another kind": lambda: shutil.copy(world.root / "tiny-coco.toml", path) and None,
        }

    for path in (image, mask, listing, world.root / "tiny-voc.toml"):
        aside = path.with_name(f"{path.name}.aside")
        for kind in kinds(path):
            path.rename(aside)
            try:
                kinds(aside.with_name(path.name))[kind]()
                verdict = inputs.verdict(path)
            finally:
                if path.is_dir() and not path.is_symlink():
                    path.rmdir()
                else:
                    path.unlink(missing_ok=True)
                aside.rename(path)
            tally.add(f"{path.name} is {kind}", verdict)
    for folder in (world.voc, world.voc / "JPEGImages", world.voc / "SegmentationClass", world.voc / "ImageSets"):
        aside = folder.with_name("aside")
        folder.rename(aside)
        try:
            tally.add(f"{folder.name} is gone", inputs.verdict(folder))
            folder.write_text("a file")
            tally.add(f"{folder.name} is a file", inputs.verdict(folder))
        finally:
            folder.unlink(missing_ok=True)
            aside.rename(folder)
    tally.close(35)


ODD_WORDS: dict[str, list[str]] = {
    "shot": ["99999999999999999999", "9" * 5000, "0x1", "1.5", "-1", "", "\0", "\uff11"],
    "way": ["99999999999999999999", "nan"],
    "seed": ["99999999999999999999999", "-1"],
    "iterations": ["9" * 30, "1e3"],
    "head-batch": ["0", "9" * 30],
    "cache-gib": ["nan", "inf", "-1", "1e400"],
    "panels": ["-1", "9" * 25],
    "scales": ["nan", "inf", "1e-300", "1e300", "", ",", "1,,1"],
    "episodes": ["0", "-5", "999999999999", "9" * 40, "\udcff", "~nosuchuser/e.csv", "a\0b", "/dev/zero", "x" * 300],
    "fold": ["0", "9" * 5000, "1,1,5", "all,1"],
    "out": ["\udcff", "a\0b", "/dev/null/x", "/proc/x", "~nosuchuser/x", "n" * 300],
    "data-root": ["~nosuchuser", "\udcff", "a\0b", "n" * 5000],
    "weights": ["~nosuchuser/w.pth", "/dev/zero", "a\0.pth", "n" * 300 + ".pth"],
    "eval-only": ["~nosuchuser/w.pt", "/dev/zero", "a\0.pt", "n" * 300],
    "methods-path": ["~nosuchuser", "a\0b", "n" * 300],
    "backbone": ["\x1b[31m", "\0", "n" * 5000],
    "set": ["protocol.image.size=" + "9" * 30, "protocol.image.size=" + "[" * 3000, "recipe.lr=1e999", "recipe.lr=nan"],
    "dataset": ["~nosuchuser/p.toml", "/dev/zero/p.toml", "n" * 300 + ".toml", "a\0.toml", "\udcff.toml", "\x1b[31m"],
}


def test_words_of_a_command(world: World) -> None:
    tally = Tally("command line")
    for option, values in ODD_WORDS.items():
        for value in values:
            words = list(world.words["voc"])
            if option == "iterations":
                del words[words.index("--iterations") : words.index("--iterations") + 2]
            out = [] if option == "out" else ["--out", world.fresh("words")]
            ending = call(*words, *out, *([] if option != "iterations" else DRY), f"--{option}", value)
            verdict = f"broken: {ending.broken}" if ending.broken else "refused" if ending.code == 2 else "equal"
            if option == "iterations" and ending.code == 0:
                verdict = "other"
            tally.add(f"--{option} {ascii(value)[:40]}", verdict)
    tally.close(75)


def test_checkpoints_that_predict(world: World) -> None:
    path = world.first / "checkpoint.pt"
    image = world.voc / "JPEGImages" / "val_c1_0.jpg"
    mask = world.fresh("mask") / "mask.png"
    Image.new("L", (40, 30), 0).save(mask)
    with Image.open(mask) as drawn:
        drawn.paste(255, (5, 5, 20, 20))
        drawn.save(mask)

    def predict() -> tuple[Ending, dict[str, bytes]]:
        out = world.root / "scratch" / "predicted"
        shutil.rmtree(out, ignore_errors=True)
        words = ("predict", "--support", image, mask, "--query", image, "--out", out, "--checkpoint", world.first)
        ending = call(*words, "--device", "cpu", "--size", "32")
        return ending, {p.name: p.read_bytes() for p in sorted(out.glob("*.png"))} if out.is_dir() else {}

    _, whole = predict()

    def verdict() -> str:
        ending, found = predict()
        return judged(ending, "checkpoint.pt", "equal" if found == whole else "silent: other masks")

    family("checkpoint.pt in predict", path, damaged(path.read_bytes(), 30, "predicting"), verdict, 30)
