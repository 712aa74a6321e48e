"""The page's section of episodes."""

from __future__ import annotations

from collections.abc import Sequence

from fsseg_bench.records.read import RecordWarning
from fsseg_bench.report.collect import Collection
from fsseg_bench.report.html.gallery import Gallery
from fsseg_bench.report.html.runs import Group, shown_runs

STYLE = ""
"""The rules of style that the section needs, CSS; its HTML has no ``style`` attributes."""


def episodes_html(found: Sequence[Group], collection: Collection) -> tuple[str, list[RecordWarning]]:
    """The section's body, HTML, and what could not be shown.

    Args:
        found: the rows under each set of rules.
        collection: the runs that they are made of.
    """
    gallery = Gallery(shown_runs(found, collection).values())
    return "\n".join(filter(None, (gallery.failures, gallery.others))), gallery.warnings
