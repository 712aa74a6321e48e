"""The stored predictions of a run counted again with the masks on this machine. No model and no torch network runs."""

from __future__ import annotations

from pathlib import Path

from fsseg_bench.data.loading import query_label
from fsseg_bench.data.open import examine, open_source
from fsseg_bench.engine.recount import prediction_labels
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.load import replace_list
from fsseg_bench.records.info import PREDICTIONS_FILE
from fsseg_bench.records.predictions import counted
from fsseg_bench.records.read import RecordError, StoredRun
from fsseg_bench.records.request import protocol_of


def recount_masks(run: StoredRun, root: str | None) -> str:
    """Compares every count at the input size with the stored prediction and the mask; says what was compared.

    Args:
        run: a finished run.
        root: the folder of the data sets; None: as the record says, or ``FSSEG_DATA``.

    Raises:
        RecordError: an episode has other counts, or the record has no predictions.
        UserError: the protocol or the data cannot be had, or are not those of the run.
    """
    rows, table, counts = run.lines(PREDICTIONS_FILE), run.table(), run.counts().input
    if not rows or table is None:
        raise RecordError(f"the record has no {PREDICTIONS_FILE}: it was made by an earlier version")
    passed = run.info.passed
    protocol = protocol_of(passed)
    if passed.episode_list:
        protocol = replace_list(protocol)
    if protocol.digest != run.settings.protocol_digest:
        raise UserError(f"its protocol, {passed.dataset}, was changed since; its masks may be read otherwise")
    given = root or passed.data_root
    source = open_source(protocol, Path(given) if given else None)
    images = {image for i in range(len(table)) for image in table.images(i)}
    if (found := examine(source, images, labels=True, decode=False).digest) != run.settings.evaluated_digest:
        raise UserError(
            f"the images or masks in {source.root} are not those of the run (SHA-256 {found[:8]}..., "
            f"then {str(run.settings.evaluated_digest)[:8]}...)"
        )
    for episode, row in enumerate(rows):
        truth = query_label(source, table.queries[episode], table.classes[episode], protocol.image.size)
        if (counted(prediction_labels(row, table.ways), truth, table.ways) != counts[episode]).any():
            raise RecordError(f"episode {episode}: prediction and mask of {table.queries[episode]} give other counts")
    return f"{len(rows):,} predictions and the masks in {source.root} give the recorded counts at the input size"
