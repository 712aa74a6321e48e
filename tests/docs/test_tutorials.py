"""The tutorials work as they stand. (A file of their own, so that two processes share the pages.)"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.documented import DOCS, Place, blocks, name_of

PAGES = sorted((DOCS / "tutorials").glob("*.md"))


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if any(b.tested for b in blocks(page))], ids=name_of)
def test_a_tutorial_works_as_it_stands(page: Path, place: Place, demo: Path) -> None:
    place.add_demo(demo)
    place.follow(page)
