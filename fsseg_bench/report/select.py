"""Which finished runs a name, a folder and filters mean; where several would fit, the message says how to choose."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from fsseg_bench.errors import UserError, unknown
from fsseg_bench.records.read import RecordError, RecordWarning, StoredRun, find_records
from fsseg_bench.records.settings import OF_A_FOLD, canonical_json, differences, flat
from fsseg_bench.report.contender import Contender
from fsseg_bench.report.words import HEX, given_list
from fsseg_bench.values import key_values

EXAMPLE = "recipe.iterations=0"
"""Of a condition, for messages."""
_MOST_SHOWN = 6
_UNFINISHED = "its only run is not finished; give its command"
_SHORTEST_PREFIX = 6
_NO_LIST = "none"
"""What ``episodes`` is, where none were given as a list."""


@dataclass(frozen=True)
class Selection:
    """What was asked for, in the order asked."""

    contenders: tuple[Contender, ...]
    warnings: tuple[RecordWarning, ...]
    """Records that were skipped, and why."""


def select(texts: Sequence[str], root: Path, where: Mapping[str, str]) -> Selection:
    """The contenders that ``texts`` name.

    Args:
        texts: each a method's name, a name with settings (``"biopt,steps=5"``), a run's folder, or a folder that holds
            runs.
        root: the results folder, searched for names.
        where: settings that every run must have, by dotted name (``recipe.lr``), or its last part where only one
            setting ends so; values as text. ``dataset`` is a protocol's label, name or file;
            ``episodes`` is the list that was replayed, its name or its path, or ``none``. Folders are filtered, too.

    Raises:
        UserError: nothing fits, or several settings fit one text; says what tells them apart.
    """
    if twice := [text for text in dict.fromkeys(texts) if texts.count(text) > 1]:
        raise UserError(f"{', '.join(texts)}: names one contender twice ({', '.join(twice)}); compare different runs")
    named = [text for text in texts if not _is_folder(text)]
    known, warnings = find_records(root) if named else ((), ())
    skipped = list(warnings)
    contenders = []
    try:
        for text in named:  # a misspelt name is said before the runs of another are found to be of several kinds
            _of_method(_parse(text)[0], known, root)
        for text in texts:
            if _is_folder(text):
                inside, more = find_records(Path(text))
                skipped += more
                if not inside:
                    raise UserError(f"{text}: holds no usable run")
                contenders.append(_contender(text, inside, where, skipped))
            else:
                method, conditions = _parse(text)
                runs = _of_method(method, known, root)
                contenders.append(_contender(text, runs, {**where, **conditions}, skipped))
    except UserError as error:
        if not skipped:
            raise
        messages = "; ".join(warning.message for warning in skipped[:_MOST_SHOWN])
        raise UserError(f"{error} ({len(skipped)} records were skipped: {messages})") from None
    return Selection(tuple(_distinct(contenders, texts)), tuple(skipped))


def _is_folder(text: str) -> bool:
    if Path(text).is_dir():
        return True
    if "/" in text.partition(",")[0]:
        raise UserError(f"{text}: no such folder; give a run's folder, a folder that holds runs, or a method's name")
    return False


def _parse(text: str) -> tuple[str, dict[str, str]]:
    method, *pairs = text.split(",")
    return method, key_values(pairs, text, EXAMPLE, empty=False)


def _of_method(method: str, runs: Sequence[StoredRun], root: Path) -> list[StoredRun]:
    found = [run for run in runs if run.settings.method == method]
    if not found:
        raise unknown("method among the runs", method, {run.settings.method for run in runs}, str(root))
    return found


def _contender(
    text: str, runs: Sequence[StoredRun], where: Mapping[str, str], skipped: list[RecordWarning]
) -> Contender:
    """The runs that ``text`` means; those whose episodes are damaged are added to ``skipped``."""
    for key, value in where.items():
        runs = _fitting_runs(text, runs, key, value)
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
    shared = run.settings.without(*OF_A_FOLD, "seed") | _parameters_of(run)
    given = given_list(run)
    return {**shared, "episodes": given} if given else shared


def _ambiguous(text: str, examples: Sequence[StoredRun]) -> UserError:
    """What to say when runs with several settings fit: every setting with its values."""
    values: dict[str, dict[str, None]] = defaultdict(dict)
    leaves = [dict(flat(_core(run))) for run in examples]
    for key in sorted({key for settings in leaves for key in settings}, key=_order):
        for settings in leaves:
            values[key][_shown_value(settings[key]) if key in settings else "not set"] = None
    differing = [f"{key}: {' / '.join(texts)}" for key, texts in values.items() if len(texts) > 1]
    listing = "; ".join(differing[:_MOST_SHOWN]) + ("; ..." if len(differing) > _MOST_SHOWN else "")
    key = differing[0].partition(":")[0]
    key, option = ("dataset", "--dataset NAME") if key == "protocol_label" else (key, f"--where {key}=VALUE")
    return UserError(
        f"{text}: runs with {len(examples)} different settings fit ({listing}). Choose with {option} for all, "
        f"METHOD,{key}=VALUE for one, or give a folder"
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
    return ", ".join(f"{key.rpartition('.')[2]}={_shown_value(mine[key])}" for key in keys)


def _parameters_of(run: StoredRun) -> dict[str, str]:
    """Where the parameters are from: a run and the evaluation of its checkpoint are not one contender."""
    found = run.settings.parameters
    return {"parameters": "own" if found in {"here", "untrained"} else found}


def _shown_value(value: Any) -> str:
    """A setting's value in a message: digests shortened."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text[:8] if HEX.fullmatch(text) else text


def _fitting_runs(text: str, runs: Sequence[StoredRun], key: str, value: str) -> list[StoredRun]:
    """The runs that fulfil ``key=value``.

    Raises:
        UserError: no run does, or no setting is called so; begins with ``text``, which asked for them.
    """
    leaves = [(run, dict(flat(run.settings.to_json())) | _parameters_of(run)) for run in runs]
    names = {name for _, settings in leaves for name in settings}
    if key == "dataset":
        fitting = [run for run in runs if value in _datasets(run)]
        values = {name for run in runs for name in _datasets(run)}
    elif key == "episodes":
        fitting = [run for run in runs if value in _lists(run)]
        values = {given_list(run) or _NO_LIST for run in runs}
    else:
        full = _full_name(text, key, names)
        fitting = [run for run, settings in leaves if _equal(value, settings.get(full))]
        values = {_shown_value(settings.get(full)) for _, settings in leaves}
    if not fitting:
        raise UserError(f"{text}: no run has {key}={value}; there is {', '.join(sorted(values))}")
    return fitting


def _datasets(run: StoredRun) -> set[str]:
    """What a user may call the run's protocol."""
    return {run.settings.protocol_label, run.settings.protocol, run.info.passed.dataset} - {""}


def _lists(run: StoredRun) -> set[str]:
    """What a user may call the run's list of episodes."""
    given = given_list(run)
    return {given, PurePath(given).name} if given else {_NO_LIST}


def _full_name(text: str, key: str, names: set[str]) -> str:
    if key in names:
        return key
    ending = sorted(name for name in names if name.endswith(f".{key}"))
    if len(ending) > 1:
        raise UserError(f"{text}: {key} may be {' or '.join(ending)}; give the whole name")
    if not ending:
        raise unknown("setting", key, names, text)
    return ending[0]


def _equal(text: str, value: Any) -> bool:
    """Whether ``text`` means ``value``: as it is, as JSON, or the first digits of a digest."""
    if isinstance(value, str):
        return value == text or (
            len(text) >= _SHORTEST_PREFIX and bool(HEX.fullmatch(value)) and value.startswith(text)
        )
    try:
        parsed = json.loads(text.lower() if isinstance(value, bool) else text)
    except ValueError:
        return False
    return isinstance(parsed, bool) == isinstance(value, bool) and parsed == value
