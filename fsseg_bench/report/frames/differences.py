"""``compare`` as a frame: paired differences between methods over the same episodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from fsseg_bench.paths import results_root
from fsseg_bench.protocol.spec import Resolution
from fsseg_bench.protocol.statistics import METRICS, IntervalKind
from fsseg_bench.report.compare import Adjusted, Comparison, Versus
from fsseg_bench.report.compare import compare as compare_contenders
from fsseg_bench.report.frames.opening import UNIT, choice, condition_texts
from fsseg_bench.report.select import select

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = (
    *("baseline", "other", "scope", "metric", "fold", "class_id", "class_name", "iou_baseline", "iou_other"),
    *("difference", "difference_low", "difference_high", "standard_error", "p", "p_holm", "note"),
)


def compare(
    baseline: str | Path,
    *others: str | Path,
    root: Path | str | None = None,
    dataset: str | None = None,
    backbone: str | None = None,
    shot: int | None = None,
    way: int | None = None,
    seed: int | None = None,
    where: Mapping[str, Any] | None = None,
    resolution: Resolution | None = None,
    interval: IntervalKind = "images",
    resamples: int = 10_000,
    resample_seed: int = 0,
) -> pd.DataFrame:
    """Each of ``others`` against ``baseline``, paired over the same episodes, as ``fsseg-bench compare``.

    A row for each difference. Columns: ``baseline``, ``other`` (what they are called); ``scope``: ``overall`` (of the
    mean over the folds), ``fold`` or ``class``; ``metric``: ``mean`` or ``binary``, in rows of classes ``class``;
    ``fold``, ``class_id``, ``class_name`` (NA where they do not apply); ``iou_baseline``, ``iou_other`` (in percent);
    ``difference``: other minus baseline in percent points, ``difference_low``, ``difference_high``: its 95 % interval,
    ``standard_error``; ``p``, ``p_holm``: the p-value, and corrected for the family it was tested in; ``note``: why
    there is no interval.

    ``frame.attrs`` holds ``unit``, ``interval`` (what intervals and p-values are over), ``level``, ``resolution``,
    ``folds``, ``episodes`` (of each fold), ``notes`` (what was left out, where images are few), ``differs`` (by name of
    the other in what else it differs from the baseline) and ``skipped``.

    Args:
        baseline: a method's name, a name with settings (``"biopt,steps=5"``), a run's folder, or a folder that holds
            runs.
        others: the same; at least one.
        root: the results folder; None: ``FSSEG_RESULTS``, else ``results/runs``.
        dataset: only runs of this protocol: its label, name or file.
        backbone: only runs with this backbone.
        shot: only K-shot runs.
        way: only N-way runs.
        seed: only runs with this training seed.
        where: only runs with these settings, by dotted name or its last part: ``{"recipe.iterations": 0}``.
        resolution: where pixels are counted; None takes the protocol's headline.
        interval: what intervals and p-values are over: ``"images"`` and episodes, or ``"episodes"`` alone.
        resamples: of bootstrap and randomisation, with intervals over episodes.
        resample_seed: their seed.

    Raises:
        UserError: nothing fits, several settings fit one name (says what tells them apart), or nothing can be paired.
    """
    import pandas as pd

    over = choice("interval", interval, get_args(IntervalKind))
    counted = choice("resolution", resolution, [None, *get_args(Resolution)])
    filters = {"dataset": dataset, "backbone": backbone, "shot": shot, "way": way, "seed": seed}
    texts = [str(text) for text in (baseline, *others)]
    chosen = select(texts, results_root(root), condition_texts(filters, where))
    found = compare_contenders(
        chosen.contenders,
        resolution=counted,
        interval=over,
        resamples=resamples,
        seed=resample_seed,
    )
    frame = pd.DataFrame([row for versus in found.versus for row in _rows(versus, found)], columns=list(_COLUMNS))
    numbers = dict.fromkeys(_COLUMNS[7:15], float)
    frame = frame.astype({"fold": "Int64", "class_id": "Int64", **numbers})
    frame.attrs = {
        "unit": UNIT,
        **{name: getattr(found, name) for name in ("interval", "level", "resolution", "folds", "episodes", "notes")},
        "differs": {versus.other.label: versus.differs for versus in found.versus},
        "skipped": [warning.message for warning in chosen.warnings],
    }
    return frame


def _rows(versus: Versus, found: Comparison) -> Iterator[tuple[Any, ...]]:
    names = (found.baseline.label, versus.other.label)
    for metric in METRICS:
        yield (*names, "overall", metric, None, None, None, *_numbers(versus.overall[metric]))
    for metric in METRICS:
        for fold, own in zip(found.folds, versus.folds[metric], strict=True):
            yield (*names, "fold", metric, fold, None, None, *_numbers(own))
    for fold, classes in zip(found.folds, versus.classes, strict=True):
        for c, own in classes.items():
            yield (*names, "class", "class", fold, c, found.class_names[c], *_numbers(own))


def _numbers(own: Adjusted) -> tuple[Any, ...]:
    d = own.difference
    points = (None if x is None else 100 * x for x in (d.baseline, d.other, d.value, d.low, d.high, d.error))
    return (*points, d.p, own.p_holm, f"no interval: {d.unknown}" if d.low is None else "")
