"""One row for each episode of each run: which images, which classes, how many pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsseg_bench.protocol.scoring import binary_terms, way_terms
from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.table import EpisodeTable
from fsseg_bench.report.frames.opening import chosen_runs, frame_of, resolution_of, settings_words, with_remarks
from fsseg_bench.report.scored import ScoredRun

if TYPE_CHECKING:
    import pandas as pd

_FIRST = ("method", "backbone", "settings", "way", "shot", "fold", "seed", "episode", "class_id", "class_name", "query")
_LAST = ("resolution", "iou", "tp", "fp", "fn", "tn")


def episodes_frame(
    root: Path | str | None = None,
    *,
    resolution: Resolution | None = None,
    method: str | Sequence[str] | None = None,
    dataset: str | None = None,
    backbone: str | None = None,
    shot: int | None = None,
    way: int | None = None,
    seed: int | None = None,
    where: Mapping[str, Any] | None = None,
    episodes: int | None = None,
) -> pd.DataFrame:
    """One row for each episode of each finished run.

    Columns: ``method``, ``backbone``, ``settings``, ``way``, ``shot``, ``fold``, ``seed``, ``episode`` (its number,
    from 0); ``class_id`` (label value) and ``class_name`` of the first way, which is the query's class; ``query`` and
    ``support_1_1`` .. ``support_N_K`` (image ids; None where no record knows them); ``resolution``; ``iou`` (of the
    foreground, any way, in percent; NaN where nothing is labelled or predicted); ``tp``, ``fp``, ``fn``, ``tn`` (pixels
    of foreground and background, void left out); with several ways ``class_id_2``, ``class_name_2``, ... and for each
    way ``tp_1``, ``fp_1``, ``fn_1``, ... (pixels of that class alone); ``protocol_label``, ``path``.

    The mean of ``iou`` is no score of a method: mean-IoU sums a class's pixels over its episodes first.
    ``sums = frame.groupby("class_id")[["tp", "fp", "fn"]].sum()`` and ``sums.tp / sums.sum(axis=1)`` give the IoU of
    the classes of a 1-way run.

    Args:
        root: the results folder; None: ``FSSEG_RESULTS``, else ``results/runs``.
        resolution: where pixels are counted; None takes each protocol's headline.
        method: only runs of this method, or of these; this and what follows as for :func:`fsseg_bench.results`.
        dataset: only runs of this protocol.
        backbone: only runs with this backbone.
        shot: only K-shot runs.
        way: only N-way runs.
        seed: only runs with this training seed.
        where: only runs with these settings.
        episodes: each run's first episodes only.

    Raises:
        UserError: as :func:`fsseg_bench.results`; no such resolution.
    """
    import pandas as pd

    filters = {"dataset": dataset, "backbone": backbone, "shot": shot, "way": way, "seed": seed}
    collection = chosen_runs(root, method, filters, where, episodes=episodes)
    words, tables = settings_words(collection), _tables(collection.done)
    parts = [
        _episodes(run, resolution_of(run, resolution), words[run.record.folder], tables) for run in collection.done
    ]
    if not parts:
        return frame_of([], [*_FIRST, *_LAST, "protocol_label", "path"], collection)
    whole = pd.concat(parts, ignore_index=True)
    own = set().union(*(part.columns for part in parts)) - {*_FIRST, *_LAST, "protocol_label", "path"}
    supports = sorted((name for name in own if name.startswith("support_")), key=_numbers)
    ways = sorted(own.difference(supports), key=lambda name: (_numbers(name), name))
    ordered = whole[[*_FIRST, *supports, *_LAST, *ways, "protocol_label", "path"]]
    return with_remarks(ordered, collection)


def _numbers(name: str) -> list[int]:
    return [int(part) for part in name.split("_") if part.isdigit()]


def _tables(runs: Sequence[ScoredRun]) -> dict[str, EpisodeTable]:
    """Episode tables by digest: what one record knows serves all."""
    found: dict[str, EpisodeTable] = {}
    for run in runs:
        digest = run.record.settings.episode_digest
        if digest not in found and (table := run.record.table()) is not None:
            found[digest] = table
    return found


def _episodes(run: ScoredRun, resolution: Resolution, words: str, tables: Mapping[str, EpisodeTable]) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    s, classes = run.record.settings, run.counts.classes
    counts = np.asarray(run.fold_counts(resolution).confusion)
    (tp, union), (tn, _) = binary_terms(counts).transpose(1, 2, 0)
    fp = counts[:, 0, 1:].sum(axis=1)
    names = {c: s.class_name(c) for c in run.record.novel}
    table = tables.get(s.episode_digest)
    images = table.frame().iloc[: len(classes)] if table is not None else None
    supports = {} if images is None else {name: images[name] for name in images if str(name).startswith("support_")}
    columns: dict[Any, Any] = {
        **{"method": s.method, "backbone": s.backbone, "settings": words, "way": s.way, "shot": s.shot},
        **{"fold": s.fold, "seed": s.seed, "episode": np.arange(len(classes))},
        **{"class_id": classes[:, 0], "class_name": [names[c] for c in classes[:, 0].tolist()]},
        **{"query": None if images is None else images["query"], **supports},
        **{"resolution": resolution, "iou": 100 * np.divide(tp, union, out=np.full(len(tp), np.nan), where=union > 0)},
        **{"tp": tp, "fp": fp, "fn": union - tp - fp, "tn": tn},
        **{"protocol_label": s.protocol_label, "path": str(run.record.folder)},
    }
    if s.way > 1:
        for i in range(1, s.way):
            columns |= {f"class_id_{i + 1}": classes[:, i]}
            columns |= {f"class_name_{i + 1}": [names[c] for c in classes[:, i].tolist()]}
        for name, terms in zip(("tp", "fp", "fn"), way_terms(counts, classes), strict=True):
            columns |= {f"{name}_{i + 1}": terms[:, i] for i in range(s.way)}
    return pd.DataFrame(columns, index=range(len(classes)))
