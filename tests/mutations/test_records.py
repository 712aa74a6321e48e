"""Damaged records in reports, comparisons and figures: more than five hundred cases."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fsseg_bench.records.read import read_run
from fsseg_bench.records.sweep import find_sweep
from tests.mutations import mutate
from tests.mutations.verdicts import SEED, Tally, asked, damaged, family, losses
from tests.mutations.world import Ending, World, call, replaced

pytestmark = pytest.mark.slow


COMMANDS: dict[str, tuple[str, ...]] = {
    "html": ("report", "--format", "html"),
    "latex": ("report", "--format", "latex", "--per-class"),
    "csv": ("report", "--format", "csv", "--per-class"),
    "list": ("list", "runs"),
    "commands": ("report", "--commands"),
    "macros": ("report", "--macros"),
    "native": ("report", "--resolution", "native", "--metric", "binary"),
    "compare": ("compare", "panet", "biopt", "--resamples", "100", "--format", "markdown"),
    "compare first": ("compare", "baseline", "panet", "--resamples", "100", "--format", "json"),
}


JSON = ("report", "--format", "json", "--per-class")


class Reports:
    """What commands say with the first run, and without it."""

    def __init__(self, world: World) -> None:
        self.world = world
        words = {"json": JSON, **COMMANDS}
        self.whole = {name: self.ask(name) for name in words}
        aside = world.root / "aside"
        shutil.move(world.first, aside)
        self.without = {name: self.ask(name) for name in words}
        shutil.move(aside, world.first)
        assert all(ending.code == 0 and ending.out for ending in self.whole.values()), self.whole

    def ask(self, name: str) -> Ending:
        return call(*{"json": JSON, **COMMANDS}[name], "--results", str(self.world.results))

    def verdict(self, name: str) -> str:
        """What ``name`` makes of the first run as it is now."""
        ending, whole, without = self.ask(name), self.whole[name], self.without[name]
        if ending.broken:
            return f"broken: {ending.broken}"
        folder = self.world.first.relative_to(self.world.results).as_posix()
        named = folder in ending.err or (name == "html" and folder in ending.out.partition("<h3>Skipped</h3>")[2])
        if self.numbers(name, ending.out) == self.numbers(name, whole.out):
            return "refused: named, and every number stands" if named else "equal"
        if not named:
            return f"silent: {name} says something else without a word"
        if name == "compare first":
            return "refused" if ending.code == 2 else "silent: compares what is damaged"
        if ending.code != 0:
            return f"stops: {name} ends with {ending.code}: {ending.err[-200:]}"
        if name == "html" or self.numbers(name, ending.out) == self.numbers(name, without.out):
            return "refused"
        return f"silent: {name} names the damage, and other numbers change as well"

    def numbers(self, name: str, out: str) -> Any:
        """The output without what names skipped records."""
        if name == "json":
            document = json.loads(out)
            return document["tables"]
        if name == "html":
            return out.partition('<section id="records"')[0].partition("</nav>")[2]
        return out


@pytest.fixture(scope="module")
def reports(world: World) -> Reports:
    return Reports(world)


def report_family(reports: Reports, name: str, path: Path, cases: Iterator[tuple[str, bytes]], always: str) -> Tally:
    tally = Tally(name)
    others = [key for key in COMMANDS if key != always]
    for i, (case, data) in enumerate(cases):
        with replaced(path, data):
            tally.add(f"{case} in {always}", reports.verdict(always))
            other = others[i % len(others)]
            tally.add(f"{case} in {other}", reports.verdict(other))
    return tally


def test_run_json_of_a_finished_run(world: World, reports: Reports) -> None:
    path = world.first / "run.json"
    cases = damaged(path.read_bytes(), 70, "run.json", mutate.json_value, mutate.json_value, mutate.json_value)
    report_family(reports, "run.json", path, cases, "json").close(140)


def test_odd_values_in_run_json(world: World, reports: Reports) -> None:
    """As an earlier version would have written it: without a check over the whole, so that every value is looked at."""
    path = world.first / "run.json"
    info = json.loads(path.read_bytes())
    info.pop("check", None)
    rng = random.Random(f"{SEED} odd values")
    tally = Tally("run.json, odd values")
    fields = ["passed", "provenance", "timings", "diagnostics", "weights", "scores", "device", "reason", "created"]
    fields += ["resumed", "episodes", "files", "lines"]
    for i in range(65):
        changed = json.loads(json.dumps(info))
        key = fields[i % len(fields)]
        if i % 2 or not isinstance(changed.get(key), dict):
            changed[key] = rng.choice(
                [1, "x", [], [1], {"a": 1}, None, True, {"a": {"b": [{}]}}, "\x1b[1m", -1.5, [[]]]
            )
        else:
            changed[key] = mutate.changed_value(changed[key] or {"a": 1}, rng)
        with replaced(path, json.dumps(changed).encode()):
            for name in ("html", list(COMMANDS)[i % len(COMMANDS)]):
                ending = reports.ask(name)
                tally.add(f"odd values {i} of {key} in {name}", _goes_on(ending, reports, name))
    tally.close(120)


def _goes_on(ending: Ending, reports: Reports, name: str) -> str:
    """Values that only describe a run may differ (they have no other record); scores and the others' rows may not."""
    if ending.broken:
        return f"broken: {ending.broken}"
    if ending.code == 0:
        numbers = reports.numbers(name, ending.out)
        if name in {"html", "list", "commands"}:
            return "equal"
        known = [reports.numbers(name, kind[name].out) for kind in (reports.whole, reports.without)]
        return "equal" if numbers in known else f"silent: {name} has other numbers"
    folder = reports.world.first.relative_to(reports.world.results).as_posix()
    return "refused" if folder in ending.err else f"stops: {name}: {ending.err[-200:]}"


def test_episodes_of_a_finished_run(world: World, reports: Reports) -> None:
    path = world.first / "episodes.jsonl"
    cases = damaged(path.read_bytes(), 45, "episodes.jsonl", *mutate.LINES, mutate.json_line_value)
    report_family(reports, "episodes.jsonl, done", path, cases, "json").close(90)


def test_panels(world: World, reports: Reports) -> None:
    listing = world.first / "panels" / "panels.json"
    picture = sorted(listing.parent.glob("*.png"))[0]
    for path, name, count, more in (
        (listing, "panels.json", 40, [mutate.json_value] * 2),
        (picture, "panel", 20, []),
    ):
        family(name, path, damaged(path.read_bytes(), count, name, *more), lambda: reports.verdict("html"), count)


def test_predictions(world: World, reports: Reports) -> None:
    path = world.first / "predictions.jsonl"
    cases = damaged(path.read_bytes(), 30, "predictions.jsonl", *mutate.LINES, mutate.json_line_value)
    family("predictions.jsonl", path, cases, lambda: reports.verdict("html"), 30)


def test_the_episode_table_of_a_finished_run(world: World, reports: Reports) -> None:
    path = world.first / "episodes.csv"
    cases = damaged(path.read_bytes(), 20, "episodes.csv", *mutate.LINES, mutate.csv_cell)
    report_family(reports, "episodes.csv of a record", path, cases, "json").close(40)


def test_the_training_log_of_a_finished_run(world: World, reports: Reports) -> None:
    path = world.first / "train.jsonl"
    tally = Tally("train.jsonl, done")
    curve = partial(losses, world.results)
    whole = curve()
    cases = damaged(path.read_bytes(), 50, "train.jsonl", *mutate.LINES, mutate.json_line_value, mutate.json_line_value)
    for i, (case, data) in enumerate(cases):
        with replaced(path, data):
            tally.add(case, asked(curve, whole, path))
            if i % 3 == 0:
                tally.add(f"{case} in html", reports.verdict("html"))
    tally.close(65)


def test_a_sweep(world: World) -> None:
    (path,) = world.swept.glob("sweep-*.jsonl")

    def counts() -> Any:
        found = find_sweep(read_run(world.swept), "steps")
        return found and (found.values, found.input.tolist(), found.native.tolist())

    whole = counts()

    def verdict() -> str:
        found = asked(counts, whole, path)
        incomplete = found.startswith("silent") and counts() is None
        return "refused: an incomplete sweep is none" if incomplete else found

    cases = damaged(path.read_bytes(), 50, "sweep", *mutate.LINES, mutate.json_line_value)
    family("sweep", path, cases, verdict, 50)
