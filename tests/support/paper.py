"""Runs under the built-in protocols, whose scores are known by construction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.report.collect import Collection
from fsseg_bench.report.find_papers import papers
from tests.support.runs import Episode, write_run

TABLES = {table.alias or table.full_name: table for paper in papers() for table in paper.tables}
BIOPT = {name: table for name, table in TABLES.items() if table.paper.name == "biopt"}
NOTHING = Collection(Path(), (), (), ())


def paper_run(
    root: Path,
    hits: int = 50,
    *,
    fold: int = 1,
    protocol: str | Path = "pascal5i",
    episodes: Sequence[Episode] = (),
    **changes: Any,
) -> Path:
    """A run whose every class has the IoU ``hits`` percent: of 1,000 pixels 100 are foreground, ``hits`` found.

    Binary-IoU is then the mean of ``hits`` percent and 900 / (1000 - hits).
    """
    rules = load_protocol(protocol)
    novel = rules.novel_classes(fold)
    values = {
        "protocol": rules.name,
        "protocol_label": rules.label,
        "protocol_version": rules.version,
        "protocol_digest": rules.digest,
        "novel": list(novel),
        "class_names": {str(c): rules.class_name(c) for c in novel},
        "backbone": "resnet50",
        "fold": fold,
    }
    of_each_class = [((c,), (900, 0, 100 - hits, hits)) for c in novel]
    return write_run(root, episodes or of_each_class, folds=len(rules.folds), **(values | changes))


def paper_runs(root: Path, hits: int = 50, **changes: Any) -> list[Path]:
    """All folds, ``hits``, ``hits`` + 1, ... percent."""
    return [
        paper_run(root, hits + fold - 1, fold=fold, **changes)
        for fold in load_protocol(changes.get("protocol", "pascal5i")).folds
    ]
