"""Options that several commands share, and what their values mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from fsseg_bench.cli import complete
from fsseg_bench.engine.share import Jobs, checked_jobs
from fsseg_bench.errors import UserError, unknown
from fsseg_bench.paths import results_root
from fsseg_bench.records.request import TrackerName
from fsseg_bench.report.model import printable
from fsseg_bench.values import key_values

if TYPE_CHECKING:
    from fsseg_bench.report.contender import Contender

C = TypeVar("C", bound=Callable[..., object])

_SELECTING = (
    click.option(
        "--results", type=click.Path(), help="Folder of the records [default: FSSEG_RESULTS, else results/runs]."
    ),
    click.option(
        "--dataset", help="Only runs of this protocol (its label, name or file).", shell_complete=complete.datasets
    ),
    click.option("--backbone", help="Only runs with this backbone.", shell_complete=complete.backbone_names),
    click.option("--shot", type=int, help="Only K-shot runs."),
    click.option("--way", type=int, help="Only N-way runs."),
    click.option("--seed", type=int, help="Only runs with this training seed."),
    click.option(
        "--where", multiple=True, metavar="KEY=VALUE", help="Only runs with this setting, e.g. recipe.iterations=0."
    ),
)


def user_folders(*kinds: str, note: str = "") -> Callable[[C], C]:
    """The options ``--methods-path``, ``--backbones-path``, ... for the kinds ``method``, ``backbone``, ...

    Their help begins with ``note``.
    """

    def decorated(command: C) -> C:
        for kind in reversed(kinds):
            text = f"{note}{'a' if note else 'A'} folder with further {kind} files."
            command = click.option(f"--{kind}s-path", type=click.Path(), help=text)(command)
        return command

    return decorated


_MOVED = ("dataset_file", "data_root", "weights", "device", "workers", "methods_path", "backbones_path", "sources_path")


def run_places(note: str = "") -> Callable[[C], C]:
    """The options for what a finished run needs and has moved, read by :func:`places_of`; help begins with ``note``."""

    def text(words: str) -> str:
        return note + (words if note else words[0].upper() + words[1:])

    options = (
        click.option("--dataset-file", type=click.Path(), help=text("the protocol's file, where it has moved.")),
        click.option("--data-root", type=click.Path(), help=text("folder of the data sets, where it has moved.")),
        click.option("--weights", help=text("the weights file, where it has moved.")),
        click.option("--device", default="auto", show_default=True, help=f"{note}auto, cpu, cuda or cuda:INDEX."),
        click.option("--workers", type=int, help=text("loader workers.")),
    )

    def decorated(command: C) -> C:
        command = user_folders("method", "backbone", "source", note=note)(command)
        for option in reversed(options):
            command = option(command)
        return command

    return decorated


def places_of(options: dict[str, Any]) -> dict[str, Any]:
    """Takes what :func:`run_places` gave out of a command's options: the fields of
    :class:`fsseg_bench.engine.open_run.RunPlaces`."""
    given = {name: options.pop(name) for name in _MOVED}
    return {"dataset": given.pop("dataset_file"), **given}


def parse_folds(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[int, ...] | None:
    """``all`` as None; one fold, or a comma-separated list, as ascending folds; a click callback.

    Raises:
        UserError: neither; whether the protocol has the folds, planning says.
    """
    if value == "all":
        return None
    try:
        given = [int(part) for part in value.split(",")]
    except ValueError:
        given = []
    folds = tuple(sorted(set(given)))
    if not folds or folds[0] < 1:
        raise UserError(f"--fold {value}: use all, or numbers of folds from 1 (comma-separated)")
    if len(folds) < len(given):
        click.echo(f"--fold {value}: a fold that is given twice is run once", err=True)
    return folds


def parse_numbers(_ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, ...]:
    """Comma-separated numbers in the order given; a click callback.

    Raises:
        UserError: something is not a number.
    """
    try:
        return tuple(float(part) for part in value.split(","))
    except ValueError:
        raise UserError(f"{param.opts[-1]} {value}: use numbers separated by commas") from None


def parse_seeds(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[int, ...]:
    """A training seed, or comma-separated ones in the order given; a click callback.

    Raises:
        UserError: something is no whole number, or below 0.
    """
    try:
        seeds = tuple(dict.fromkeys(int(part) for part in value.split(",")))
    except ValueError:
        seeds = ()
    if not seeds or min(seeds) < 0:
        raise UserError(f"--seed {value}: use whole numbers from 0, separated by commas")
    return seeds


def parse_trackers(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[str, ...]:
    """Comma-separated names of trackers; a click callback.

    Raises:
        UserError: there is no such tracker; says which there are.
    """
    names = tuple(dict.fromkeys(filter(None, (part.strip() for part in value.split(",")))))
    known = get_args(TrackerName)
    for name in names:
        if name not in known:
            raise unknown("tracker", name, known, where="--track")
    return names


LISTED = (parse_folds, parse_numbers, parse_seeds, parse_trackers)
"""Callbacks of options whose one value is a list."""


def parse_jobs(_ctx: click.Context, _param: click.Parameter, value: str) -> Jobs:
    """``auto``, or how many runs are made at a time; a click callback.

    Raises:
        UserError: neither.
    """
    return checked_jobs(value)


def parse_settings(pairs: tuple[str, ...]) -> dict[str, str]:
    """``KEY=VALUE`` texts as a mapping.

    Raises:
        UserError: no ``=``, or a key given twice.
    """
    return key_values(pairs, "--set", "--set recipe.lr=1e-3")


def selecting(command: C) -> C:
    """The options that say which runs a command is about: for :func:`selected`, or for :func:`conditions`."""
    for option in reversed(_SELECTING):
        command = option(command)
    return command


def conditions(where: tuple[str, ...], **filters: str | int | None) -> dict[str, str]:
    """The conditions on runs that :func:`selecting`'s options make, with values as text.

    Raises:
        UserError: a malformed ``--where``.
    """
    from fsseg_bench.report.filters import EXAMPLE  # it brings numpy, which listing does without

    given = {key: str(value) for key, value in filters.items() if value is not None}
    return {**given, **key_values(where, "--where", EXAMPLE, empty=False)}


def selected(
    texts: Sequence[str], results: str | None, where: tuple[str, ...], **filters: str | int | None
) -> tuple[Contender, ...]:
    """The contenders that ``texts`` name among the runs that the options choose; says which records are skipped.

    Raises:
        UserError: a malformed ``--where``, or as :func:`fsseg_bench.report.select.select`.
    """
    from fsseg_bench.report.select import select  # it brings numpy, which listing does without

    selection = select(texts, results_root(results), conditions(where, **filters))
    for warning in selection.warnings:
        click.echo(printable(f"skipped: {warning.message}"), err=True)
    return selection.contenders
