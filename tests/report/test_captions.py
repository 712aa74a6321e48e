"""A caption is three lines at most; what else must be said stands below the table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fsseg_bench.report.blocks import Measured
from fsseg_bench.report.collect import find_runs
from fsseg_bench.report.compare import compare
from fsseg_bench.report.compare_tables import compare_tables
from fsseg_bench.report.model import RANKS, Table, arranged
from fsseg_bench.report.paper import paper_table
from fsseg_bench.report.select import select
from fsseg_bench.report.table import class_tables, runs_tables
from tests.support.pairs import write_pair
from tests.support.paper import TABLES, paper_runs

LINE = 80  # characters of a line of LaTeX's article


def tables(root: Path) -> Iterator[Table]:
    paper_runs(root, 40, method="panet", backbone="vgg16")
    for seed in (0, 1):
        write_pair(root, (1, 2, 3, 4), images=4, seed=seed)
    found = find_runs(root)
    yield from runs_tables(found)
    yield from runs_tables(found, "binary", "native")
    yield from class_tables(found)
    for table in TABLES.values():
        yield arranged(paper_table(table, found, Measured(found)), "auto")
    for interval in ("images", "episodes"):
        contenders = select(["biopt", "baseline"], root, {"dataset": "toy"}).contenders
        yield from compare_tables(compare(contenders, interval=interval, resamples=100), power=1.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Table]:
    return list(tables(tmp_path_factory.mktemp("runs")))


def test_three_lines_at_most(made: list[Table]):
    ranks = RANKS.format(second="underlined")
    whole = [f"Table 10: {t.title}. {t.caption} {ranks if t.ranked else ''}".strip() for t in made]
    assert [text for text in whole if len(text) > 3 * LINE] == []
    assert len(made) >= 2 + 2 + 2 + len(TABLES) + 2 * 4


def test_remarks_are_sentences_and_said_once(made: list[Table]):
    for table in made:
        assert all(remark.endswith(".") for remark in table.remarks), table.remarks
        assert len(set(table.remarks)) == len(table.remarks)
