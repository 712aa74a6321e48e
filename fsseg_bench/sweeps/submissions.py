"""What of a sweep was given to Slurm: a line before it is, and one after it, in ``submissions.jsonl`` of its folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from fsseg_bench.storage.files import sync_folder
from fsseg_bench.sweeps.attempts import append_lines

SUBMISSIONS_FILE: Final = "submissions.jsonl"


@dataclass(frozen=True)
class Submission:
    """Cells that were submitted together."""

    name: str
    """Of the job, used once. Slurm counts jobs anew now and then: a number alone may be another one's."""
    labels: tuple[str, ...]
    """Of the cells; the array's indices count them."""
    submitted: str
    """When, in UTC."""
    job: str | None = None
    """Its number; None: it was refused, or the process was killed before it knew."""


def note(folder: Path, submission: Submission) -> None:
    """Adds a submission that will be made, or the number of one that was.

    Raises:
        UserError: it cannot be written.
    """
    row: dict[str, Any] = {"name": submission.name}
    if submission.job is None:
        row |= {"labels": list(submission.labels), "submitted": submission.submitted}
    else:
        row |= {"job": submission.job}
    append_lines(folder / SUBMISSIONS_FILE, json.dumps(row))
    sync_folder(folder)


def read_submissions(folder: Path) -> list[Submission]:
    """All, the oldest first; a line that a kill cut off is left out."""
    try:
        lines = (folder / SUBMISSIONS_FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found: dict[str, Submission] = {}
    for line in lines:
        try:
            row = json.loads(line)
            if "labels" in row:
                found[row["name"]] = Submission(row["name"], tuple(row["labels"]), row["submitted"])
            else:
                found[row["name"]] = replace(found[row["name"]], job=str(row["job"]))
        except (ValueError, TypeError, KeyError):
            continue
    return list(found.values())
