"""What a shell completes after an option: names that exist here. Nothing is imported that brings torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _completing(names: Callable[[click.Context], Iterable[str | tuple[str, str]]], *, files: bool = False) -> Complete:
    """Completes the names, each alone or with a help text; nothing where they cannot be had.

    With ``files`` what no name begins with may be a file.
    """

    def complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            pairs = [(name, "") if isinstance(name, str) else name for name in names(ctx)]
        except Exception:  # noqa: BLE001 - a shell shows no message: it gets no names
            return []
        found = [CompletionItem(name, help=text) for name, text in pairs if name.startswith(incomplete)]
        return found if found or not files else [CompletionItem(incomplete, type="file")]

    return complete


def _path(ctx: click.Context, kind: str) -> str | None:
    value = ctx.params.get(f"{kind}s_path")
    return str(value) if value else None


def _methods(ctx: click.Context) -> Iterable[tuple[str, str]]:
    from fsseg_bench.registry import cards

    yield from ((card.name, card.title) for card in cards(_path(ctx, "method")))


def _methods_and_groups(ctx: click.Context) -> Iterable[tuple[str, str]]:
    yield from (("all", "every method"), ("training-free", "those that work without training"))
    yield from _methods(ctx)


def _datasets(_ctx: click.Context) -> Iterable[str]:
    from fsseg_bench.protocol.find import builtin_protocols

    return builtin_protocols()


def _backbones(ctx: click.Context) -> Iterable[str]:
    from fsseg_bench.nn.catalogue import backbone_names

    return backbone_names(_path(ctx, "backbone"))


def _backbones_and_published(ctx: click.Context) -> Iterable[str | tuple[str, str]]:
    yield "published", "each method's own"
    yield from _backbones(ctx)


def _sweeps(ctx: click.Context) -> Iterable[str]:
    from fsseg_bench.paths import results_root
    from fsseg_bench.sweeps.find import sweeps_in

    return [folder.name for folder in sweeps_in(results_root(ctx.params.get("out")))]


def _tables(ctx: click.Context) -> Iterable[tuple[str, str]]:
    from fsseg_bench.report.find_papers import papers

    yield from (("runs", "what was run here"), ("all", "what was run here, and every table"))
    for paper in papers(ctx.params.get("papers_path")):
        yield paper.name, f"all tables of: {paper.said.title}"
        yield from ((table.full_name, table.title) for table in paper.tables)


def _folds(ctx: click.Context) -> Iterable[str]:
    from fsseg_bench.protocol.load import load_protocol

    yield "all"
    yield from map(str, load_protocol(ctx.params["dataset"], sources_path=_path(ctx, "source")).folds)


def _settings(ctx: click.Context) -> Iterable[str]:
    """Switches of the methods that are named, and the keys of their recipes."""
    from fsseg_bench.plugins.hollow import without_torch

    params = ctx.params
    folders = {f"{kind}s_path": _path(ctx, kind) for kind in ("method", "backbone", "source")}
    found: dict[str, None] = {}
    with without_torch():
        from fsseg_bench.engine.method_facts import method_facts

        for name in params.get("methods") or ():
            facts = method_facts(name, params.get("dataset") or "pascal5i", params.get("shot") or 1, **folders)
            found |= dict.fromkeys(f"{switch.name}=" for switch in facts.switches)
            found |= dict.fromkeys(f"recipe.{value.key}=" for value in facts.recipe)
    return found


methods = _completing(_methods_and_groups)
"""For ``run --method``."""
method_names = _completing(_methods)
"""For arguments that name one method."""
datasets = _completing(_datasets, files=True)
backbones = _completing(_backbones_and_published)
backbone_names = _completing(_backbones)
tables = _completing(_tables)
sweeps = _completing(_sweeps, files=True)
folds = _completing(_folds)
weights = _completing(lambda _: ("imagenet", "none"), files=True)
devices = _completing(lambda _: ("auto", "cpu", "cuda"))
jobs = _completing(lambda _: ("auto",))
settings = _completing(_settings)
