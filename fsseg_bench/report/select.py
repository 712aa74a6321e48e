"""Which finished runs a name, a folder and filters mean; where several would fit, the message says how to choose."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsseg_bench.errors import UserError
from fsseg_bench.records.read import RecordError, RecordWarning, StoredRun, find_records
from fsseg_bench.records.settings import OF_A_FOLD, canonical_json, differences, flat
from fsseg_bench.records.unpack import is_pack
from fsseg_bench.report.contender import Contender
from fsseg_bench.report.filters import EXAMPLE, fitting, of_method, parameters_of, shown_value
from fsseg_bench.report.packs import unpacked
from fsseg_bench.report.words import given_list
from fsseg_bench.values import key_values

_MOST_SHOWN = 6
_OPTIONS = {"protocol_label": "--dataset NAME", "way": "--way N", "shot": "--shot K", "backbone": "--backbone NAME"}
"""Settings that options choose."""
_UNFINISHED = "its only run is not finished; give its command"


@dataclass(frozen=True)
class Selection:
    """What was asked for, in the order asked."""

    contenders: tuple[Contender, ...]
    warnings: tuple[RecordWarning, ...]
    """Records that were skipped, and why."""


def select(texts: Sequence[str], root: Path, where: Mapping[str, str]) -> Selection:
    """The contenders that ``texts`` name.

    Args:
        texts: each a method's name, a run's folder, a folder that holds runs, or a pack; with settings where several
            would fit (``"biopt,steps=5"``, ``"ada.fsseg.zip,method=panet"``).
        root: the results folder, searched for names.
        where: settings that every run must have, by dotted name (``recipe.lr``), or its last part where only one
            setting ends so; values as text. ``dataset`` is a protocol's label, name or file;
            ``episodes`` is the list that was replayed, its name or its path, or ``none``. Folders are filtered, too.

    Raises:
        UserError: nothing fits, or several settings fit one text; says what tells them apart.
    """
    if twice := [text for text in dict.fromkeys(texts) if texts.count(text) > 1]:
        raise UserError(f"{', '.join(texts)}: names one contender twice ({', '.join(twice)}); compare different runs")
    places = {text: _place(text) for text in texts}
    named = [text for text, place in places.items() if place is None]
    known, warnings = find_records(root) if named else ((), ())
    skipped = list(warnings)
    contenders = []
    try:
        for text in named:  # a misspelt name is said before the runs of another are found to be of several kinds
            of_method(known, _parse(text)[0], str(root))
        for text in texts:
            if (place := places[text]) is not None:
                inside, more = find_records(_folder(place))
                skipped += more
                if not inside:
                    raise UserError(f"{text}: holds no usable run")
                conditions = _conditions(text.removeprefix(place).removeprefix(","), text)
                contenders.append(_contender(text, inside, {**where, **conditions}, skipped))
            else:
                method, conditions = _parse(text)
                runs = of_method(known, method, str(root))
                contenders.append(_contender(text, runs, {**where, **conditions}, skipped))
    except UserError as error:
        if not skipped:
            raise
        messages = "; ".join(warning.message for warning in skipped[:_MOST_SHOWN])
        raise UserError(f"{error} ({len(skipped)} records were skipped: {messages})") from None
    return Selection(tuple(_distinct(contenders, texts)), tuple(skipped))


def named_runs(text: str, root: Path) -> tuple[tuple[StoredRun, ...], tuple[RecordWarning, ...]]:
    """All runs below ``root`` of a method with settings (``"biopt,steps=5"``), and the records that cannot be used.

    Raises:
        UserError: there are none, or no results folder.
    """
    known, warnings = find_records(root)
    method, given = _parse(text)
    runs = of_method(known, method, str(root))
    for key, value in given.items():
        runs = fitting(runs, key, value, text)
    return tuple(runs), tuple(warnings)


def _place(text: str) -> str | None:
    """The folder or pack with which ``text`` begins; None where it begins with a method's name."""
    first = text.partition(",")[0]
    for place in (text, first):
        if Path(place).is_dir() or is_pack(Path(place)):
            return place
    if "/" in first or first.endswith(".zip"):
        raise UserError(
            f"{text}: no such folder or pack; give a run's folder, a folder that holds runs, a pack, or a method's name"
        )
    return None


def _folder(place: str) -> Path:
    """The folder of this name, or into which the pack of this name was unpacked."""
    return Path(place) if Path(place).is_dir() else next(iter(unpacked([place])))


def _parse(text: str) -> tuple[str, dict[str, str]]:
    method, _, pairs = text.partition(",")
    return method, _conditions(pairs, text)


def _conditions(pairs: str, text: str) -> dict[str, str]:
    return key_values(pairs.split(",") if pairs else (), text, EXAMPLE, empty=False)


def _contender(
    text: str, runs: Sequence[StoredRun], where: Mapping[str, str], skipped: list[RecordWarning]
) -> Contender:
    """The runs that ``text`` means; those whose episodes are damaged are added to ``skipped``."""
    for key, value in where.items():
        runs = fitting(runs, key, value, text)
    finished = [run for run in runs if run.status == "done"]
    if not finished:
        which = f"none of its {len(runs)} runs is finished; give their commands" if len(runs) > 1 else _UNFINISHED
        raise UserError(f"{text}: {which} again")
    done, damaged = [], []
    for run in finished:
        try:
            run.counts()
            done.append(run)
        except RecordError as error:
            damaged.append(RecordWarning(run.folder, str(error)))
    if not done:
        raise UserError(f"{text}: none of its finished runs can be used: {'; '.join(w.message for w in damaged)}")
    skipped += damaged
    groups: dict[str, list[StoredRun]] = defaultdict(list)
    for run in done:
        groups[canonical_json(_core(run))].append(run)
    if len(groups) > 1:
        raise _ambiguous(text, [members[0] for members in groups.values()])
    by_fold: dict[int, dict[int, StoredRun]] = defaultdict(dict)
    for run in done:
        seeds = by_fold[run.fold]
        if twin := seeds.get(run.settings.seed):
            differ = "; ".join(differences(twin.info.settings.to_json(), run.info.settings.to_json()))
            what = f"differ only in {differ}" if differ else "are the same run"
            if twin.settings.checkpoint_digest != run.settings.checkpoint_digest:
                what = "evaluated different checkpoints"
            raise UserError(f"{text}: {twin.folder} and {run.folder} {what}; give one of the folders")
        seeds[run.settings.seed] = run
    return Contender(done[0].settings.method, {fold: dict(sorted(by_fold[fold].items())) for fold in sorted(by_fold)})


def _core(run: StoredRun) -> dict[str, Any]:
    """What the folds and seeds of one contender share; folds of two experiments' lists are never one contender."""
    shared = run.settings.without(*OF_A_FOLD, "seed") | parameters_of(run)
    given = given_list(run)
    return {**shared, "episodes": given} if given else shared


def _ambiguous(text: str, examples: Sequence[StoredRun]) -> UserError:
    """What to say when runs with several settings fit: every setting with its values."""
    values: dict[str, dict[str, None]] = defaultdict(dict)
    leaves = [dict(flat(_core(run))) for run in examples]
    for key in sorted({key for settings in leaves for key in settings}, key=_order):
        for settings in leaves:
            values[key][shown_value(settings[key]) if key in settings else "not set"] = None
    differing = [f"{key}: {' / '.join(texts)}" for key, texts in values.items() if len(texts) > 1]
    listing = "; ".join(differing[:_MOST_SHOWN]) + ("; ..." if len(differing) > _MOST_SHOWN else "")
    keys = [key for key, texts in values.items() if len(texts) > 1]
    key = next((key for key in keys if key in _OPTIONS), keys[0])
    option = _OPTIONS.get(key, f"--where {key}=VALUE")
    key = "dataset" if key == "protocol_label" else key
    return UserError(
        f"{text}: runs with {len(examples)} different settings fit ({listing}). Choose with {option} for all, "
        f"{text},{key}=VALUE for this one, or give a folder"
    )


def _order(key: str) -> tuple[int, str]:
    """Sorts the dataset first, and what only follows from others or is not for people, last."""
    if key.endswith(("digest", "fingerprint")):
        return 3, key
    return 0 if key == "protocol_label" else 2 if key.startswith("protocol") else 1, key


def _distinct(contenders: Sequence[Contender], texts: Sequence[str]) -> list[Contender]:
    """Labels made different where two contenders are runs of the same method: by what sets them apart."""
    labels = [contender.label for contender in contenders]
    result = []
    for contender, text in zip(contenders, texts, strict=True):
        others = [o for o in contenders if o.label == contender.label and o is not contender]
        label = f"{contender.label} ({_differing_settings(contender, others) or text})" if others else contender.label
        result.append(Contender(label, contender.runs))
    if len({c.label for c in result}) < len(result):
        raise UserError(f"{', '.join(texts)}: names one contender twice ({', '.join(labels)}); compare different runs")
    return result


def _differing_settings(contender: Contender, others: Sequence[Contender]) -> str:
    """The contender's values of the settings in which it differs from ``others``, in short."""
    mine = dict(flat(_core(contender.example)))
    rivals = [dict(flat(_core(other.example))) for other in others]
    keys = [key for key in mine if any(mine[key] != rival.get(key) for rival in rivals)]
    return ", ".join(f"{key.rpartition('.')[2]}={shown_value(mine[key])}" for key in keys)
