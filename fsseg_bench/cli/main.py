"""``fsseg-bench``: the group of commands. Commands are imported when they are called, so that start-up is quick."""

from __future__ import annotations

import importlib
import sys

import click

from fsseg_bench.errors import UserError

_COMMANDS = {
    "run": ("fsseg_bench.cli.run", "run"),
    "report": ("fsseg_bench.cli.report", "report"),
    "compare": ("fsseg_bench.cli.compare", "compare"),
    "figures": ("fsseg_bench.cli.figures", "figures"),
    "list": ("fsseg_bench.cli.listing", "list_"),
    "episodes": ("fsseg_bench.cli.episodes", "episodes"),
    "check-method": ("fsseg_bench.cli.check_method", "check_method"),
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
        module, attribute = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fsseg-bench")
def cli() -> None:
    """Few-shot segmentation under one protocol: train, evaluate, compare."""


def main(arguments: list[str] | None = None) -> None:
    """The console script. Mistakes of the user end with exit code 2 and one message, without a traceback."""
    try:
        code = cli.main(args=arguments, prog_name="fsseg-bench", standalone_mode=False)
    except UserError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped; the same command goes on from here", err=True)
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
