"""An option that takes one value counts once: click takes the last of several, and drops the others in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import click

from fsseg_bench.cli.options import LISTED


def note_repeated(command: click.Command, words: Sequence[str], parent: click.Context) -> None:
    """Says on standard error which options of ``command``, or of its commands, get more values than they take.

    Scripts change a command by further options behind it, so that this is no mistake. Words that click cannot parse are
    left to it.
    """
    with suppress(click.UsageError):
        context = click.Context(command, parent=parent, **command.context_settings)
        _, rest, given = command.make_parser(context).parse_args(list(words))
        for parameter, times in Counter(given).items():
            if isinstance(parameter, click.Option) and times > 1 and _takes_one(parameter):
                click.echo(_words(parameter, times), err=True)
        if isinstance(command, click.Group) and rest:
            _, inner, words = command.resolve_command(context, rest)
            if inner is not None:
                note_repeated(inner, words, context)


def _takes_one(option: click.Option) -> bool:
    return not (option.multiple or option.is_flag or option.count)


def _words(option: click.Option, times: int) -> str:
    name = max(option.opts, key=len)
    several = f"; several are separated by commas ({name} A,B)" if option.callback in LISTED else ""
    return f"note: {name} is given {times} times, and the last one counts{several}"
