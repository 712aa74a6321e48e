"""The page's section of episodes: the same ones for all methods side by side, chosen by rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fsseg_bench.conventions import UInt8
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.scoring import episode_ious
from fsseg_bench.records.info import PREDICTIONS_FILE
from fsseg_bench.records.predictions import stored_predictions
from fsseg_bench.records.read import RecordError, RecordWarning
from fsseg_bench.report.collect import Collection
from fsseg_bench.report.episode_choice import Choice, choose, further
from fsseg_bench.report.html.episode_tiles import STYLE, Tiles, legend, tile_side
from fsseg_bench.report.html.gallery import Gallery
from fsseg_bench.report.html.page import escape, folded
from fsseg_bench.report.html.runs import ShownRun
from fsseg_bench.report.html.standing import Contest
from fsseg_bench.report.html.words import listing
from fsseg_bench.report.recorded import DataPlaces, RecordedEpisodes, check_prediction
from fsseg_bench.report.scored import ScoredRun

__all__ = ["STYLE", "episodes_html"]

_MOST_METHODS = 6  # side by side
_MOST_BLOCKS = 12
_MOST_EPISODES = 60  # on a page
_MORE = 8  # other ranks of a block, as far as the page holds them
_MOST_SUPPORTS = 5
_RULES = (
    "The same episodes for all methods. They are chosen by rule, from the foreground IoU at the input size, averaged "
    "over the methods: best, median, worst, and where two methods differ most; then evenly spaced ranks. Choose a "
    "picture to enlarge it."
)


def episodes_html(
    contests: Sequence[Contest], collection: Collection, places: DataPlaces | None = None
) -> tuple[str, list[RecordWarning]]:
    """The section's body, HTML, and what could not be shown.

    Images come from the data set, where it is on this machine, and predictions from the records. Where either is
    missing the pictures that the runs recorded are shown, and the section says so.

    Args:
        contests: a block each.
        collection: the runs that they are made of.
        places: where data sets are.
    """
    section = _Section(RecordedEpisodes(places or DataPlaces()), Tiles(), Gallery(), collection, [])
    shown = contests[:_MOST_BLOCKS]
    more = max(0, min(_MORE, _MOST_EPISODES // max(1, len(shown)) - 4))
    blocks = [section.block(contest, more, opened=i == 0) for i, contest in enumerate(shown)]
    body = "\n".join(filter(None, blocks))
    if not body:
        return "", section.warnings + section.gallery.warnings
    left = len(contests) - len(shown)
    words = f"{left} more comparisons are without pictures here; report them alone."
    end = f'<p class="caption">{words}</p>' if left else ""
    intro = f'<p class="caption">{escape(_RULES)}</p>{section.tiles.definitions()}' if section.drawn else ""
    return f"{intro}{body}{end}", section.warnings + section.gallery.warnings


@dataclass(eq=False)
class _Section:
    """What the blocks share."""

    recorded: RecordedEpisodes
    tiles: Tiles
    gallery: Gallery
    collection: Collection
    warnings: list[RecordWarning]
    drawn: int = 0
    """Episodes so far."""

    def block(self, contest: Contest, more: int, *, opened: bool) -> str:
        """One contest's episodes, or the pictures that its runs recorded."""
        kept = [place for place in range(len(contest.standings)) if _keeps(self.runs(contest, place))]
        lacking = [place for place in range(len(contest.standings)) if place not in kept]
        parts = []
        if kept:
            try:
                parts.append(self._drawn(contest, kept[:_MOST_METHODS], more))
            except UserError as error:
                if isinstance(error, RecordError):
                    self._damaged(error)
                parts.append(self._fall_back(contest, kept, str(error)))
            if left := [contest.name(place) for place in kept[_MOST_METHODS:]]:
                parts.append(f'<p class="caption">Not shown: {escape(", ".join(left))}, which come after these.</p>')
        if lacking:
            why = "their records keep no predictions (they were made by an earlier version)"
            parts.append(self._fall_back(contest, lacking, why, or_nothing=True))
        if not any(parts):
            return ""
        return folded(f"<h3>{escape(contest.title)}</h3>", "".join(parts), opened=opened)

    def _damaged(self, error: RecordError) -> None:
        self.warnings.append(RecordWarning(self.collection.root, str(error)))

    def runs(self, contest: Contest, place: int) -> dict[int, ScoredRun]:
        """By fold the runs of an entrant with its first training seed."""
        folds = contest.standings[place].entrant.folds
        return {fold: folds[fold][0] for fold in contest.folds}

    def _drawn(self, contest: Contest, places: Sequence[int], more: int) -> str:
        runs = [self.runs(contest, place) for place in places]
        ious = {fold: np.stack([episode_ious(own[fold].counts.input) for own in runs]) for fold in contest.folds}
        first, others = choose(ious), further(ious, more) if more else []
        columns = []
        for i, (place, own) in enumerate(zip(places, runs, strict=True)):
            try:
                columns.append(_Column(i, contest.name(place), own, _predictions(own, [*first, *others])))
            except RecordError as error:
                self._damaged(error)
        if not columns:
            raise UserError("their predictions are damaged")
        rows = [self._episode(choice, columns, _MOST_SUPPORTS) for choice in first]
        further_rows = [self._episode(choice, columns, 1) for choice in others]
        words = f"More: {len(others)} episodes at evenly spaced ranks"
        rest = folded(words, "".join(further_rows)) if others else ""
        return f"{legend(contest.runs[0].record.settings.way)}{''.join(rows)}{rest}"

    def _episode(self, choice: Choice, columns: Sequence[_Column], most: int) -> str:
        """One episode, with up to ``most`` supports."""
        fold, episode = choice.fold, choice.episode
        images = self.recorded.images(columns[0].runs[fold].record, episode)
        side, shots, ways = tile_side(len(images.truth)), len(images.supports[0]), len(images.classes)
        shown = shots if shots * ways <= most else 1
        tiles = [(tile, "") for tile in images.support_tiles(shown, side)]
        tiles.append((images.truth_tile("query, truth", side), ""))
        for column in columns:
            labels, run = column.predictions[fold, episode], column.runs[fold]
            check_prediction(run.record, episode, labels, images.truth, run.counts)
            tiles.append((images.prediction_tile(column.name, labels, side), f"IoU {choice.ious[column.place]:.1f} %"))
        self.drawn += 1
        facts = f"fold {fold}, episode {episode}"
        if shown < shots:
            facts += f"; {shown} of {shots} supports" + (" of each class" if ways > 1 else "")
        words = f"{choice.reason[0].upper()}{choice.reason[1:]}: {', '.join(images.classes)}"
        return self.tiles.row(f"<h4>{escape(words)} <small>{escape(facts)}</small></h4>", tiles)

    def _fall_back(self, contest: Contest, places: Sequence[int], why: str, *, or_nothing: bool = False) -> str:
        """The pictures that runs recorded, and why no others are shown; nothing where runs were to picture nothing."""
        runs = [
            ShownRun(run, self.collection.path(run.record), contest.standings[place].entrant.variant)
            for place in places
            for run in self.runs(contest, place).values()
        ]
        pictures = self.gallery.add(runs)
        if or_nothing and not pictures:
            return ""
        names = [contest.name(place) for place in places]
        instead = "These are the pictures that the runs recorded." if pictures else "The runs recorded no pictures."
        told = f"No pictures side by side of {listing(names)}: {why}. {instead}"
        return f'<p class="caption">{escape(told)}</p>{pictures}'


class _Column(NamedTuple):
    """A method's tiles."""

    place: int
    """Among the methods by whose scores the episodes were chosen."""
    name: str
    runs: Mapping[int, ScoredRun]
    """By fold."""
    predictions: Mapping[tuple[int, int], UInt8]
    """By fold and episode: labels (S, S)."""


def _predictions(runs: Mapping[int, ScoredRun], choices: Sequence[Choice]) -> dict[tuple[int, int], UInt8]:
    found = {}
    for fold, run in runs.items():
        stored = stored_predictions(run.record, [choice.episode for choice in choices if choice.fold == fold]) or {}
        found.update({(fold, episode): labels for episode, labels in stored.items()})
    return found


def _keeps(runs: Mapping[int, ScoredRun]) -> bool:
    return all(PREDICTIONS_FILE in run.record.info.files for run in runs.values())
