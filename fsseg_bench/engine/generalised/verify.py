"""Whether a record of a generalised run is what was recorded. Neither torch, data nor weights are needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fsseg_bench.engine.verify import Verdict
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.spec import RESOLUTIONS
from fsseg_bench.records.generalised import IMAGES_FILE, RECORD_FILE, GeneralisedRun, read_generalised

_CLOSE = 1e-12


def verify_generalised(folder: Path) -> list[Verdict]:
    """The verdicts on the record in ``folder``: settings, counts of images, and every score counted again."""
    try:
        run = read_generalised(folder)
    except UserError as error:
        return [_wrong(RECORD_FILE, error, folder)]
    made = [Verdict(RECORD_FILE, True, f"settings as they were written; identity {run.facts['identity'][:8]}")]
    looks: dict[str, Callable[[GeneralisedRun], str]] = {IMAGES_FILE: _images, "scores": _scores}
    for part, look in looks.items():
        try:
            made.append(Verdict(part, True, look(run)))
        except UserError as error:
            made.append(_wrong(part, error, folder))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            made.append(Verdict(part, False, f"has not the form of such a record: {type(error).__name__}: {error}"))
    return made


def _wrong(part: str, error: Exception, folder: Path) -> Verdict:
    words = str(error).replace(f"{folder}/", "").removeprefix(f"{folder}: ").removeprefix(f"{part}: ")
    return Verdict(part, False, words)


def _images(run: GeneralisedRun) -> str:
    names = Counter(line["image"] for line in run.lines)
    if twice := [name for name, times in names.items() if times > 1]:
        raise UserError(f"has an image twice: {twice[0]}")
    for i, draw in enumerate(run.facts["runs"]):
        supports = {c: tuple(images) for c, images in draw["supports"].items()}
        if supports != {c: tuple(images) for c, images in run.settings["supports"][i].items()}:
            raise UserError(f"the supports of seed {run.seeds[i]} are not those of the settings")
    return f"as it was written; {len(names):,} images"


def _scores(run: GeneralisedRun) -> str:
    """Counts and scores again, by loops of its own."""
    if [draw["seed"] for draw in run.facts["runs"]] != list(run.seeds):
        raise UserError("the seeds are not those of the settings")
    side = run.labels.size
    for i, draw in enumerate(run.facts["runs"]):
        for size in RESOLUTIONS:
            where = f"seed {run.seeds[i]}, {size} size"
            counts = Counter[tuple[int, int]]()
            for line in run.lines:
                own = line[size][i] or []
                for label, predicted, pixels in zip(own[::3], own[1::3], own[2::3], strict=True):
                    counts[label, predicted] += pixels
            if draw[size]["confusion"] != [[counts[a, b] for b in range(side)] for a in range(side)]:
                raise UserError(f"{where}: the confusion matrix is not the sum of the images'")
            _compare(draw[size]["scores"], _again(counts, run), where)
    return f"{len(run.seeds)} draws of supports counted again from the images, at both sizes"


def _again(counts: Mapping[tuple[int, int], int], run: GeneralisedRun) -> dict[str, float] | None:
    """The scores; None where a class has no pixel."""
    ious = []
    for i in range(run.labels.size):
        row, column = (sum(n for pair, n in counts.items() if pair[axis] == i) for axis in (0, 1))
        union = row + column - counts.get((i, i), 0)
        if not union:
            return None
        ious.append(counts.get((i, i), 0) / union)
    apart = run.settings["background"] == "apart"
    base = _mean([ious[i] for i in (*(() if apart else (0,)), *run.labels.base_places)])
    novel = _mean([ious[i] for i in run.labels.novel_places])
    two, total = (base + novel) / 2, _mean(ious)
    return {"base": base, "novel": novel, "mean of base and novel": two, "mean over all classes": total}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _compare(stated: Mapping[str, Any], again: Mapping[str, float] | None, where: str) -> None:
    if again is None:
        if "none" not in stated:
            raise UserError(f"{where}: scores are stated, and a class has no pixel")
        return
    for name, value in again.items():
        if abs(stated.get(name, -1.0) - value) > _CLOSE:
            raise UserError(f"{where}: {name} is {value!r}, and {stated.get(name)!r} is stated")
