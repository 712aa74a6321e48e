"""Grids become cells: which, in what order, with which labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fsseg_bench.errors import UserError
from fsseg_bench.sweeps.expand import Expanded, expand, key_of, trained_as
from fsseg_bench.sweeps.options import Options, request_of
from fsseg_bench.sweeps.spec import parse_spec
from tests.support.datasets import write_protocol


def expanded(**tables: Any) -> Expanded:
    common = {"dataset": "shapes5i", **tables.pop("common", {})}
    return expand(parse_spec({"name": "tiny", "common": common, **tables}, "sweep.toml"))


def labels(**tables: Any) -> list[str]:
    return [cell.label for cell in expanded(**tables).cells]


def test_a_grid_is_a_product_with_each_seed_whole_before_the_next() -> None:
    grid = {"fold": [2, 1], "method": ["panet", "baseline"], "seed": [0, 1], "shot": [1, 5]}
    assert labels(grid=grid) == [
        f"{method}-shapes5i-{shot}shot-fold{fold}-seed{seed}"
        for seed in (0, 1)
        for shot in (1, 5)
        for method in ("panet", "baseline")
        for fold in (2, 1)
    ]


def test_all_folds_of_the_protocol_where_none_is_named(tmp_path: Path) -> None:
    assert len(labels(grid={"method": ["panet"]})) == 4
    assert len(labels(grid={"method": ["panet"], "fold": ["all"]})) == 4
    assert len(labels(common={"fold": 3}, grid={"method": ["panet"]})) == 1
    path = write_protocol(tmp_path / "two.toml")
    path.write_text("\n".join(line for line in path.read_text().splitlines() if not line.startswith(("3 =", "4 ="))))
    mine = labels(common={"dataset": str(path), "method": "panet"})
    assert len(mine) == 2
    assert mine[0].startswith("panet-two-")


def test_further_grids_stand_over_what_is_common() -> None:
    found = expanded(
        common={"iterations": 7, "set": {"recipe.lr": 0.1}},
        grid={"method": ["panet"], "fold": [1]},
        also=[{"method": "biopt", "fold": [1, 2], "iterations": 9, "set": {"steps": 5}}],
    )
    requests = [request_of(cell.options) for cell in found.cells]
    assert [(r.method, r.fold, r.iterations, r.settings) for r in requests] == [
        ("panet", 1, 7, {"recipe.lr": 0.1}),
        ("biopt", 1, 9, {"recipe.lr": 0.1, "steps": 5}),
        ("biopt", 2, 9, {"recipe.lr": 0.1, "steps": 5}),
    ]
    assert [cell.label for cell in found.cells] == [
        "panet-shapes5i-1shot-fold1-seed0",
        "biopt-shapes5i-1shot-fold1-seed0-iterations=9-steps=5",
        "biopt-shapes5i-1shot-fold2-seed0-iterations=9-steps=5",
    ]
    assert dict(found.cells[1].shown) == {
        **{"method": "biopt", "dataset": "shapes5i", "shot": 1, "fold": 1, "seed": 0},
        **{"iterations": 9, "steps": 5},
    }


def test_further_grids_alone_are_no_product_with_nothing() -> None:
    assert labels(also=[{"method": "panet", "fold": 1}]) == ["panet-shapes5i-1shot-fold1-seed0"]


@pytest.mark.parametrize(
    ("excepted", "left"),
    [
        ({"method": "panet", "shot": 5}, 3),
        ({"shot": [1, 5]}, 0),
        ({"fold": 1}, 0),
        ({"seed": 0, "method": ["panet", "baseline"], "shot": 1}, 2),  # of a default, too
        ({"set": {"recipe.lr": "1e-2"}}, 0),  # text that is the same number
    ],
)
def test_exceptions_leave_out_what_they_match_in_all(excepted: Options, left: int) -> None:
    tables = {
        "common": {"fold": 1, "set": {"recipe.lr": 0.01}},
        "grid": {"method": ["panet", "baseline"], "shot": [1, 5]},
        "except": [excepted],
    }
    if not left:
        with pytest.raises(UserError, match=r"sweep.toml: no cell is left; .* leaves out all 4"):
            expanded(**tables)
        return
    found = expanded(**tables)
    assert len(found.cells) == left
    assert found.notes == ()


def test_an_exception_that_matches_nothing_is_said() -> None:
    found = expanded(grid={"method": ["panet"]}, **{"except": [{"method": ["pannet", "x"], "set": {"steps": 5}}]})
    assert found.notes == ("[[except]] leaves out nothing: method = pannet or x, steps = 5",)


def test_a_cell_is_made_once_however_it_is_asked_for() -> None:
    found = expanded(
        grid={"method": ["panet"], "fold": [1, 2]},
        also=[{"method": "panet", "fold": [2, 3], "shot": 1, "seed": 0, "episodes": None}],
    )
    assert len(found.cells) == 3
    assert found.notes == ("asked for twice: 1 of 4 cells; each is made once",)


def test_names_that_mean_several_methods() -> None:
    def meant(name: str, options: Options) -> tuple[tuple[str, ...], Options]:
        assert options["shot"] == 5
        return (("panet", "baseline"), {"iterations": 0}) if name == "training-free" else ((name,), {})

    spec = parse_spec(
        {
            "name": "x",
            "common": {"dataset": "shapes5i", "shot": 5, "fold": 1},
            "grid": {"method": ["training-free", "biopt"]},
            "except": [{"method": "baseline"}],
        }
    )
    assert [cell.label for cell in expand(spec, meant).cells] == [
        "panet-shapes5i-5shot-fold1-seed0-iterations=0",
        "biopt-shapes5i-5shot-fold1-seed0",
    ]


# Labels


def test_labels_are_the_same_when_cells_are_added() -> None:
    grid: dict[str, Any] = {"method": ["panet"], "shot": [1], "set": {"recipe.lr": [0.01]}}
    before = labels(grid=grid)
    more = {"method": ["panet", "biopt"], "shot": [1, 5], "set": {"recipe.lr": [0.01, 0.001]}}
    after = labels(grid=more, also=[{"method": "baseline", "way": 2, "weights": "some/w.pth"}])
    assert set(before) < set(after)
    assert len(set(after)) == len(after) == 2 * 2 * 2 * 4 + 4
    assert "panet-shapes5i-1shot-fold1-seed0-recipe.lr=0.01" in before


def test_labels_can_name_files() -> None:
    values = ["a/b", "a b", "ä", "..", "x" * 300, "con", "A", "a"]
    found = labels(common={"method": "panet", "fold": 1}, grid={"set": {"switch": values}})
    assert len({label.casefold() for label in found}) == len(values)
    for label in found:
        assert len(label) <= 120
        assert set(label) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-=")


def test_files_of_one_name_in_two_folders_have_two_labels(tmp_path: Path) -> None:
    paths = [tmp_path / name / "mine.toml" for name in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        write_protocol(path, size=64, count=4)
    found = labels(common={"method": "panet", "fold": 1}, grid={"dataset": [str(path) for path in paths]})
    assert len(set(found)) == 2
    assert all(label.startswith("panet-mine-") for label in found)


def test_two_ways_are_in_the_label() -> None:
    assert labels(common={"method": "panet", "fold": 1, "way": 2}) == ["panet-shapes5i-2way-1shot-fold1-seed0"]


# Trainings


def test_the_training_of_a_cell_may_be_the_cell_itself() -> None:
    one, five = expanded(common={"method": "panet", "fold": 1}, grid={"shot": [1, 5]}).cells
    assert key_of(trained_as(one, {"shot": 1}).options) == key_of(one.options)
    assert key_of(trained_as(five, {"shot": 1}).options) == key_of(one.options)
    assert trained_as(five, {"shot": 1}).label == one.label
    longer = trained_as(one, {"iterations": 9})
    assert longer.label == "panet-shapes5i-1shot-fold1-seed0-iterations=9"
