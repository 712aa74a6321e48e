"""An option that takes one value counts once: click would take the last of several, and drop the others in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import click

from fsseg_bench.cli.options import LISTED
from fsseg_bench.errors import UserError


def refuse_repeated(command: click.Command, words: Sequence[str], parent: click.Context) -> None:
    """Refuses words that give an option of ``command``, or of its commands, more values than it takes.

    Words that click cannot parse are left to it.

    Raises:
        UserError: an option with a value is given twice; says how several values are given, if at all.
    """
    with suppress(click.UsageError):
        context = click.Context(command, parent=parent, **command.context_settings)
        _, rest, given = command.make_parser(context).parse_args(list(words))
        for parameter, times in Counter(given).items():
            if isinstance(parameter, click.Option) and times > 1 and _takes_one(parameter):
                raise UserError(_words(parameter, times))
        if isinstance(command, click.Group) and rest:
            _, inner, words = command.resolve_command(context, rest)
            if inner is not None:
                refuse_repeated(inner, words, context)


def _takes_one(option: click.Option) -> bool:
    return not (option.multiple or option.is_flag or option.count)


def _words(option: click.Option, times: int) -> str:
    name = max(option.opts, key=len)
    several = f" with its values separated by commas ({name} A,B)" if option.callback in LISTED else ""
    return f"{name} is given {times} times, and only the last would count; give it once{several}"
