"""``fsseg-bench verify``: whether records are what was recorded. Torch is not needed."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fsseg_bench.cli.options import user_folders
from fsseg_bench.errors import UserError
from fsseg_bench.records.generalised import RECORD_FILE, generalised_folders, is_generalised
from fsseg_bench.records.info import RUN_FILE, TABLE_FILE
from fsseg_bench.report.model import printable

if TYPE_CHECKING:
    from fsseg_bench.engine.verify import Look, Verdict
    from fsseg_bench.records.read import RecordWarning

_ASKED = {"masks", "draw", "episodes again"}
"""What is compared on request."""
_NEEDED = {TABLE_FILE, "protocol", *_ASKED}
"""Where it could not be compared, that is said: without it, a record says little."""
_WORDS = {(True, True): "ok   ", (True, False): "not compared:", (False, True): "WRONG", (False, False): "DIFFER"}
_SHOWN = {"scores", "manifest.json", *_ASKED}


@click.command()
@click.argument("records", nargs=-1, required=True, type=click.Path(), metavar="RECORD...")
@click.option("--masks", is_flag=True, help="Compare stored predictions with the data set's masks, too.")
@click.option("--draw", is_flag=True, help="Draw the episodes again from the data set, too.")
@click.option(
    "--episodes", type=click.IntRange(1), metavar="N", help="Predict N random episodes of each run again, too."
)
@click.option(
    "--checkpoints", type=click.Path(), help="--episodes: a folder of records that has the checkpoints of a pack's."
)
@click.option("--data-root", type=click.Path(), help="Folder of the data sets [default: as recorded, else FSSEG_DATA].")
@click.option("--dataset-file", type=click.Path(), help="The protocol's file, where it has moved.")
@click.option("--device", default="cpu", show_default=True, help="--episodes: auto, cpu, cuda or cuda:INDEX.")
@user_folders("method", "backbone", "source", note="For --masks, --draw and --episodes: ")
@click.option("--parts", is_flag=True, help="A line for each part of every record, not only for what is wrong.")
@click.option("--json", "as_json", is_flag=True, help="The verdicts as one JSON document.")
def verify(records: tuple[str, ...], parts: bool, as_json: bool, **options: Any) -> None:
    """Compare records with the checks in them, and count their scores again from the stored counts.

    RECORD is a run's folder, a folder with such folders below, or a pack. Exit code 1 where anything is wrong, or where
    records contradict each other (DIFFER); what could not be compared is said and is no fault.
    """
    with tempfile.TemporaryDirectory(prefix="fsseg-packs-") as work:
        found = _found(records, Path(work), options)
    if as_json:
        click.echo(json.dumps({name: [v._asdict() for v in own] for name, own in found.items()}, indent=2))
    else:
        for name, verdicts in found.items():
            _say(name, verdicts, parts=parts)
    wrong = [name for name, verdicts in found.items() if not all(v.good for v in verdicts)]
    if not as_json and len(found) > 1:
        bad = sum(any(_is_wrong(v) for v in found[name]) for name in wrong)
        click.echo(f"{bad} of {len(found)} {_words(records)} differ from what was recorded")
        if bad < len(wrong):
            click.echo(f"{len(wrong) - bad} of {len(found)} contradict others, and nobody can tell which are wrong")
    if wrong:
        sys.exit(1)


def _words(records: Sequence[str]) -> str:
    return "packs and records" if any(Path(given).is_file() and not _is_info(given) for given in records) else "records"


def _found(records: Sequence[str], work: Path, options: Mapping[str, Any]) -> dict[str, list[Verdict]]:
    """The verdicts by what a reader knows: a record's folder, a pack, or a record's folder in a pack."""
    from fsseg_bench.engine.generalised.verify import verify_generalised
    from fsseg_bench.engine.verify import Verdict
    from fsseg_bench.engine.verify import verify as verdicts_on
    from fsseg_bench.engine.verify_pack import verify_pack
    from fsseg_bench.engine.verify_truth import same_truth

    further = _further(options)
    packs = [given for given in records if Path(given).expanduser().is_file() and not _is_info(given)]
    folders, closed = _folders([given for given in records if given not in packs])
    found = {str(warning.path): [Verdict("folder", False, warning.message)] for warning in closed}
    names = {folder: str(folder) for folder in folders}
    found |= {str(f): verify_generalised(f) if is_generalised(f) else verdicts_on(f, further) for f in folders}
    checkpoints = None if options["checkpoints"] is None else Path(options["checkpoints"]).expanduser()
    for i, given in enumerate(dict.fromkeys(packs)):
        below = work / str(i)
        for folder, verdicts in verify_pack(Path(given).expanduser(), below, further, checkpoints).items():
            name = given if folder is None else f"{given}:{folder.relative_to(below)}"
            found[name] = verdicts
            names |= {} if folder is None else {folder: name}
    sound = [f for f, name in names.items() if not is_generalised(f) and all(v.good for v in found[name])]
    for folder, verdict in same_truth(sound).items():
        found[names[folder]].append(verdict)
    return found


def _is_info(given: str) -> bool:
    return Path(given).name in {RUN_FILE, RECORD_FILE}


def _further(options: Mapping[str, Any]) -> dict[str, Look]:
    """What is compared beside what the records themselves say."""
    looks: dict[str, Look] = {}
    if options["masks"] or options["draw"]:
        from fsseg_bench.report.recorded import DataPlaces, RecordedEpisodes

        data = RecordedEpisodes(DataPlaces(options["data_root"], options["dataset_file"], options["sources_path"]))
        looks |= {"masks": data.recount} if options["masks"] else {}
        looks |= {"draw": data.drawn} if options["draw"] else {}
    if options["episodes"] is not None:
        from fsseg_bench.engine.open_run import RunPlaces
        from fsseg_bench.engine.verify_again import EpisodesAgain

        same = {key: options[key] for key in ("device", "data_root", "methods_path", "backbones_path", "sources_path")}
        looks["episodes again"] = EpisodesAgain(options["episodes"], RunPlaces(dataset=options["dataset_file"], **same))
    return looks


def _folders(records: Sequence[str]) -> tuple[list[Path], list[RecordWarning]]:
    """The folders of the records, each once, and the folders that may not be looked into.

    Raises:
        UserError: no such folder, or no record in it.
    """
    from fsseg_bench.records.read import record_folders

    folders: dict[Path, None] = {}
    closed: list[RecordWarning] = []
    for given in records:
        path = Path(given).expanduser()
        path = path.parent if _is_info(given) else path
        if not path.is_dir():
            raise UserError(f"{given}: no such folder; give a run's folder, one with such folders below, or a pack")
        found, warnings = record_folders(path)
        found = [*found, *generalised_folders(path)]
        if not found and not warnings:
            raise UserError(f"{given}: holds no record")
        folders |= dict.fromkeys(found)
        closed += warnings
    return list(folders), closed


def _is_wrong(verdict: Verdict) -> bool:
    """False, too, for what contradicts another record and may be right."""
    return verdict.done and not verdict.good


def _say(folder: str, verdicts: Sequence[Verdict], *, parts: bool) -> None:
    good = all(verdict.good for verdict in verdicts)
    shown = _SHOWN if good else set()
    told = "; ".join(verdict.words for verdict in verdicts if verdict.part in shown and verdict.done)
    head = "ok   " if good else "WRONG" if any(map(_is_wrong, verdicts)) else "DIFFER"
    click.echo(printable(f"{head} {folder}{': ' * bool(told)}{told}"))
    for verdict in verdicts:
        needed = verdict.part in _NEEDED and not verdict.done
        if parts or needed or not verdict.good:
            word = _WORDS[verdict.good, verdict.done]
            click.echo(printable(f"  {word} {verdict.part}: {verdict.words}"))
