"""Runs with the same settings but other content: code, images or other files that have changed since."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fsseg_bench.paths import regular
from fsseg_bench.records.read import RecordError, StoredRun, read_run
from fsseg_bench.records.run import EVALUATED_FILE, RUN_FILE, RunRecord
from fsseg_bench.storage.json_text import plain

CONTENT = {
    "method_digest": "code",
    "data_fingerprint": "data",
    "evaluated_digest": "test images or masks",
    "unlabelled_digest": "further test images",
    "weights_digest": "pretrained weights",
    "protocol_digest": "protocol values",
    "episode_digest": "episodes",
}
"""Settings that nobody gives: digests of what files hold."""
_MOST_NAMED = 3


class OtherContent(NamedTuple):
    """A run that differs from another one in nothing that was given."""

    folder: Path
    words: str
    """What differs."""


def runs_with_other_content(record: RunRecord) -> list[OtherContent]:
    """Runs beside ``record`` whose settings differ from its in :data:`CONTENT` alone, with what is other there."""
    settings = record.info["settings"]
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
        if _given(other.info["settings"]) == _given(settings):
            theirs = evaluated_images(folder, other.info["settings"])
            found.append(OtherContent(folder, _words(other, settings) + _which(theirs, own)))
    return found


def evaluated_images(folder: Path, settings: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Image id to the digests of its file and of its labels; empty where the record has them not, or no longer."""
    try:
        data = regular(folder / EVALUATED_FILE).read_bytes()
    except OSError:
        return {}
    if hashlib.sha256(data).hexdigest() != settings.get("evaluated_digest"):
        return {}
    return {image: (pixels, labels) for image, pixels, labels in list(csv.reader(data.decode().splitlines()))[1:]}


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: plain(value) for key, value in settings.items() if key not in CONTENT}


def _words(other: StoredRun, settings: Mapping[str, Any]) -> str:
    differ = [key for key in CONTENT if other.info["settings"].get(key) != settings.get(key)]
    parts = [CONTENT[key] + ("" if other.info["settings"].get(key) else " (not noted there)") for key in differ]
    return f"a run with the same settings, but other {', '.join(parts)}; this one begins anew"


def _which(theirs: Mapping[str, tuple[str, str]], own: Mapping[str, tuple[str, str]]) -> str:
    """The images that differ, where both records tell and have the same ones."""
    if theirs.keys() != own.keys():
        return ""
    differ = [image for image in own if own[image] != theirs[image]]
    more = f" and {len(differ) - _MOST_NAMED} more" if len(differ) > _MOST_NAMED else ""
    return f" (changed: {', '.join(differ[:_MOST_NAMED])}{more})" if differ else ""
