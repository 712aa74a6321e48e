"""Records of the same episodes have the same labels: the pixels of each label must be equal in all of them."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from fsseg_bench.engine.verify import Verdict
from fsseg_bench.errors import UserError
from fsseg_bench.records.read import StoredRun, read_run


def same_truth(folders: Iterable[Path]) -> dict[Path, Verdict]:
    """A verdict on each record that has others beside it with its rules, episodes and masks.

    Where they disagree, those are wrong that are not among the most that agree; where no side has more, all are.
    """
    beside: dict[tuple[str, ...], dict[Path, str]] = defaultdict(dict)
    for folder in folders:
        try:
            run = read_run(folder)
            if run.status == "done" and run.settings.evaluated_digest:
                beside[_key(run)][folder] = _labels(run)
        except UserError:
            continue  # its own verdicts say what is wrong
    found: dict[Path, Verdict] = {}
    for group in beside.values():
        if len(group) > 1:
            found |= _verdicts(group)
    return found


def _verdicts(group: dict[Path, str]) -> dict[Path, Verdict]:
    votes = Counter(group.values()).most_common(2)
    right = votes[0][0] if len(votes) == 1 or votes[0][1] > votes[1][1] else None
    good = f"as many pixels of each label as in {len(group) - 1} other record(s) of these episodes"
    bad = "the pixels of the labels are others than in other records of these episodes"
    bad += "" if right else "; one of them is wrong, and nobody can tell which"
    return {folder: Verdict("labels", own == right, good if own == right else bad) for folder, own in group.items()}


def _key(run: StoredRun) -> tuple[str, ...]:
    settings = run.settings
    return settings.protocol_digest, settings.episode_digest, str(settings.evaluated_digest), str(settings.way)


def _labels(run: StoredRun) -> str:
    """A digest of the sums of the rows of all confusion matrices, which predictions do not change."""
    counts = run.counts()
    sums = [cells.sum(axis=2).astype("<i8").tobytes() for cells in (counts.input, counts.native)]
    return hashlib.sha256(b"".join(sums)).hexdigest()
