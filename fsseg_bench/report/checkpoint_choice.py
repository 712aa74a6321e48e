"""What it would be worth to test the checkpoint that is best on the test episodes themselves, as many papers do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fsseg_bench.conventions import Int64
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.checkpoint_choice import expected_best
from fsseg_bench.protocol.conventions import CONVENTIONS, FoldPixels, Way
from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.records.kept import find_kept
from fsseg_bench.records.read import StoredRun
from fsseg_bench.report.contender import Contender, Matched
from fsseg_bench.report.model import MISSING, Cell, Column, Table, printable

_PROTOCOL = CONVENTIONS[0]
USERS = "CANet, PPNet, RPMMs, HSNet, VAT, BAM, SSP, ASGNet"
"""Who keeps the checkpoint with the best score on the test classes and images."""
WARNING = (
    "CHOSEN ON HELD-OUT CLASSES: the best of the kept checkpoints is chosen for each fold by its score on the test "
    "episodes. It is shown to tell what that choice is worth, is no result, and enters no other table."
)

_Line = tuple[str, str, list[float | None]]
"""The name of a row, a note, and a score of each contender."""


class Choice(NamedTuple):
    """Mean-IoU of a contender's kept checkpoints in percent; means over folds of what holds for each, and over seeds.

    A fold's checkpoint is chosen for itself.
    """

    kept: tuple[int, int]
    """The fewest and the most checkpoints of a run."""
    lowest: float
    median: float
    best: float
    """Of all that are kept."""
    expected: tuple[float, ...]
    """Of the best of n, for n from 1 to the fewest that a run has kept."""


def choices_of(contenders: Sequence[Contender], matched: Matched) -> list[Choice | None]:
    """What choosing is worth for each contender; None where a run has no counted checkpoint.

    Raises:
        UserError: no contender has any; a damaged record.
    """
    found = []
    for contender, seeds in zip(contenders, matched.seeds, strict=True):
        found.append(_choice([_scores(contender.runs[fold][seed]) for fold in matched.folds for seed in seeds]))
    if not any(found):
        raise UserError(
            "conventions --checkpoints: no contender has kept checkpoints in all of its runs; train with "
            "run --keep-checkpoints N"
        )
    return found


def _choice(runs: Sequence[Sequence[float]]) -> Choice | None:
    if not all(runs):
        return None
    fewest = min(map(len, runs))
    expected = np.mean([expected_best(scores)[:fewest] for scores in runs], axis=0)
    lowest, median, best = (float(np.mean([of(scores) for scores in runs])) for of in (min, np.median, max))
    return Choice((fewest, max(map(len, runs))), lowest, median, best, tuple(expected.tolist()))


def _scores(run: StoredRun) -> list[float]:
    """Mean-IoU in percent of each kept checkpoint, under the protocol."""
    classes, settings = run.counts().classes, run.settings
    score, runs = _PROTOCOL.score, settings.runs or 1
    kept: list[dict[Resolution, Int64]] = [{"input": one.input, "native": one.native} for one in find_kept(run)]
    pixels = [FoldPixels(classes, run.novel, cells, None, settings.headline, runs) for cells in kept]
    return [100 * found for one in pixels if (found := score([one])) is not None]


def best_way(choices: Sequence[Choice | None]) -> Way:
    """What the row among the conventions says."""
    kept = [count for one in choices if one is not None for count in one.kept]
    count = f"{min(kept)}" if min(kept) == max(kept) else f"{min(kept)} to {max(kept)}"
    words = "CHOSEN ON HELD-OUT CLASSES: of each fold's kept checkpoints the one that scores best on the test episodes"
    return Way(f"best of {count} checkpoints on test", "mean", words, USERS)


def choice_table(
    contenders: Sequence[Contender], choices: Sequence[Choice | None], protocol: Sequence[float], about: str
) -> Table:
    """A row for each number of checkpoints to choose among, a column for each contender; percent.

    ``protocol`` are the scores of the runs themselves; ``about`` says of what.
    """
    lines: list[_Line] = [("this protocol", "", list(protocol)), *_lines(choices)]
    rows = (
        (Cell(name, note=note), *(_cell(score, own, name) for score, own in zip(scores, protocol, strict=True)))
        for name, note, scores in lines
    )
    columns = (Column((printable(one.label),), {"method": one.settings.method}) for one in contenders)
    lacking = [one.label for one, choice in zip(contenders, choices, strict=True) if choice is None]
    return Table(
        name="conventions-checkpoints",
        title=f"What choosing a checkpoint on the test episodes is worth: mean-IoU of {about}",
        caption="Percent, means over folds, and in brackets the difference to this protocol.",
        columns=(Column(("checkpoint",)), *columns),
        labels=1,
        rows=tuple(rows),
        facts={"metric": "mean"},
        remarks=(
            WARNING,
            "Kept checkpoints: "
            + "; ".join(
                f"{one.label}: {_counted(choice)}"
                for one, choice in zip(contenders, choices, strict=True)
                if choice is not None
            )
            + ". Early ones are among them, so the rows depend on how long a training is and which states it keeps.",
            *([f"Not every run has kept checkpoints, so no number for: {', '.join(lacking)}."] if lacking else []),
        ),
    )


def _lines(choices: Sequence[Choice | None]) -> list[_Line]:
    """The rows that choose."""
    known = [one for one in choices if one is not None]
    longest = max(len(one.expected) for one in known)
    drawn = "the mean over all choices of n of the kept checkpoints, each fold's best chosen by itself"
    lines: list[_Line] = [
        ("lowest kept", "", [one and one.lowest for one in choices]),
        ("median kept", "", [one and one.median for one in choices]),
    ]
    for n in range(1, longest + 1):
        of_n = [one.expected[n - 1] if one and n <= len(one.expected) else None for one in choices]
        lines.append((f"best of {n}", drawn if n == 1 else "", of_n))
    if any(one.kept != (longest, longest) for one in known):  # else it is the line before
        lines.append(("best of all kept", "", [one and one.best for one in choices]))
    return lines


def _counted(choice: Choice) -> str:
    fewest, most = choice.kept
    return f"{fewest} a run" if fewest == most else f"{fewest} to {most} a run"


def _cell(score: float | None, own: float, name: str) -> Cell:
    if score is None:
        return Cell(MISSING)
    return Cell(f"{score:.2f}" if name == _PROTOCOL.name else f"{score:.2f} ({score - own:+.2f})", score)
