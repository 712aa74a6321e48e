"""The images of the episodes of many records: each episode table is parsed once, and serves all that ran on it."""

from __future__ import annotations

import numpy as np

from fsseg_bench.protocol.images import EpisodeImages
from fsseg_bench.records.read import EpisodeCounts, RecordError, StoredRun
from fsseg_bench.records.run import TABLE_FILE


class KnownImages:
    """Images by episode digest. A record without a table of its own gets the one of another with this digest."""

    def __init__(self) -> None:
        self._whole: dict[str, EpisodeImages] = {}
        self._heads: dict[tuple[str, int], EpisodeImages] = {}

    def add(self, run: StoredRun) -> None:
        """Learns from a record's table, where it has one.

        Raises:
            RecordError: the table is damaged.
        """
        digest = run.settings.episode_digest
        if digest in self._whole:
            run.table_bytes()
        elif (table := run.table()) is not None:
            self._whole[digest] = EpisodeImages.of(table)

    def of(self, run: StoredRun, counts: EpisodeCounts) -> EpisodeImages | None:
        """The images of the counted episodes; None where no record knows them.

        Raises:
            RecordError: the counts are of other episodes than the table.
        """
        digest, count = run.settings.episode_digest, len(counts.classes)
        if digest not in self._whole:
            return None
        if (digest, count) not in self._heads:
            whole = self._whole[digest]
            self._heads[digest, count] = whole if count == len(whole.queries) else whole.head(count)
        images = self._heads[digest, count]
        if not np.array_equal(images.classes, counts.classes):
            raise RecordError(f"{run.folder}: its counts are not those of the episodes in {TABLE_FILE}")
        return images
