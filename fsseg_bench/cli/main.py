"""``fsseg-bench``: the group of commands, imported when they are called, so that start-up is quick; how they end.

A command ends with one message and an exit code for whatever went wrong, and never with a bare traceback.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

import click

from fsseg_bench.cli.once import note_repeated
from fsseg_bench.errors import BUG, LATER, MISTAKE, STOPPED, TERMINATED, UserError, bug_words, explain, later
from fsseg_bench.machine import lifeline, stopping
from fsseg_bench.paths import storable
from fsseg_bench.report.model import printable
from fsseg_bench.version import __version__

PIPE = 141
"""Nobody reads the output any more, as after ``| head``."""
DEBUG_VARIABLE = "FSSEG_DEBUG"

_STOPPABLE = {"run", "sweep"}
"""Commands that have something to do before they end."""

_COMMANDS = {
    "run": ("fsseg_bench.cli.run", "run"),
    "sweep": ("fsseg_bench.cli.sweep", "sweep"),
    "report": ("fsseg_bench.cli.report", "report"),
    "compare": ("fsseg_bench.cli.compare", "compare"),
    "figures": ("fsseg_bench.cli.figures", "figures"),
    "list": ("fsseg_bench.cli.listing", "list_"),
    "show": ("fsseg_bench.cli.show", "show"),
    "verify": ("fsseg_bench.cli.verify", "verify"),
    "pack": ("fsseg_bench.cli.pack", "pack"),
    "unpack": ("fsseg_bench.cli.pack", "unpack"),
    "reproduce": ("fsseg_bench.cli.reproduce", "reproduce"),
    "episodes": ("fsseg_bench.cli.episodes", "episodes"),
    "check-method": ("fsseg_bench.cli.checks", "check_method"),
    "check-backbone": ("fsseg_bench.cli.checks", "check_backbone"),
    "claims": ("fsseg_bench.cli.claims", "claims"),
    "conventions": ("fsseg_bench.cli.conventions", "conventions"),
    "controls": ("fsseg_bench.cli.controls", "controls"),
    "weights": ("fsseg_bench.cli.weights", "weights"),
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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, words = super().resolve_command(ctx, args)
        if command is not None and not ctx.resilient_parsing:  # as for completion, of words that are not finished
            note_repeated(command, words, ctx)
        return name, command, words


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.option("--debug", is_flag=True, help=f"Show where an error was raised; or set {DEBUG_VARIABLE}=1.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Few-shot segmentation under one protocol: train, evaluate, compare."""
    ctx.obj["debug"] |= debug


def main(arguments: list[str] | None = None) -> None:
    """The console script: exit code 0, or one message and one of the codes above."""
    shared = {"debug": os.environ.get(DEBUG_VARIABLE, "0") not in {"", "0"}}
    words = sys.argv[1:] if arguments is None else arguments
    command = next((word for word in words if not word.startswith("-")), "")
    # before anything slow is imported: SIGUSR1 would end the process without a word
    with stopping.listening() if command in _STOPPABLE else nullcontext():
        try:
            lifeline.follow()
            _open_closed_streams()
            _check_words(words)
            code = cli.main(args=arguments, prog_name="fsseg-bench", standalone_mode=False, obj=shared)
            sys.stdout.flush()
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - this is where everything ends
            stopping.only_note()
            sys.exit(_ending(error, debug=shared["debug"]))
    sys.exit(code if isinstance(code, int) else 0)


def _open_closed_streams() -> None:
    """Gives the null device to each standard stream that was closed: the next file would get its number otherwise.

    What C libraries and child processes print would go into that file. Python's own stream is None then, which
    has no ``isatty``: it writes to the null device, too.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            handle = os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for as long as the process lives
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for as long as the process lives
        _say("warning: standard output is closed; what this command prints is lost")


def _check_words(words: Sequence[str]) -> None:
    """Refuses arguments that no file, record or screen could hold.

    Raises:
        UserError: an argument is not UTF-8, or holds a NUL character.
    """
    if wrong := [word for word in words if not storable(word)]:
        raise UserError(f"the argument {wrong[0]!a} is not valid UTF-8, or holds a NUL character; rename the file")


def _ending(error: BaseException, *, debug: bool) -> int:
    """Says on standard error what ended the command, with ``debug`` where it was raised as well; the exit code."""
    if isinstance(error, KeyboardInterrupt | click.Abort):
        _say("stopped; the same command goes on from here")
        return _stopped_by(error)
    if isinstance(error, BrokenPipeError) and error.filename is None:
        _give_up_output()
        return PIPE
    if debug:
        _say("".join(traceback.format_exception(error)))
    if isinstance(error, click.ClickException):
        with suppress(OSError, UnicodeError):
            error.show()
        return MISTAKE
    if (message := _of_output(error) or explain(error)) is None:
        _say(
            f"error: {bug_words(error)}. This is a bug of fsseg-bench, or of a method of your own. 'fsseg-bench "
            f"--debug ...' (or {DEBUG_VARIABLE}=1) shows where; please report it"
        )
        return BUG
    _say(f"error: {message}")
    return LATER if later(error) else MISTAKE


def _stopped_by(error: BaseException) -> int:
    """The code for Ctrl-C or for another signal; click has its own exception for both, raised from the first one."""
    stop = error.__cause__ if isinstance(error, click.Abort) else error
    return TERMINATED if isinstance(stop, stopping.Stopped) and stop.number != signal.SIGINT else STOPPED


def _say(text: str) -> None:
    """Lines on standard error, where it can be written, without control characters."""
    with suppress(OSError, UnicodeError, ValueError):
        click.echo("\n".join(map(printable, text.splitlines())), err=True)


def _of_output(error: BaseException) -> str | None:
    """What to say when standard output took no more: the error comes from what prints, and names no file."""
    if not isinstance(error, OSError) or error.filename is not None or not error.__traceback__:
        return None
    last = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    if last.name != "main.py" and not {"click", "rich"} & set(last.parts):
        return None
    _give_up_output()
    return f"standard output cannot be written: {error.strerror or error}"


def _give_up_output() -> None:
    """Lets the interpreter flush what is left into the null device instead of failing at its end."""
    with suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
        sys.stdout.flush()
