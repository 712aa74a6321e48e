"""``fsseg-bench``: the group of commands. Commands are imported when they are called, so that start-up is quick."""

from __future__ import annotations

import importlib
import os
import sys

import click

from fsseg_bench.cli.endings import DEBUG_VARIABLE, check_words, ending, open_closed_streams
from fsseg_bench.version import __version__

_COMMANDS = {
    "run": ("fsseg_bench.cli.run", "run"),
    "report": ("fsseg_bench.cli.report", "report"),
    "compare": ("fsseg_bench.cli.compare", "compare"),
    "figures": ("fsseg_bench.cli.figures", "figures"),
    "list": ("fsseg_bench.cli.listing", "list_"),
    "episodes": ("fsseg_bench.cli.episodes", "episodes"),
    "check-method": ("fsseg_bench.cli.checks", "check_method"),
    "check-backbone": ("fsseg_bench.cli.checks", "check_backbone"),
    "predict": ("fsseg_bench.cli.predict", "predict"),
    "data": ("fsseg_bench.cli.data", "data"),
}


class _Lazy(click.Group):
    """Imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        if cmd_name == "report" and "numpy" not in sys.modules:
            # Its matrix products are small there: threads that wait for each other cost more than they bring.
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        module, attribute = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.option("--debug", is_flag=True, help=f"Show where an error was raised; or set {DEBUG_VARIABLE}=1.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Few-shot segmentation under one protocol: train, evaluate, compare."""
    ctx.obj["debug"] |= debug


def main(arguments: list[str] | None = None) -> None:
    """The console script: exit code 0, or one message and a code of :mod:`fsseg_bench.cli.endings`."""
    shared = {"debug": os.environ.get(DEBUG_VARIABLE, "0") not in {"", "0"}}
    try:
        open_closed_streams()
        check_words(sys.argv[1:] if arguments is None else arguments)
        code = cli.main(args=arguments, prog_name="fsseg-bench", standalone_mode=False, obj=shared)
        if sys.stdout is not None:
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - this is where everything ends
        sys.exit(ending(error, debug=shared["debug"]))
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
