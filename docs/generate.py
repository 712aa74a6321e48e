"""Writes the tables of the pages that come from the code: ``python docs/generate.py``.

A page marks their places: ``<!-- table: protocol episodes -->``, the table, ``<!-- end -->``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

from fsseg_bench.data.sources.coco import CocoKeys
from fsseg_bench.data.sources.folder import FolderKeys
from fsseg_bench.data.sources.shapes import ShapesKeys
from fsseg_bench.data.sources.voc import VocKeys
from fsseg_bench.engine.switches import allowed, described, field_docs
from fsseg_bench.method import Method
from fsseg_bench.nn.catalogue import backbone_names
from fsseg_bench.protocol.data_spec import DataKeys
from fsseg_bench.protocol.episode_spec import EpisodeSpec
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.protocol.spec import CheckpointSpec, ImageSpec, ScoringSpec
from fsseg_bench.protocol.training import TrainKeys
from fsseg_bench.recipe import Recipe
from fsseg_bench.registry import cards, find_method, method_names, pretraining
from fsseg_bench.seen import OF_METHOD, OF_WEIGHTS, UNKNOWN
from fsseg_bench.values import text_of

DOCS = Path(__file__).parent
_PLACE = re.compile(r"(<!-- table: (\w+)((?: \S+)*) -->\n).*?(<!-- end -->)", re.DOTALL)
_CODE = re.compile(r"``([^`]+)``")
_ROLE = re.compile(r" \(:\w+:`[^`]*`\)|:\w+:`~?([^`]*)`")
_UNKNOWN = "not measured"
_SECTIONS = {
    "data": DataKeys,
    "voc": VocKeys,
    "coco": CocoKeys,
    "folder": FolderKeys,
    "shapes": ShapesKeys,
    "train": TrainKeys,
    "image": ImageSpec,
    "episodes": EpisodeSpec,
    "scoring": ScoringSpec,
    "checkpoint": CheckpointSpec,
}


def with_tables(page: str) -> str:
    """The page with each table as the code has it now."""
    return _PLACE.sub(lambda m: f"{m[1]}{_TABLES[m[2]](*m[3].split())}{m[4]}", page)


def pages() -> list[Path]:
    """The pages with such tables."""
    return [path for path in sorted(DOCS.rglob("*.md")) if _PLACE.search(path.read_text(encoding="utf-8"))]


def _switches(method: str) -> str:
    return _table(
        ("switch", "default", "values", "meaning"),
        ((f"`{s.name}`", f"`{s.default}`", s.allowed, s.meaning) for s in described(find_method(method))),
    )


def _protocol(section: str) -> str:
    key = section if section in {"train", "image", "episodes", "scoring", "checkpoint"} else "data"
    rows = (
        (f"`{key}.{name}`", values, _or(default, "required"), meaning)
        for name, values, default, meaning in _fields(section)
    )
    return _table(("key", "values", "default", "meaning"), rows)


def _recipe() -> str:
    rows = (
        (f"`recipe.{name}`", values, _or(default, "the method's"), meaning)
        for name, values, default, meaning in _fields_of(Recipe)
        if name != "sources"
    )
    return _table(("key", "values", "default", "meaning"), rows)


def _choose() -> str:
    """The methods by what they need, with what was measured of each."""
    speed = _measured("| method | shots | backbone ms |", lambda cells: cells[1] == "1")
    memory = _measured("| method | backbone | parameters in millions |", lambda cells: True)
    head = ("method", "untrained", "ways", "backbone", "fidelity", "predict, ms", "episodes/s", "memory, GiB")
    rows = []
    for card in sorted(cards(), key=lambda card: (not card.untrained, card.name)):
        cls = find_method(card.name)
        rows.append(
            (
                f"`{card.name}`",
                "works" if card.untrained else "no",
                "any" if cls.max_ways is None else str(cls.max_ways),
                f"`{cls.default_backbone}`",
                card.fidelity,
                *(speed[card.name][4:6] if card.name in speed else (_UNKNOWN, _UNKNOWN)),
                memory[card.name][4] if card.name in memory else _UNKNOWN,
            )
        )
    return _table(head, rows)


def _cost(*protocols: str) -> str:
    """How many images the recipes of all methods make the one-shot training of a fold see."""
    head = ("method", "backbone", *(f"{name}: steps x batch | {name}: images" for name in protocols))
    rows = []
    for name in method_names():
        cls = find_method(name)
        cells = []
        for recipe in (cls.recipe(load_protocol(protocol), 1) for protocol in protocols):
            images = recipe.iterations * recipe.batch * (1 + (recipe.train_shots or 1) + _unlabelled(cls))
            cells += [f"{recipe.iterations:,} x {recipe.batch}", f"{images:,}"]
        rows.append((f"`{name}`", f"`{cls.default_backbone}`", *cells))
        before = [{one.name: one for one in cls.stages_before(load_protocol(protocol), 1)} for protocol in protocols]
        for stage in dict.fromkeys(stage for stages in before for stage in stages):
            recipes = [stages[stage].recipe for stages in before]
            cells = [cell for r in recipes for cell in (f"{r.iterations:,} x {r.batch}", f"{r.iterations * r.batch:,}")]
            rows.append((f"`{name}`: stage `{stage}`", f"`{cls.default_backbone}`", *cells))
    return _table(tuple(" | ".join(head).split(" | ")), rows)


def _unlabelled(cls: type[Method]) -> int:
    """Further images of each class in an episode, with the method's default switches."""
    count: int = cls.unlabelled_images.fget(SimpleNamespace(switches=cls.Switches and cls.Switches()))  # type: ignore[attr-defined]
    return count


def _measured(head: str, wanted: Callable[[list[str]], bool]) -> dict[str, list[str]]:
    """Cells of a table of the page of measurements by method: of the table that begins so, its rows that are wanted."""
    lines = (DOCS / "explanation" / "measurements.md").read_text(encoding="utf-8").partition(head)[2].splitlines()[2:]
    rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in takewhile(str.strip, lines))
    return {cells[0]: cells for cells in rows if wanted(cells)}


def _seen(what: str) -> str:
    """What the cards of the methods, or the docstrings of the backbones, say of what was seen."""
    if what == "methods":
        names, rows = OF_METHOD, [(card.name, *(getattr(card, name) for name in OF_METHOD)) for card in cards()]
    else:
        names = OF_WEIGHTS
        said = ((name, pretraining(name)) for name in backbone_names())
        rows = [(name, *(own.get(field, UNKNOWN) for field in OF_WEIGHTS)) for name, own in said]
    head = (what.removesuffix("s"), *(name.replace("_", " ") for name in names))
    return _table(head, ((f"`{name}`", *words) for name, *words in rows))


_TABLES: dict[str, Callable[..., str]] = {
    "choose": _choose,
    "cost": _cost,
    "protocol": _protocol,
    "recipe": _recipe,
    "seen": _seen,
    "switches": _switches,
}


def _fields(section: str) -> Iterable[tuple[str, str, str | None, str]]:
    return _fields_of(_SECTIONS[section])


def _fields_of(cls: Any) -> Iterable[tuple[str, str, str | None, str]]:
    """Name, allowed values, default as text (None: there is none) and meaning of each field of a dataclass."""
    kinds, meanings = get_type_hints(cls, include_extras=True), field_docs(cls)
    for field in dataclasses.fields(cls):
        default = field.default_factory() if callable(field.default_factory) else field.default
        text = None if default is dataclasses.MISSING else text_of(default)
        yield field.name, allowed(kinds[field.name]), text, meanings.get(field.name, "")


def _or(default: str | None, missing: str) -> str:
    return missing if default is None else f"`{default}`" if default else "none"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (head, ("---",) * len(head), *rows)
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    """Text of a docstring as a cell in Markdown."""
    return _CODE.sub(r"`\1`", _ROLE.sub(lambda m: f"`{m[1]}`" if m[1] else "", text)).replace("|", "\\|")


if __name__ == "__main__":
    for page in pages():
        page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")
