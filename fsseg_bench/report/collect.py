"""What is found among the records: what a report is made from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from fsseg_bench.errors import UserError
from fsseg_bench.paths import results_root
from fsseg_bench.protocol.statistics import IntervalKind
from fsseg_bench.records.read import RecordWarning, StoredRun, record_folders
from fsseg_bench.records.settings import Rules
from fsseg_bench.report.gather import gathered
from fsseg_bench.report.intervals import Intervals
from fsseg_bench.report.packs import unpacked
from fsseg_bench.report.scored import Found, KnownImages, ScoredRun, skipped


@dataclass(frozen=True)
class Collection:
    """What was found among the records."""

    root: Path
    """The folder that paths are shown relative to."""
    done: tuple[ScoredRun, ...]
    """Finished runs; only these make numbers."""
    unfinished: tuple[StoredRun, ...]
    """Runs that are not done, with their status."""
    warnings: tuple[RecordWarning, ...]
    """Records that were skipped, and why."""
    episodes: int | None = None
    """How many of each run's first episodes count; None: all."""
    left_out: int = 0
    """How many runs are not among these because of what was asked for."""
    intervals: Intervals = field(default_factory=Intervals, repr=False, compare=False)
    packs: Mapping[Path, str] = field(default_factory=dict)
    """By the folders into which packs were unpacked, their names."""

    @property
    def by_rules(self) -> dict[Rules, list[ScoredRun]]:
        """The finished runs of each table of runs: of one protocol (label, version, digest) and number of ways."""
        found: dict[Rules, list[ScoredRun]] = defaultdict(list)
        for run in self.done:
            found[run.record.settings.rules].append(run)
        return found

    def path(self, run: StoredRun) -> str:
        """The run's folder relative to the root, with forward slashes; in a pack, behind the pack's name."""
        path = run.folder.as_posix()
        for folder, name in self.packs.items():
            if path.startswith(inside := f"{folder.as_posix()}/"):
                return f"{name}:{path.removeprefix(inside)}"
        return "." if f"{path}/" == self._root else path.removeprefix(self._root)

    @cached_property
    def _root(self) -> str:
        """The beginning of the paths in it."""
        return f"{self.root.as_posix().removesuffix('/')}/" if self.root != Path() else ""


def find_runs(
    root: Path | str | None = None,
    *,
    episodes: int | None = None,
    interval: IntervalKind = "images",
    packs: Sequence[Path | str] = (),
) -> Collection:
    """All runs under ``root`` (None: ``FSSEG_RESULTS``, else ``results/runs``), with intervals over ``interval``.

    With ``episodes`` the first ones of each run count, which are what a table of that length would hold. The records in
    ``packs`` come behind, without those that are among the others already; with these the default folder need not
    exist.

    Raises:
        UserError: there is no such folder, ``episodes`` is below 1, or a pack cannot be read.
    """
    folder = results_root(root)
    if episodes is not None and episodes < 1:
        raise UserError(f"--episodes {episodes}: it must be at least 1")
    names = unpacked(packs)
    here = not packs or root is not None or folder.is_dir()
    found = [record_folders(one) for one in ([folder] if here else []) + list(names)]
    folders, closed = ([one for part in parts for one in part] for parts in zip(*found, strict=True))
    made = _without_copies(_collection(folder, gathered(folders, episodes), closed, episodes, interval), names)
    return replace(made, packs=names, warnings=tuple(_named(warning, names) for warning in made.warnings))


def _without_copies(made: Collection, packs: Mapping[Path, str]) -> Collection:
    """Without records of packs that are there already: one run twice would be compared with itself, and be corrected
    for. A run that somebody has made again was begun at another time, and stays."""
    seen: set[tuple[str, str | None, str]] = set()
    kept: list[ScoredRun] = []
    copies: Counter[Path] = Counter()
    for run in made.done:
        info = run.record.info
        key = (info.identity, info.created, info.episodes.sha256 if info.episodes else "")
        pack = next((folder for folder in packs if folder in run.record.folder.parents), None)
        if pack is not None and key in seen:
            copies[pack] += 1
            continue
        seen.add(key)
        kept.append(run)
    told = [
        RecordWarning(pack, f"{packs[pack]}: {count} of its records stand here already, and count once")
        for pack, count in copies.items()
    ]
    return replace(made, done=tuple(kept), warnings=(*made.warnings, *told))


def _named(warning: RecordWarning, packs: Mapping[Path, str]) -> RecordWarning:
    """A warning that names packs and not the folders into which they were unpacked."""
    message = warning.message
    for folder, name in packs.items():
        message = message.replace(f"{folder}/", f"{name}:")
    return replace(warning, message=message)


def any_runs(
    root: Path | str | None = None,
    *,
    episodes: int | None = None,
    interval: IntervalKind = "images",
    packs: Sequence[Path | str] = (),
) -> Collection:
    """The runs under ``root``; none where the default folder does not exist, since published numbers need no runs.

    Raises:
        UserError: ``root`` is given and there is no such folder, or as :func:`find_runs`.
    """
    folder = results_root(root)
    if root is None and not packs and not folder.is_dir():
        return Collection(folder, (), (), (), intervals=Intervals(interval))
    return find_runs(root, episodes=episodes, interval=interval, packs=packs)


def open_runs(folders: Sequence[Path], root: Path | str | None = None) -> Collection:
    """The runs in exactly these folders; a folder without a usable record becomes a warning."""
    return _collection(results_root(root), gathered(list(dict.fromkeys(folders))))


def _collection(
    root: Path,
    found: Iterable[Found],
    warnings: Iterable[RecordWarning] = (),
    episodes: int | None = None,
    interval: IntervalKind = "images",
) -> Collection:
    done: list[ScoredRun] = []
    unfinished: list[StoredRun] = []
    unusable, known = list(warnings), KnownImages()
    for one in found:
        if isinstance(one, RecordWarning):
            unusable.append(one)
        elif isinstance(one, StoredRun):
            unfinished.append(one)
        else:
            try:
                if not known.knows(one.record):
                    known.add(one.record)
            except UserError as error:
                unusable.append(skipped(one.record, error))
            else:
                done.append(one)
    whole = []
    for scored in done:  # now that all tables are known
        try:
            whole.append(scored.with_images(known.of(scored.record, scored.counts)))
        except UserError as error:
            unusable.append(skipped(scored.record, error))
    return Collection(root, tuple(whole), tuple(unfinished), tuple(unusable), episodes, intervals=Intervals(interval))
