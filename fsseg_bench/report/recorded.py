"""Episodes of finished runs again: images and masks from the data set on this machine, predictions from the records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fsseg_bench.conventions import UInt8
from fsseg_bench.data.loading import query_label
from fsseg_bench.data.open import examine, open_source
from fsseg_bench.data.source import Source
from fsseg_bench.errors import UserError
from fsseg_bench.pictures.episode import EpisodeImages
from fsseg_bench.protocol.load import replace_list
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.protocol.table import EpisodeTable
from fsseg_bench.records.info import PREDICTIONS_FILE
from fsseg_bench.records.predictions import counted, prediction_labels, stored_predictions
from fsseg_bench.records.read import EpisodeCounts, RecordError, StoredRun, evaluated_images, same_classes
from fsseg_bench.records.request import RunRequest, protocol_of


def check_prediction(run: StoredRun, episode: int, labels: UInt8, truth: UInt8, counts: EpisodeCounts) -> None:
    """Whether predicted ``labels`` (S, S) have the run's recorded counts beside the ``truth`` (S, S).

    Raises:
        RecordError: they have others.
    """
    if labels.shape != truth.shape or not np.array_equal(
        counted(labels, truth, run.settings.way), counts.input[episode]
    ):
        raise RecordError(
            f"{run.folder / PREDICTIONS_FILE}: episode {episode}: prediction and mask give other counts than recorded"
        )


@dataclass(frozen=True)
class DataPlaces:
    """What may be elsewhere than when a run was made."""

    data_root: str | None = None
    dataset: str | None = None
    """The protocol's file."""
    sources_path: str | None = None
    """A folder with further data sources; one that a record names is not looked into, since that would run its code."""


class RecordedEpisodes:
    """Reads the episodes of finished runs again, and checks by digests and counts that they are what was evaluated."""

    def __init__(self, places: DataPlaces = DataPlaces()) -> None:
        """What is not in ``places`` is looked for where the record says, and as ``run`` does."""
        self._places = places
        self._opened: dict[tuple[str, str], tuple[Protocol, Source] | UserError] = {}
        self._tables: dict[str, EpisodeTable] = {}

    def images(self, run: StoredRun, episode: int) -> EpisodeImages:
        """The images of an episode.

        Raises:
            UserError: the protocol or the data are nowhere to be found, or are not those that were evaluated.
        """
        protocol, source = self._open(run)
        table = self._table(run)
        self._check(run, source, sorted(set(table.images(episode))))
        return EpisodeImages.read(source, protocol, table, episode)

    def predictions(self, run: StoredRun, episodes: Sequence[int]) -> list[UInt8] | None:
        """The predicted labels (S, S) uint8 in 0..N of some episodes; None where the record keeps none.

        Raises:
            RecordError: the record is damaged, or a prediction has not the recorded counts.
        """
        found = stored_predictions(run, episodes)
        if found is None:
            return None
        counts = run.counts()
        for episode, labels in found.items():
            check_prediction(run, episode, labels, self.images(run, episode).truth, counts)
        return [found[episode] for episode in episodes]

    def recount(self, run: StoredRun) -> str:
        """Counts every stored prediction again with its mask; says what was compared.

        Raises:
            RecordError: an episode has other counts, or the record has no predictions; LeftOutError: its pack left
                them out.
            UserError: the protocol or the data are nowhere to be found, or are not those that were evaluated.
        """
        rows, counts, ways = run.lines(PREDICTIONS_FILE), run.counts(), run.settings.way  # LeftOutError: no fault
        if not rows:
            raise RecordError(f"the record has no {PREDICTIONS_FILE}: it was made by an earlier version")
        protocol, source = self._open(run)
        table = self._table(run)
        self._check(run, source, sorted({image for i in range(len(table)) for image in table.images(i)}))
        for episode, row in enumerate(rows):
            truth = query_label(source, table.queries[episode], table.classes[episode], protocol.image.side)
            if row.get("size") != len(truth):  # before it is unfolded, which takes memory
                raise RecordError(f"episode {episode}: a prediction of another size than {len(truth)} pixels a side")
            check_prediction(run, episode, prediction_labels(row, ways), truth, counts)
        return f"{len(rows):,} predictions and the masks in {source.root} give the recorded counts at the input size"

    def drawn(self, run: StoredRun) -> str:
        """Draws the run's episodes again from the data set; says what was compared.

        Raises:
            RecordError: the protocol draws others from these data, or the counts have other classes.
            UserError: the protocol or the data are nowhere to be found.
        """
        from fsseg_bench.data.index import build_index  # it brings pandas, which reports do without
        from fsseg_bench.protocol.episodes import sample_episodes

        if run.info.passed.episode_list:
            return "a list that was given: nothing to draw"
        protocol, source = self._open(run)
        index, settings = build_index(source, protocol), run.settings
        pairs, order = index.test_pairs(run.fold), index.test_order(run.fold)
        table = sample_episodes(protocol, run.fold, pairs, settings.way, settings.shot, index.copies, order)
        if table.digest != settings.episode_digest:
            raise RecordError(f"{run.folder}: the protocol draws other episodes from the data in {source.root}")
        if not same_classes(run.counts(), table):
            raise RecordError(f"{run.folder}: its lines have other classes than the episodes that the protocol draws")
        return f"{len(table):,} episodes, those that the protocol draws from the data in {source.root}"

    def _open(self, run: StoredRun) -> tuple[Protocol, Source]:
        key = (run.settings.protocol_digest, str(run.info.passed.data_root))
        if key not in self._opened:
            try:
                self._opened[key] = self._found(run)
            except UserError as error:
                told = f"{run.folder}: the images of its episodes cannot be had: {error}"
                self._opened[key] = UserError(told)
        found = self._opened[key]
        if isinstance(found, UserError):
            raise found
        return found

    def _found(self, run: StoredRun) -> tuple[Protocol, Source]:
        passed, places = run.info.passed, self._places
        dataset = places.dataset or passed.dataset
        if not dataset:
            raise UserError("the record does not say which protocol it is of")
        request = RunRequest(
            dataset=dataset,
            settings=passed.settings,
            episodes=passed.episodes,
            sources_path=places.sources_path,
        )
        try:
            protocol = protocol_of(request)
        except UserError as error:
            if passed.sources_path is None or places.sources_path is not None:
                raise
            named = f"the run took data sources from {passed.sources_path}; name the folder with --sources-path"
            raise UserError(f"{error} ({named})") from None
        if (replace_list(protocol) if passed.episode_list else protocol).digest != run.settings.protocol_digest:
            raise UserError(f"the protocol, {dataset}, was changed since")
        roots = [places.data_root] if places.data_root else list(dict.fromkeys([passed.data_root, None]))
        for i, root in enumerate(roots):
            try:
                return protocol, open_source(protocol, Path(root).expanduser() if root else None)
            except UserError:
                if i == len(roots) - 1:
                    raise
        raise AssertionError("there is always a place to look at")

    def _table(self, run: StoredRun) -> EpisodeTable:
        digest = run.settings.episode_digest
        if digest not in self._tables:
            table = run.table()
            if table is None:
                raise UserError(f"{run.folder}: the record does not say which images its episodes have")
            self._tables[digest] = table
        return self._tables[digest]

    def _check(self, run: StoredRun, source: Source, images: Sequence[str]) -> None:
        """Whether the images are those that were evaluated, as far as the record says."""
        recorded = evaluated_images(run.folder, run.info.settings)
        for image, content in examine(source, images, labels=True, decode=False).content:
            if image in recorded and recorded[image] != (content.image, content.label):
                raise UserError(
                    f"{source.image_path(image)}: not the image, or not the mask, that {run.folder} evaluated"
                )
