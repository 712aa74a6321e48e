"""Every command of the documentation is one that there is, and those of blocks marked ``tested`` are run."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from fsseg_bench.cli.main import cli
from tests.support.documented import PAGES, Place, blocks, commands, name_of

TUTORIALS = {name_of(page) for page in PAGES if page.parent.name == "tutorials"}
FOLLOWED = [page for page in PAGES if any(block.tested for block in blocks(page))]
ELSEWHERE = {
    *("howto/own-data.md", "howto/predict.md", "howto/episodes.md", "howto/sweeps.md", "howto/three-examples.md"),
    *TUTORIALS,
}
"""Followed by test_own_images.py, most one after the other, since each goes on where the one before it ends; by
test_tutorials.py; and by test_sweeps.py, since its cells are processes of their own."""


def parse(words: list[str]) -> None:
    """Reads a command's options; fails where there is no such command, option or number of arguments."""
    command: click.Command = cli
    context = click.Context(cli, info_name="fsseg-bench", obj={"debug": False})
    while isinstance(command, click.Group):
        _, words, _ = command.make_parser(context).parse_args([*words])
        if not words:
            return
        name, command, words = command.resolve_command(context, words)
        assert command is not None, name
        context = click.Context(command, info_name=name, parent=context, **command.context_settings)
    options, words, order = command.make_parser(context).parse_args([*words])
    filled = {"help", "config"} & options.keys()  # a file may hold what is required
    missing = [p.name for p in command.params if p.required and p.name not in options and not filled]
    assert not missing, missing
    for parameter in order:
        if isinstance(parameter.type, click.Choice):
            parameter.type_cast_value(context, options[parameter.name])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_is_one_that_there_is(page: Path) -> None:
    for line, words in commands(page):
        try:
            parse(words)
        except (click.ClickException, AssertionError) as error:
            pytest.fail(f"{name_of(page)}, line {line}: fsseg-bench {' '.join(words)}: {error}")


def test_commands_are_found() -> None:
    assert sum(len(list(commands(page))) for page in PAGES) > 50


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in FOLLOWED if name_of(page) not in ELSEWHERE], ids=name_of)
def test_a_page_works_as_it_stands(page: Path, place: Place, demo: Path) -> None:
    place.add_demo(demo)
    place.follow(page)
