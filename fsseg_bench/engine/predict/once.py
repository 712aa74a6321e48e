"""Segments images in one call."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from fsseg_bench.engine.predict.classes import OBJECT
from fsseg_bench.engine.predict.predictor import Predictor, Segmentation
from fsseg_bench.engine.predict.queries import find_queries
from fsseg_bench.engine.predict.supports import AnyMask
from fsseg_bench.engine.predict.upright import AnyImage
from fsseg_bench.engine.predict.written import PICTURES, Format, Outputs
from fsseg_bench.errors import unknown

Pairs = Sequence[tuple[AnyImage, AnyMask]]
_OF_MODEL = set(inspect.signature(Predictor.__init__).parameters) - {"self"}


def predict(
    support: Pairs | Mapping[str, Pairs],
    query: Sequence[Path | str] | Path | str,
    *,
    out: Path | str | None = None,
    formats: Collection[Format] = PICTURES,
    **model: Any,
) -> list[Segmentation]:
    """Segments images from a few examples: the short form of :class:`Predictor`, which loads the model once for all.

    Args:
        support: pairs of an image and its mask or box, as :meth:`Predictor.set_support` takes them; of several classes
            by their names.
        query: image files, folders, or patterns (``photos/*.jpg``); a warning counts what is skipped in them.
        out: a folder for the pictures; None: nothing is written.
        formats: ``png``, ``coco``, or both.
        model: what :class:`Predictor` takes: ``checkpoint``, ``method``, ``backbone``, ``weights``, ``switches``,
            ``size``, ``default_size``, ``device``, ``methods_path``, ``backbones_path``.

    Raises:
        UserError: whatever would end ``fsseg-bench predict`` with exit code 2.
    """
    for key in model.keys() - _OF_MODEL:
        raise unknown("option of predict", key, _OF_MODEL | {"out", "formats"})
    groups = support if isinstance(support, Mapping) else {OBJECT: support}
    queries, skipped = find_queries([query] if isinstance(query, str | Path) else query)
    if skipped:
        warnings.warn(f"skipped among the queries: {', '.join(skipped)}", stacklevel=2)
    predictor = Predictor(**model)
    for name, pairs in groups.items():
        predictor.set_support([image for image, _ in pairs], [mask for _, mask in pairs], name=name)
    outputs = None if out is None else Outputs(Path(out), queries, predictor.classes, formats)
    results = predictor.predict_many([one.path for one in queries])
    if outputs is None:
        return list(results)
    written = [result for _, result, _ in outputs.write_all(zip(queries, results, strict=True))]
    outputs.close()
    return written
