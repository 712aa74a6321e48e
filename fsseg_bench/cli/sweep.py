"""``fsseg-bench sweep``: the runs of a TOML file, made by an engine; the same command again does what is left."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from fsseg_bench.errors import UserError

if TYPE_CHECKING:
    from fsseg_bench.sweeps.plan import Plan
    from fsseg_bench.sweeps.spec import Spec

_DEFAULT: Final = "start"
_STATUS: Final = "status"
"""Imported when it is asked for."""
ENGINES: Final = ("local", "slurm", "ray")


class _Sweep(click.Group):
    """Its first word, where it is no command, is a file to start."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.commands, _STATUS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == _STATUS:
            from fsseg_bench.cli.sweep_status import status

            return status
        return self.commands.get(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.list_commands(ctx):
            args = [_DEFAULT, *args]
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """That of ``start``, and what else there is."""
        begin = self.commands[_DEFAULT]
        begin.format_usage(ctx, formatter)
        begin.format_help_text(ctx, formatter)
        begin.format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


@click.group(cls=_Sweep, context_settings={"ignore_unknown_options": True})
def sweep() -> None:
    """Make the runs of a sweep: methods x data sets x shots x folds x seeds ...

    The words after it are those of sweep start, unless they begin with the name of another command.
    """


@sweep.command(_DEFAULT)
@click.argument("file", required=False, type=click.Path())
@click.option("--on", type=click.Choice(ENGINES), default="local", show_default=True, help="Who makes the cells.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="On local: cells at a time [default: what GPUs or cores, and memory, have room for].",
)
@click.option("--out", type=click.Path(), help="Folder of the records [default: the file's, else as of run].")
@click.option("--dry-run", is_flag=True, help="Show the cells with their states and commands, and stop.")
@click.option(
    "--wait/--no-wait",
    default=None,
    help="Until cells that others make are done, and make what they leave undone; on Slurm, until no job is left "
    "[default: wait, but not on Slurm].",
)
@click.option("--keep-failed", is_flag=True, help="Do not try again what failed or was given up earlier.")
@click.option("--replan", is_flag=True, help="Plan anew, also where the kept plan seems good.")
@click.option("--ignore-disk", is_flag=True, help="Begin also where the records seem to need more than is free.")
@click.option("--paper", metavar="NAME", help="Write the file that fills a table of this paper, with --table.")
@click.option("--table", metavar="NUMBER", help="Of the --paper.")
@click.option("--out-file", type=click.Path(), help="Where --paper writes the file [default: standard output].")
@click.option("-v", "--verbose", is_flag=True, help="Say more: each cell's folder of logs.")
@click.option("-q", "--quiet", is_flag=True, help="Say only what went wrong.")
@click.pass_context
def start(ctx: click.Context, /, file: str | None, paper: str | None, **options: Any) -> None:
    """Make the runs that FILE, a sweep in TOML, asks for.

    The same command again does what is left, also after a kill, and beside another one that does the same. sweep status
    says how far it is.
    """
    if (file is None) == (paper is None):
        raise click.UsageError("name the sweep's TOML file, or --paper and --table to write one", ctx)
    if paper is not None:
        _write_paper(paper, options["table"], options["out_file"])
        return
    if options["table"] or options["out_file"]:
        raise click.UsageError("--table and --out-file belong to --paper", ctx)
    if options["verbose"] and options["quiet"]:
        raise click.UsageError("-v and -q exclude each other", ctx)
    if options["jobs"] and options["on"] != "local":
        raise click.UsageError(f"--jobs is for --on local; of {options['on']} the file says it (at_once)", ctx)
    from fsseg_bench.paths import results_root
    from fsseg_bench.sweeps.spec import read_spec

    spec = read_spec(str(file))
    root = results_root(options["out"] if options["out"] is not None else spec.out)
    if options["dry_run"]:
        _dry_run(spec, root)
        return
    ctx.exit(_made(spec, root, options))


def _made(spec: Spec, root: Path, options: dict[str, Any]) -> int:
    from fsseg_bench.cli.sweep_run import make, submit
    from fsseg_bench.sweeps.planned import planned

    say = _silent if options["quiet"] else _say
    if options["on"] == "slurm":  # a mistake in its table is said before what may take long
        from fsseg_bench.sweeps.slurm_script import read_options

        read_options(spec.slurm)
    folder, plan = planned(spec, root, lambda: _planned(spec, root, say), say, replan=options["replan"])
    if options["on"] == "slurm":
        return submit(folder, plan, options, say)
    return make(folder, plan, options, say)


def _planned(spec: Spec, root: Path, say: Callable[[str], None]) -> Plan:
    say("planning ...")
    from fsseg_bench.engine.plan_sweep import plan_sweep
    from fsseg_bench.progress import Progress
    from fsseg_bench.screen.terminal import screen_progress

    return plan_sweep(spec, root, Progress() if say is _silent else screen_progress())


def _dry_run(spec: Spec, root: Path) -> None:
    """The cells, what became of them and how each is made; nothing is written."""
    from fsseg_bench.sweeps.plan import sweep_folder
    from fsseg_bench.sweeps.planned import kept_plan
    from fsseg_bench.sweeps.room import bytes_left, free_bytes, in_words
    from fsseg_bench.sweeps.states import states_of
    from fsseg_bench.sweeps.table import counts_words

    folder = sweep_folder(root, spec.name)
    plan = kept_plan(folder, spec)[0] or _planned(spec, root, _say)
    states = states_of(folder, plan)
    width = max(map(len, plan.by_label), default=0)
    for state in states:
        command = shlex.join(("fsseg-bench", *state.cell.command))
        click.echo(f"{state.cell.label:<{width}}  {state.state:<7}  {command}")
    needed = in_words(sum(map(bytes_left, states)))
    click.echo(f"{counts_words(states)}; about {needed} to be written, {in_words(free_bytes(root))} free in {root}")


def _write_paper(paper: str, table: str | None, out: str | None) -> None:
    if table is None:
        raise UserError(f"--paper {paper}: say which of its tables, as --table 1")
    from fsseg_bench.cli.output import put
    from fsseg_bench.nn.catalogue import backbone_names
    from fsseg_bench.registry import method_names
    from fsseg_bench.report.commands import Installation
    from fsseg_bench.report.table_sweep import table_sweep

    put(table_sweep(paper, table, Installation(method_names(), backbone_names())), out)


def _say(line: str) -> None:
    from fsseg_bench.report.model import printable

    click.echo(printable(line), err=True)


def _silent(_line: str) -> None:
    """For ``--quiet``."""
