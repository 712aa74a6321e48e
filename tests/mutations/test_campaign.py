"""More than a thousand damaged inputs, each through the real entry: refused by name, or without any effect, or legal.

A case is fine when it ends as one of

- refused: exit code 2 (or, in a report, the record left out) and a message that names the file;
- equal: accepted, and every number is what it is without the damage;
- other: accepted as another input, with another identity.

Anything else (a traceback, a hang, another number under the same identity) fails.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fsseg_bench.engine.checkpoint import TrainingState, save_state
from fsseg_bench.errors import UserError
from fsseg_bench.records.read import read_run
from fsseg_bench.records.sweep import find_sweep
from fsseg_bench.report.figures.loss import loss_curve
from fsseg_bench.report.select import select
from tests.mutations import mutate
from tests.mutations.world import Ending, World, call, make_world, replaced, watched

SEED = 20240509

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FSSEG_CACHE", str(root / "cache"))
        patch.chdir(root)
        yield make_world(root)


@pytest.fixture(autouse=True)
def _cache(world: World, _own_cache: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSSEG_CACHE", str(world.root / "cache"))


class Tally:
    """The verdicts of one family of inputs."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.verdicts: Counter[str] = Counter()
        self.bad: list[str] = []

    def add(self, case: str, verdict: str) -> None:
        kind = verdict.partition(": ")[0]
        self.verdicts[kind] += 1
        if kind not in {"refused", "equal", "other"}:
            self.bad.append(f"{case}: {verdict}")

    def close(self, at_least: int) -> None:
        if log := os.environ.get("FSSEG_MUTATIONS_LOG"):
            with Path(log).open("a") as file:
                file.write(json.dumps({"family": self.name, **self.verdicts}) + "\n")
        assert sum(self.verdicts.values()) >= at_least
        assert not self.bad, f"{self.name}: {dict(self.verdicts)}\n" + "\n".join(self.bad[:40])


def damaged(data: bytes, count: int, name: str, *more: mutate.Mutator) -> Iterator[tuple[str, bytes]]:
    """``count`` different damages of ``data``, with a name each."""
    rng = random.Random(f"{SEED} {name}")
    mutators = (*mutate.BYTES, *more)
    seen = {data}
    for i in range(4 * count):
        mutator = mutators[i % len(mutators)]
        other = mutator(data, rng)
        if other not in seen:
            seen.add(other)
            yield f"{name} {i} {getattr(mutator, '__name__', 'lines').lstrip('_')}", other
        if len(seen) > count:
            return


# -- records in a report


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
        named = folder in ending.err or (name == "html" and folder in ending.out.partition('id="skipped"')[2])
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
            return out.partition('<section id="skipped"')[0].partition("</nav>")[2]
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
    tally = Tally("panels")
    for case, data in damaged(listing.read_bytes(), 40, "panels.json", mutate.json_value, mutate.json_value):
        with replaced(listing, data):
            tally.add(case, reports.verdict("html"))
    picture = sorted(listing.parent.glob("*.png"))[0]
    for case, data in damaged(picture.read_bytes(), 20, "panel"):
        with replaced(picture, data):
            tally.add(case, reports.verdict("html"))
    tally.close(60)


def test_the_episode_table_of_a_finished_run(world: World, reports: Reports) -> None:
    path = world.first / "episodes.csv"
    cases = damaged(path.read_bytes(), 20, "episodes.csv", *mutate.LINES, mutate.csv_cell)
    report_family(reports, "episodes.csv of a record", path, cases, "json").close(40)


def test_the_training_log_of_a_finished_run(world: World, reports: Reports) -> None:
    path = world.first / "train.jsonl"
    tally = Tally("train.jsonl, done")

    def curve() -> Any:
        found = loss_curve(select(["baseline"], world.results, {}).contenders[0])
        return found.total.tolist(), {name: part.tolist() for name, part in found.parts.items()}

    whole = curve()
    cases = damaged(path.read_bytes(), 50, "train.jsonl", *mutate.LINES, mutate.json_line_value, mutate.json_line_value)
    for i, (case, data) in enumerate(cases):
        with replaced(path, data):
            tally.add(case, _asked(curve, whole, path))
            if i % 3 == 0:
                tally.add(f"{case} in html", reports.verdict("html"))
    tally.close(65)


def _asked(ask: Callable[[], Any], whole: Any, path: Path) -> str:
    """The verdict on a Python call: equal, or a UserError that names the file."""
    try:
        with watched():
            found = ask()
    except UserError as error:
        return "refused" if str(path) in str(error) else f"unnamed: {error}"
    except BaseException as error:  # noqa: BLE001 - what is looked for
        return f"traceback: {type(error).__name__}: {error}"
    return "equal" if found == whole else "silent: other numbers"


def test_a_sweep(world: World) -> None:
    (path,) = world.swept.glob("sweep-*.jsonl")
    tally = Tally("sweep")

    def counts() -> Any:
        found = find_sweep(read_run(world.swept), "steps")
        return found and (found.values, found.input.tolist(), found.native.tolist())

    whole = counts()
    for case, data in damaged(path.read_bytes(), 50, "sweep", *mutate.LINES, mutate.json_line_value):
        with replaced(path, data):
            verdict = _asked(counts, whole, path)
            if verdict.startswith("silent") and counts() is None:
                verdict = "refused: an incomplete sweep is none"
            tally.add(case, verdict)
    tally.close(50)


# -- runs that go on


def numbers(folder: Path) -> Any:
    """The counts of a finished run, read without the package."""
    try:
        rows = [json.loads(line) for line in (folder / "episodes.jsonl").read_bytes().splitlines()]
        return [(row["episode"], row["classes"], row["input"], row["native"]) for row in rows]
    except (ValueError, LookupError, TypeError) as error:
        return f"not the log of a finished run: {error!r}"


def resumed(world: World, half: Path, words: list[str], change: Callable[[Path], None], expected: Any) -> str:
    """The verdict on the same command over an interrupted run that ``change`` damaged."""
    out = world.fresh("resumed")
    root = half.parents[3]
    folder = Path(shutil.copytree(root, out / "runs")) / half.relative_to(root)
    change(folder)
    ending = call(*words, "--out", out / "runs")
    if ending.broken:
        return f"broken: {ending.broken}"
    if ending.code == 2:
        return "refused" if str(folder) in ending.err else f"unnamed: {ending.err[-300:]}"
    if "1 unfinished" in ending.out or numbers(folder) != expected:
        return "silent: another result"
    report = call("report", "--results", out / "runs", "--strict")
    return "equal" if report.code == 0 else f"silent: done, and a report skips it: {report.err[-200:]}"


@pytest.fixture(scope="module")
def complete(world: World) -> dict[str, Any]:
    """The counts of the interrupted runs when they are finished without damage."""
    found = {}
    for name, half in (("voc", world.half_evaluated), ("trained", world.half_trained)):
        out = world.fresh("complete")
        root = half.parents[3]
        shutil.copytree(root, out / "runs")
        assert call(*world.words[name], "--out", out / "runs").code == 0
        found[name] = numbers(out / "runs" / half.relative_to(root))
    return found


def writes(name: str, data: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(data)

    return change


def test_episodes_of_an_interrupted_run(world: World, complete: dict[str, Any]) -> None:
    data = (world.half_evaluated / "episodes.jsonl").read_bytes()
    tally = Tally("episodes.jsonl, interrupted")
    for case, other in damaged(data, 110, "interrupted", *mutate.LINES, *mutate.LINES, mutate.json_line_value):
        change = writes("episodes.jsonl", other)
        tally.add(case, resumed(world, world.half_evaluated, world.words["voc"], change, complete["voc"]))
    tally.close(110)


def test_rows_of_an_earlier_version(world: World, complete: dict[str, Any]) -> None:
    """Without checks: what can be seen in the rows themselves is seen."""
    tally = Tally("episodes.jsonl, no checks")
    rows = [json.loads(line) for line in (world.half_evaluated / "episodes.jsonl").read_bytes().splitlines()]
    rows = [{key: value for key, value in row.items() if key != "check"} for row in rows]

    def lines(changed: list[Any]) -> bytes:
        return b"".join(json.dumps(row, separators=(",", ":")).encode() + b"\n" for row in changed)

    def old(data: bytes) -> Callable[[Path], None]:
        def change(folder: Path) -> None:
            info = json.loads((folder / "run.json").read_bytes())
            for key in ("check", "lines"):
                info.pop(key, None)
            (folder / "run.json").write_text(json.dumps(info))
            (folder / "episodes.jsonl").write_bytes(data)

        return change

    wrong: list[list[Any]] = [rows[1:], [rows[0], *rows], [rows[1], rows[0], *rows[2:]], [rows[0], *rows[2:]]]
    for changes in (
        *({"classes": value} for value in ([9], [True], ["1"], [], None)),
        *({"input": value} for value in ([10**6, 0, 0, 0], [0, 0, 0], [-1, 1, 1, 1], [0.5, 0, 0, 0])),
        *({"native": value} for value in ([10**6, 0, 0, 0], [2**62] * 4, "x")),
        *({"episode": value} for value in (7, "1", True, None)),
        *({"other": 1}, {"diagnostics": {"x": "y"}}, {"diagnostics": {"x": 1}}, {"diagnostics": 3}),
    ):
        wrong.append([rows[0], rows[1] | changes, *rows[2:]])
    for i, changed in enumerate(wrong):
        change = old(lines(changed))
        verdict = resumed(world, world.half_evaluated, world.words["voc"], change, complete["voc"])
        tally.add(f"no checks {i}", verdict)
    tally.close(20)


def test_training_log_of_an_interrupted_run(world: World, complete: dict[str, Any]) -> None:
    """The scores are the same; the losses are, too, or their curve says that lines are missing."""
    data = (world.half_trained / "train.jsonl").read_bytes()
    tally = Tally("train.jsonl, interrupted")
    runs = world.root / "scratch" / "resumed" / "runs"

    def curve() -> Any:
        found = loss_curve(select(["baseline"], runs, {}).contenders[0])
        return found.total.tolist(), {name: part.tolist() for name, part in found.parts.items()}

    assert resumed(world, world.half_trained, world.words["trained"], lambda _: None, complete["trained"]) == "equal"
    whole = curve()
    for case, other in damaged(data, 40, "training", *mutate.LINES, mutate.json_line_value, mutate.json_line_value):
        change = writes("train.jsonl", other)
        verdict = resumed(world, world.half_trained, world.words["trained"], change, complete["trained"])
        tally.add(case, _asked(curve, whole, Path("train.jsonl")) if verdict == "equal" else verdict)
    tally.close(40)


def test_run_json_of_an_interrupted_run(world: World, complete: dict[str, Any]) -> None:
    data = (world.half_evaluated / "run.json").read_bytes()
    tally = Tally("run.json, interrupted")
    for case, other in damaged(data, 45, "run.json again", mutate.json_value, mutate.json_value):
        change = writes("run.json", other)
        tally.add(case, resumed(world, world.half_evaluated, world.words["voc"], change, complete["voc"]))
    tally.close(45)


def test_checkpoint_of_an_interrupted_training(world: World, complete: dict[str, Any]) -> None:
    data = (world.half_trained / "checkpoint.pt").read_bytes()
    tally = Tally("checkpoint.pt")
    for case, other in damaged(data, 60, "checkpoint"):
        change = writes("checkpoint.pt", other)
        tally.add(case, resumed(world, world.half_trained, world.words["trained"], change, complete["trained"]))
    tally.close(60)


def test_legal_checkpoints_of_something_else(world: World, complete: dict[str, Any]) -> None:
    rng = random.Random(f"{SEED} legal")
    tally = Tally("checkpoint.pt, legal files")
    for i in range(70):
        content = torch.load(world.half_trained / "checkpoint.pt", weights_only=True)
        content.pop("format")
        changed = mutate.checkpoint_value(content, rng)
        described = {key: str(value)[:40] for key, value in changed.items() if key == "iteration"}

        def change(folder: Path, changed: dict[str, Any] = changed) -> None:
            save_state(folder / "checkpoint.pt", TrainingState(**changed))

        verdict = resumed(world, world.half_trained, world.words["trained"], change, complete["trained"])
        tally.add(f"legal checkpoint {i} {described}", verdict)
    tally.close(70)


def test_checkpoints_that_predict(world: World) -> None:
    path = world.first / "checkpoint.pt"
    image = world.voc / "JPEGImages" / "val_c1_0.jpg"
    mask = world.fresh("mask") / "mask.png"
    from PIL import Image

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
    tally = Tally("checkpoint.pt in predict")
    for case, data in damaged(path.read_bytes(), 30, "predicting"):
        with replaced(path, data):
            ending, found = predict()
        verdict = f"broken: {ending.broken}" if ending.broken else "equal" if found == whole else "silent: other masks"
        if not ending.broken and ending.code == 2:
            verdict = "refused" if "checkpoint.pt" in ending.err else f"unnamed: {ending.err[-200:]}"
        tally.add(case, verdict)
    tally.close(30)


# -- what a run is made from


class Inputs:
    """What a command makes of changed data: its identity and, where that is the same, its counts."""

    def __init__(self, world: World, words: list[str], *more: str | Path) -> None:
        self.world = world
        self.words = [*words, *map(str, more)]
        self.settings = self._settings(call(*self.words, "--dry-run"))
        assert self.settings is not None
        self.counts = self._counts()

    def verdict(self, path: Path, same: bool = False) -> str:
        """``same``: the change is known to change nothing, so that nothing is run where the identity is the same."""
        ending = call(*self.words, "--dry-run")
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
        return "refused" if any(name in ending.err for name in names) else f"unnamed: {ending.err[-300:]}"

    @staticmethod
    def _settings(ending: Ending) -> Any:
        return json.loads(ending.out) if ending.code == 0 else None

    def _counts(self) -> Any:
        out = self.world.fresh("counted")
        ending = call(*self.words, "--out", out)
        if ending.code != 0:
            return ending
        (folder,) = out.glob("*/*/*/*")
        return numbers(folder)


def input_family(inputs: Inputs, name: str, path: Path, cases: Iterator[tuple[str, bytes]], at_least: int) -> None:
    tally = Tally(name)
    for case, data in cases:
        with replaced(path, data):
            tally.add(case, inputs.verdict(path))
    tally.close(at_least)


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
    input_family(inputs, f"list {name}", path, damaged(path.read_bytes(), 25, f"list {name}", *mutate.LINES), 25)


def test_list_files(world: World) -> None:
    path = world.root / "mine.txt"
    names = sorted(file.stem for file in (world.voc / "JPEGImages").glob("val_*"))
    path.write_text("".join(f"JPEGImages/{name}.jpg SegmentationClass/{name}.png\n" for name in names))
    inputs = Inputs(world, world.words["voc"], "--set", f"protocol.data.test_list={path}")
    input_family(inputs, "list file", path, damaged(path.read_bytes(), 40, "list file", *mutate.LINES), 40)


def test_masks(world: World) -> None:
    inputs = Inputs(world, world.words["voc"])
    for i, path in enumerate(sorted((world.voc / "SegmentationClass").glob("val_c[12]_*.png"))[:2]):
        input_family(inputs, "mask", path, damaged(path.read_bytes(), 25, f"mask {i}"), 25)


def test_images(world: World) -> None:
    inputs = Inputs(world, world.words["voc"])
    for i, path in enumerate(sorted((world.voc / "JPEGImages").glob("val_c[12]_*.jpg"))[:2]):
        input_family(inputs, "image", path, damaged(path.read_bytes(), 20, f"image {i}"), 20)


def test_coco_instances(world: World) -> None:
    path = world.coco / "annotations" / "instances_val2017.json"
    inputs = Inputs(world, world.words["coco"])
    more = [*[mutate.json_value] * 8, *mutate.LINES]
    input_family(inputs, "COCO JSON", path, damaged(path.read_bytes(), 90, "coco", *more), 90)


def test_episode_files(world: World) -> None:
    path = world.root / "mine.csv"
    assert call("episodes", "--dataset", world.root / "tiny-voc.toml", "--fold", "1", "--out", path).code == 0
    inputs = Inputs(world, world.words["voc"], "--episodes", path)
    cases = damaged(path.read_bytes(), 70, "episode file", *mutate.LINES, *[mutate.csv_cell] * 4)
    input_family(inputs, "episode file", path, cases, 70)


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
    tally = Tally("imported episode file")
    for case, data in damaged(path.read_bytes(), 40, "imported", *mutate.LINES, *[mutate.csv_cell] * 4):
        with replaced(path, data):
            ending = imported()
        verdict = "equal" if ending.out == whole.out else "other"
        if ending.code == 2:
            verdict = "refused" if path.name in ending.err else f"unnamed: {ending.err[-300:]}"
        tally.add(case, f"broken: {ending.broken}" if ending.broken else verdict)
    tally.close(40)


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


# -- words on the command line


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
            ending = call(*words, *out, *([] if option != "iterations" else ["--dry-run"]), f"--{option}", value)
            verdict = f"broken: {ending.broken}" if ending.broken else "refused" if ending.code == 2 else "equal"
            if option == "iterations" and ending.code == 0:
                verdict = "other"
            tally.add(f"--{option} {ascii(value)[:40]}", verdict)
    tally.close(75)
