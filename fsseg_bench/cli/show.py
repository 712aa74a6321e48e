"""``fsseg-bench show``: one method, or one record, in a screenful. Torch is not needed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from fsseg_bench.cli import complete
from fsseg_bench.cli.options import user_folders
from fsseg_bench.cli.output import show as draw
from fsseg_bench.errors import UserError
from fsseg_bench.records.generalised import is_generalised, read_generalised
from fsseg_bench.records.info import RUN_FILE
from fsseg_bench.records.unpack import is_pack
from fsseg_bench.registry import method_names
from fsseg_bench.report.model import Cell, Column, Table, printable
from fsseg_bench.seen import OF_METHOD


@click.command("show")
@click.argument("what", metavar="METHOD|RECORD", shell_complete=complete.method_names)
@click.option(
    "--dataset",
    default="pascal5i",
    show_default=True,
    help="Of a method: the protocol of its recipe.",
    shell_complete=complete.datasets,
)
@click.option("--shot", default=1, show_default=True, help="Of a method: the supports a class (K) of its recipe.")
@click.option("--json", "as_json", is_flag=True, help="Everything as one JSON document.")
@user_folders("method", "backbone", "source")
def show(what: str, as_json: bool, **options: Any) -> None:
    """Show a method (card, ways, backbones, switches, recipe with sources), or a run's record.

    A record is its folder, or the run.json in it. Neither data nor weights are needed.
    """
    if is_generalised(Path(what).expanduser()):
        _show_generalised(Path(what).expanduser(), as_json=as_json)
        return
    folder = _record(what, options["methods_path"])
    facts = _run(folder) if folder else _method(what, **options)
    if as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    elif folder:
        draw([_pairs("record", facts["record"], [(head, text) for head, text in _of_run(facts) if text])])
        if facts["command"]:  # outside of the table, so that it can be copied
            head = "to repeat it, from any folder" if facts["command_repeats"] else "as it was typed"
            click.echo(printable(f"{head}: {facts['command']}"))
    else:
        draw(list(_of_method(facts)))
        for line in _advice(facts):
            click.echo(printable(line))


def _show_generalised(folder: Path, *, as_json: bool) -> None:
    """A record of a run that labels base and novel classes at once."""
    from fsseg_bench.report.generalised import record_words

    run = read_generalised(folder)
    if as_json:
        click.echo(json.dumps(run.facts, indent=2, ensure_ascii=False))
    else:
        draw([_pairs("record", run.folder.name, record_words(run))])


def _record(what: str, methods_path: str | None) -> Path | None:
    """The folder of the record that is meant; None where it is a method's name, which another folder may have, too."""
    path = Path(what).expanduser()
    if path.name == RUN_FILE:
        return path.parent
    if is_pack(path):
        told = f"'fsseg-bench report --pack {what}' prints its numbers, 'fsseg-bench verify {what}' recounts them"
        raise UserError(
            f"{what}: a pack, which may hold many records; {told}, 'fsseg-bench unpack' makes folders of it"
        )
    if what in method_names(methods_path) and not (path / RUN_FILE).exists():
        return None
    return path if path.is_dir() or len(path.parts) > 1 else None


def _method(name: str, dataset: str, shot: int, methods_path: str | None, **folders: str | None) -> dict[str, Any]:
    """The facts of a method in JSON's types.

    Raises:
        UserError: unknown method, protocol or folder, or a file that cannot be imported.
    """
    from fsseg_bench.plugins.hollow import without_torch
    from fsseg_bench.protocol.load import load_protocol
    from fsseg_bench.registry import card_of

    card_of(name, methods_path)  # unknown names are said before anything is imported
    load_protocol(dataset, sources_path=folders["sources_path"])

    def read() -> dict[str, Any]:
        from fsseg_bench.engine.method_facts import method_facts

        return method_facts(name, dataset, shot, methods_path=methods_path, **folders).to_json()

    try:
        with without_torch():
            return read()
    except Exception:  # noqa: BLE001 - whatever a method that needs the real torch raises without it
        return read()


def _run(folder: Path) -> dict[str, Any]:
    from fsseg_bench.report.record_facts import record_facts

    return record_facts(folder)


def _of_run(facts: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    trained = {
        "here": f"trained {facts['iterations']:,} iterations, seed {facts['seed']}" if facts["iterations"] else ""
    }
    trained |= {"untrained": "not trained"}
    git = facts["git"] or {}
    commit = f", commit {git['commit'][:10]}{' with changes' if git.get('dirty') else ''}" if git.get("commit") else ""
    seconds = [f"{words} {facts[key]:,.0f} s" for words, key in _SPENT.items() if facts[key]]
    yield "run", f"{facts['method']} on {facts['backbone']}, weights {facts['weights']}"
    yield (
        "task",
        f"{facts['dataset']}, fold {facts['fold']} of {facts['folds']}, {facts['way']}-way {facts['shot']}-shot",
    )
    yield "classes", ", ".join(facts["classes"])
    yield "parameters", "; ".join(filter(None, [trained.get(facts["parameters"], ""), *facts["notes"]]))
    yield "trained on", facts["training_data"] or ""
    if chosen := facts["validation"]:
        best, count = chosen["scores"][str(chosen["step"])], len(chosen["scores"])
        whose = f"{chosen['episodes']:,} episodes of {len(chosen['classes'])} validation classes"
        yield "checkpoint", f"after {chosen['step']:,} steps, the best of {count} by {whose} ({100 * best:.2f} %)"
    yield "what was seen", "; ".join(f"{name.replace('_', ' ')}: {text}" for name, text in facts["seen"].items())
    yield "status", f"{facts['status']}{': ' + facts['reason'] if facts['reason'] else ''}"
    for resolution, metrics in facts["scores"].items():
        yield f"at {resolution} size", ", ".join(f"{metric} {_percent(**score)}" for metric, score in metrics.items())
    yield "episodes", f"{facts['episodes']:,}" if facts["episodes"] else ""
    yield "training loss", facts["training_loss"] or ""
    yield "time", ", ".join([*seconds, *([f"finished {facts['finished']}"] if facts["finished"] else [])])
    yield "device", facts["device"] or ""
    if len(facts["devices"]) > 1:
        yield "made on", f"{', then '.join(facts['devices'])}: other devices round otherwise"
    yield "software", ", ".join(f"{name} {version}" for name, version in facts["versions"].items() if version) + commit
    yield "identity", facts["identity"]


_SPENT = {"training": "train_seconds", "evaluation": "evaluate_seconds"}


def _percent(iou: float, iou_low: float | None, iou_high: float | None) -> str:
    interval = "" if iou_low is None else f" ({iou_low:.2f} to {iou_high:.2f})"
    return f"{iou:.2f} %{interval}"


def _of_method(facts: Mapping[str, Any]) -> Iterable[Table]:
    """Card, switches and recipe."""
    card = facts["card"]
    published = " ".join(filter(None, (card["venue"], card["year"])))
    paper = ", ".join(filter(None, (card["title"], card["authors"], published)))
    there = facts["backbone_there"]
    rows = [
        ("what it does", card["summary"]),
        ("paper", paper),
        ("fidelity", card["fidelity"]),
        ("distinctive", card["distinctive"]),
        *(("difference" if i == 0 else "", text) for i, text in enumerate(card["differences"])),
        ("ways", "any number" if facts["max_ways"] is None else f"at most {facts['max_ways']}"),
        (
            "untrained",
            "works, with pretrained weights alone (--iterations 0)"
            if card["untrained"]
            else "needs training, as far as its card says",
        ),
        ("at test", _at_test(facts)),
        *((name.replace("_", " "), card[name]) for name in OF_METHOD),
        ("backbone", f"{facts['backbone']}, as published"),
        (f"on {facts['protocol']}", f"{there}, weights {facts['weights_there']}, where none is named"),
        *_backbones(facts["backbones"]),
        ("file", card["origin"]),
    ]
    yield _pairs("method", card["name"], [(head, text) for head, text in rows if text])
    if facts["switches"]:
        heads = ("switch (--set)", "default", "values", "meaning")
        switches = [
            [s[key].replace("`", "") for key in ("name", "default", "allowed", "meaning")] for s in facts["switches"]
        ]
        yield _table("switches", f"Switches of {card['name']}", heads, switches)
    recipe = [(f"recipe.{value['key']}", value["value"] or "(empty)", value["source"]) for value in facts["recipe"]]
    title = f"Recipe on {facts['protocol']}, {facts['shot']}-shot"
    yield _table("recipe", title, ("recipe (--set)", "value", "source"), recipe)


def _at_test(facts: Mapping[str, Any]) -> str:
    parts = ["computes gradients"] if facts["needs_grad_at_test"] else []
    parts += ["draws random numbers from each episode's seed"] if facts["stochastic"] else []
    return ", ".join(parts)


def _backbones(backbones: Sequence[Mapping[str, Any]]) -> Iterable[tuple[str, str]]:
    """A row for each backbone: its stages, whether it has weights, and what is wrong with it."""
    for place, backbone in enumerate(backbones):
        cuts = f", or cut: {', '.join(backbone['cuts'])}" if backbone["cuts"] else ""
        weights = "ImageNet weights" if backbone["weights"] else "no ImageNet weights"
        note = f"; {backbone['note']}" if backbone["note"] else ""
        yield "" if place else "can use", f"{backbone['name']} ({weights}{cuts}){note}"


def _advice(facts: Mapping[str, Any]) -> Iterable[str]:
    for other in facts["elsewhere"]:
        yield f"recipe with {other['where']}: {other['changed']}"
    yield "the recipe under another protocol: --dataset NAME; with more supports: --shot K; for programs: --json"


def _pairs(name: str, title: str, rows: Sequence[tuple[str, str]]) -> Table:
    return _table(name, "", (name, title), rows)


def _table(name: str, title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    cells = tuple(tuple(Cell(printable(text)) for text in row) for row in rows)
    return Table(name, title, "", tuple(Column((head,)) for head in heads), len(heads), cells)
