"""Records of the same episodes have the same labels: the pixels of each label must be equal in all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fsseg_bench.engine.verify import Verdict
from fsseg_bench.errors import UserError
from fsseg_bench.records.owner import Owner, owner_of
from fsseg_bench.records.read import StoredRun, evaluated_images, read_run


class _Claim(NamedTuple):
    """What a record says of the labels of its episodes, and whose it is."""

    pack: str
    """Empty where the record was made here."""
    name: str
    files: tuple[str, ...]
    """The digest of the labels of each query; empty in records of early versions, which did not note it."""
    pixels: tuple[bytes, ...]
    """Of each episode its classes, and the sums of the rows of its confusion matrices, which no prediction changes."""


class _Found(NamedTuple):
    """The episodes in which a record says otherwise than others, by how that was decided."""

    wrong: list[int]
    """With the same files, and more packs say the other thing."""
    tied: list[int]
    """With the same files, and neither side has more."""
    foreign: list[int]
    """With other files."""


def same_truth(folders: Iterable[Path]) -> dict[Path, Verdict]:
    """A verdict on each record that has others beside it with its rules, episodes and ways.

    Where two records have the same file of labels for a query, and other pixels in it, one of them is wrong: the one
    that fewer packs agree with (the records made here count as one pack, as do several packs of one name; within one
    pack its records are counted). Where no side has more, both are said to contradict each other, and none is called
    wrong; so are records whose files of labels differ, since that may be two versions of a data set.
    """
    beside: dict[tuple[str, ...], dict[Path, _Claim]] = defaultdict(dict)
    for folder in folders:
        try:
            run = read_run(folder)
            if run.status == "done":
                settings = run.settings
                key = settings.protocol_digest, settings.episode_digest, str(settings.way)
                beside[key][folder] = _claim(run)
        except UserError:
            continue  # its own verdicts say what is wrong
    found: dict[Path, Verdict] = {}
    for group in beside.values():
        if len(group) > 1:
            found |= {folder: _verdict(own, list(group.values())) for folder, own in group.items()}
    return found


def _claim(run: StoredRun) -> _Claim:
    counts, table = run.counts(), run.table()
    images = evaluated_images(run.folder, run.info.settings)
    files = tuple(images[query][1] if query in images else "" for query in (table.queries if table else ()))
    parts = [counts.classes, counts.input.sum(axis=2), counts.native.sum(axis=2)]
    pixels = tuple(b"".join(part[i].astype("<i8").tobytes() for part in parts) for i in range(len(counts.input)))
    owner = owner_of(run.folder) or Owner()
    return _Claim(owner.digest or "", owner.by or owner.digest or "", files or ("",) * len(pixels), pixels)


def _verdict(own: _Claim, group: Sequence[_Claim]) -> Verdict:
    found = _Found([], [], [])
    for episode, pixels in enumerate(own.pixels):
        sides = _sides(own.files[episode], episode, group)
        if len(sides) > 1:
            votes = _votes(sides)
            most = max(votes.values())
            tied = list(votes.values()).count(most) > 1
            if tied or votes[pixels] < most:
                (found.tied if tied else found.wrong).append(episode)
        elif any(claim.pixels[episode : episode + 1] != (pixels,) for claim in group):
            found.foreign.append(episode)
    return _words(found, len(own.pixels), len(group) - 1)


def _sides(file: str, episode: int, group: Sequence[_Claim]) -> dict[bytes, list[_Claim]]:
    """Who says what of an episode, among those that have this file of its labels."""
    sides: dict[bytes, list[_Claim]] = defaultdict(list)
    for claim in group:
        if episode < len(claim.pixels) and claim.files[episode] == file:
            sides[claim.pixels[episode]].append(claim)
    return sides


def _votes(sides: Mapping[bytes, Sequence[_Claim]]) -> dict[bytes, int]:
    """How many stand on each side: packs, and no more than they have owners; within one pack its records."""
    if len({claim.pack for side in sides.values() for claim in side}) == 1:
        return {pixels: len(side) for pixels, side in sides.items()}
    return {
        pixels: min(len({claim.pack for claim in side}), len({claim.name for claim in side}))
        for pixels, side in sides.items()
    }


def _words(found: _Found, episodes: int, others: int) -> Verdict:
    bad = "the pixels of the labels are others than in other records of these episodes"
    if found.wrong:
        return Verdict("labels", False, f"{bad}{_which(found.wrong, episodes)}, of the same files")
    if found.tied:
        told = (
            f"{bad}{_which(found.tied, episodes)}, of the same files; one of them is wrong, and nobody can tell which"
        )
        return Verdict("labels", False, told, done=False)
    if found.foreign:
        told = f"{bad}{_which(found.foreign, episodes)}, whose files of labels are others, or not noted"
        return Verdict("labels", False, f"{told}: another version of the data set, or changed numbers", done=False)
    return Verdict("labels", True, f"as many pixels of each label as in {others} other record(s) of these episodes")


def _which(episodes: Sequence[int], every: int) -> str:
    return f" ({len(episodes)} of {every} episodes, the first is {episodes[0]})"
