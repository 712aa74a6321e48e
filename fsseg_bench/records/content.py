"""Runs with the same settings but other content: code, images or other files that have changed since."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fsseg_bench.paths import regular
from fsseg_bench.records.read import RecordError, StoredRun, read_run
from fsseg_bench.records.run import EVALUATED_FILE, RUN_FILE, RunRecord
from fsseg_bench.records.settings import CONTENT, RunSettings

_MOST_NAMED = 3


class OtherContent(NamedTuple):
    """A run that differs from another one in nothing that was given."""

    folder: Path
    words: str
    """What differs."""


def runs_with_other_content(record: RunRecord) -> list[OtherContent]:
    """Runs beside ``record`` whose settings differ from its in :data:`CONTENT` alone, with what is other there."""
    settings = record.info.settings
    own = evaluated_images(record.folder, settings)
    alike = record.folder.name.rpartition("-")[0]  # all but the identity
    found = []
    for folder in sorted(record.folder.parent.iterdir()):
        if folder == record.folder or folder.name.rpartition("-")[0] != alike or not (folder / RUN_FILE).is_file():
            continue
        try:
            other = read_run(folder)
        except RecordError:
            continue
        if other.info.settings.without(*CONTENT) == settings.without(*CONTENT):
            theirs = evaluated_images(folder, other.info.settings)
            found.append(OtherContent(folder, _words(other, settings) + _which(theirs, own)))
    return found


def evaluated_images(folder: Path, settings: RunSettings) -> dict[str, tuple[str, str]]:
    """Image id to the digests of its file and of its labels; empty where the record has them not, or no longer."""
    try:
        data = regular(folder / EVALUATED_FILE).read_bytes()
    except OSError:
        return {}
    if hashlib.sha256(data).hexdigest() != settings.evaluated_digest:
        return {}
    return {image: (pixels, labels) for image, pixels, labels in list(csv.reader(data.decode().splitlines()))[1:]}


def _words(other: StoredRun, settings: RunSettings) -> str:
    theirs = {key: getattr(other.info.settings, key) for key in CONTENT}
    differ = [key for key, value in theirs.items() if value != getattr(settings, key)]
    parts = [CONTENT[key] + ("" if theirs[key] else " (not noted there)") for key in differ]
    return f"a run with the same settings, but other {', '.join(parts)}; this one begins anew"


def _which(theirs: Mapping[str, tuple[str, str]], own: Mapping[str, tuple[str, str]]) -> str:
    """The images that differ, where both records tell and have the same ones."""
    if theirs.keys() != own.keys():
        return ""
    differ = [image for image in own if own[image] != theirs[image]]
    more = f" and {len(differ) - _MOST_NAMED} more" if len(differ) > _MOST_NAMED else ""
    return f" (changed: {', '.join(differ[:_MOST_NAMED])}{more})" if differ else ""
