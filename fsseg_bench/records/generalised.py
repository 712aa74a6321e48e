"""Records of generalised runs: a folder with ``generalised.json`` and one line an image in ``images.jsonl``.

Such a folder is no run of episodes: readers of those pass it by.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fsseg_bench.conventions import Int64
from fsseg_bench.paths import regular
from fsseg_bench.protocol.generalised import Labels
from fsseg_bench.protocol.spec import RESOLUTIONS, Resolution
from fsseg_bench.records.info import GENERALISED_FILE, RecordError, read_json
from fsseg_bench.records.read import ASIDE
from fsseg_bench.storage.files import make_folder, write_atomic
from fsseg_bench.storage.json_text import write_json

RECORD_FILE = GENERALISED_FILE
IMAGES_FILE = "images.jsonl"
FOLDER = "generalised"
"""Of all such records, below the results folder."""
_SCHEMA = 1


def identity_of(settings: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of the settings: equal ones are the same run."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def folder_of(root: Path, settings: Mapping[str, Any]) -> Path:
    """The folder of a run with these settings."""
    words = [settings[key] for key in ("protocol", "method", "backbone")]
    name = "-".join([*map(str, words), f"{settings['shot']}shot", f"fold{settings['fold']}"])
    return root / FOLDER / f"{name.replace('/', '_').replace(':', '_')}-{identity_of(settings)[:12]}"


def sparse(confusion: Int64) -> list[int]:
    """The counts of a matrix that are not 0: label, prediction, pixels, and so on."""
    rows, columns = np.nonzero(confusion)
    return np.stack([rows, columns, confusion[rows, columns]], axis=1).ravel().tolist()


def keep(
    folder: Path, settings: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]
) -> None:
    """Writes a finished run: the lines of its images, then the record that names their digest.

    Raises:
        UserError: full disk or unwritable folder.
    """
    make_folder(folder)
    text = "".join(json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n" for line in lines)
    write_atomic(folder / IMAGES_FILE, text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    head = {"schema": _SCHEMA, "identity": identity_of(settings), "settings": settings, "images_sha256": digest}
    write_json(folder / RECORD_FILE, {**head, **facts})


@dataclass(frozen=True, eq=False)
class GeneralisedRun:
    """A finished run."""

    folder: Path
    facts: Mapping[str, Any]
    """The content of ``generalised.json``."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What decides its numbers."""
        settings: Mapping[str, Any] = self.facts["settings"]
        return settings

    @property
    def labels(self) -> Labels:
        """What its counts are of."""
        return Labels(tuple(self.settings["classes"]), tuple(self.settings["novel"]))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of its draws of supports."""
        return tuple(self.settings["support_seeds"])

    @cached_property
    def lines(self) -> list[dict[str, Any]]:
        """The content of ``images.jsonl``, an image each.

        Raises:
            RecordError: it is not what the run has written.
        """
        text = _text(self.folder / IMAGES_FILE)
        if hashlib.sha256(text.encode()).hexdigest() != self.facts["images_sha256"]:
            raise RecordError(f"{self.folder / IMAGES_FILE}: is not what the run has written")
        try:
            lines = [json.loads(line) for line in text.splitlines()]
        except ValueError as error:
            raise RecordError(f"{self.folder / IMAGES_FILE}: not valid JSON: {error}") from None
        if not all(self._fits(line) for line in lines):
            raise RecordError(f"{self.folder / IMAGES_FILE}: has a line that is not the counts of an image")
        return lines

    def _fits(self, line: Any) -> bool:
        """Whether a line has triples of label, prediction and pixels for each draw, or nothing, at both sizes."""
        if not isinstance(line, dict) or not isinstance(line.get("image"), str):
            return False
        for own in (line.get(size) for size in RESOLUTIONS):
            if not isinstance(own, list) or len(own) != len(self.seeds):
                return False
            for counts in (one for one in own if one is not None):
                if (
                    not isinstance(counts, list)
                    or len(counts) % 3
                    or not all(type(n) is int and n >= 0 for n in counts)
                ):
                    return False
                if any(n >= self.labels.size for start in (0, 1) for n in counts[start::3]):
                    return False
        return True

    def confusions(self, size: Resolution) -> list[Int64]:
        """The matrix (C+1, C+1) of each draw of supports, of all its images.

        Raises:
            RecordError: the file of images was changed.
        """
        made = []
        for run in range(len(self.seeds)):
            whole = np.zeros((self.labels.size, self.labels.size), np.int64)
            for line in self.lines:
                _add(whole, line[size][run])
            made.append(whole)
        return made

    def terms(self, size: Resolution) -> list[Int64]:
        """For each draw what :func:`fsseg_bench.protocol.generalised.terms_of` says of each image, (M, 3, C+1).

        Raises:
            RecordError: the file of images was changed.
        """
        made = []
        for run in range(len(self.seeds)):
            terms = np.zeros((len(self.lines), 3, self.labels.size), np.int64)
            for own, line in zip(terms, self.lines, strict=True):
                label, prediction, pixels = _triples(line[size][run])
                right = label == prediction
                np.add.at(own[0], label[right], pixels[right])
                np.add.at(own[1], label, pixels)
                np.add.at(own[2], prediction, pixels)
            made.append(terms)
        return made


def _triples(counts: Sequence[int] | None) -> Int64:
    return np.array(counts or [], np.int64).reshape(-1, 3).T


def _add(confusion: Int64, counts: Sequence[int] | None) -> None:
    label, prediction, pixels = _triples(counts)
    np.add.at(confusion, (label, prediction), pixels)


def read_generalised(folder: Path) -> GeneralisedRun:
    """The record in a folder, or whose file this is.

    Raises:
        RecordError: there is none, or it is not of this version or was changed.
    """
    folder = folder.parent if folder.name == RECORD_FILE else folder
    path = folder / RECORD_FILE
    facts = read_json(path)
    if not isinstance(facts, dict) or facts.get("schema") != _SCHEMA:
        raise RecordError(f"{path}: not a record of schema {_SCHEMA}")
    if not isinstance(facts.get("settings"), dict) or identity_of(facts["settings"]) != facts.get("identity"):
        raise RecordError(f"{path}: its settings are not those that the run was made with")
    return GeneralisedRun(folder, facts)


def is_generalised(folder: Path) -> bool:
    """Whether such a record is there."""
    return folder.name == RECORD_FILE or (folder / RECORD_FILE).is_file()


def generalised_folders(root: Path) -> Iterator[Path]:
    """The folders below ``root`` that hold such a record, sorted, but for those that ``--fresh`` moved aside."""
    for path in sorted(root.glob(f"**/{RECORD_FILE}")):
        if not any(ASIDE.search(part) for part in path.relative_to(root).parts):
            yield path.parent


def _text(path: Path) -> str:
    try:
        return regular(path).read_text(encoding="utf-8")
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise RecordError(f"{path}: is not text in UTF-8: {error}") from None
