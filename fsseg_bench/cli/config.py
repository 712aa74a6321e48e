"""``--config FILE``: the options of a command from a TOML file, or from the record of a run."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from fsseg_bench.errors import UserError, unknown
from fsseg_bench.paths import regular
from fsseg_bench.storage.json_text import strict_json
from fsseg_bench.values import flat_settings, text_of

_META = "fsseg_bench.config"
_SETTINGS = {"set", "settings"}


class _Given:
    """What a file gives: options by the name of their parameter, and settings."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.options: dict[str, tuple[str, Any]] = {}
        """Parameter to the key in the file and the value."""
        self.settings: dict[str, Any] = {}


def config_option(command: Any) -> Any:
    """The option ``--config``: its file's values are the defaults of the command's other options."""
    return click.option(
        "--config",
        type=click.Path(),
        is_eager=True,
        expose_value=False,
        callback=_use,
        help="Options from a TOML file (method = [...], shot = 5, [set] ...), or those of a run from its run.json; "
        "options that are given count more.",
    )(command)


def settings_with(ctx: click.Context, given: Mapping[str, str]) -> dict[str, Any]:
    """What ``--set`` gives on top of the file's settings."""
    found: _Given | None = ctx.meta.get(_META)
    return {**(found.settings if found else {}), **given}


def said_twice(ctx: click.Context, settings: Mapping[str, str]) -> list[str]:
    """A line for each value of the file in whose place an option was given."""
    found: _Given | None = ctx.meta.get(_META)
    if found is None:
        return []
    parameters = {parameter.name: parameter for parameter in ctx.command.params}
    lines = [
        f"{found.path}: {key} has no part, since {parameters[name].opts[0]} is given"
        for name, (key, _) in found.options.items()
        if ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE
    ]
    return lines + [
        f"{found.path}: {key} has no part, since --set {key} is given" for key in found.settings if key in settings
    ]


def _use(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    path = Path(value)
    path = path / "run.json" if path.is_dir() else path
    found = _Given(path)
    parameters = {option: p for p in ctx.command.params for option in p.opts if option.startswith("--")}
    parameters.pop("--config")
    for key, content in _content(path).items():
        if key in _SETTINGS:
            found.settings |= flat_settings(content, f"{path}: {key}")
            continue
        option = f"--{key.replace('_', '-')}"
        if option not in parameters:
            known = {name.removeprefix("--") for name in parameters} | {"set"}
            raise unknown("option", key, known, where=str(path))
        parameter = parameters[option]
        if str(parameter.name) in found.options:
            raise UserError(f"{path}: {key} and {found.options[str(parameter.name)][0]} are the same option; give one")
        found.options[str(parameter.name)] = key, _value(parameter, key, content, ctx, path)
    ctx.meta[_META] = found
    ctx.default_map = {**(ctx.default_map or {}), **{name: given for name, (_, given) in found.options.items()}}


def _content(path: Path) -> dict[str, Any]:
    """The file's table; of a record what its run was asked for.

    Raises:
        UserError: it cannot be read, or is no table.
    """
    try:
        data = regular(path).read_bytes()
        table = strict_json(data) if path.suffix == ".json" else tomllib.loads(data.decode())
    except OSError as error:
        raise UserError(f"--config {path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise UserError(f"--config {path}: not valid {kind}: {error}") from None
    if not isinstance(table, dict):
        raise UserError(f"--config {path}: holds no table of options")
    if not {"schema", "identity", "settings"} <= table.keys():
        return table
    from fsseg_bench.records.info import read_info

    info = read_info(path)
    asked = {"threads": info.provenance.threads, **info.passed.given(), "fold": info.passed.fold}
    asked.pop("fresh", None)  # the record of then must not be moved aside
    return {key: value for key, value in asked.items() if value is not None}


def _value(parameter: click.Parameter, key: str, content: Any, ctx: click.Context, path: Path) -> Any:
    """A value as the command line would have it.

    Raises:
        UserError: it is none for this option.
    """
    values = content if isinstance(content, list | tuple) else [content]
    flag = isinstance(parameter, click.Option) and parameter.is_flag
    if any(isinstance(value, bool) != flag or not isinstance(value, str | int | float) for value in values):
        raise UserError(f"{path}: {key} is {text_of(content)}; use {'true or false' if flag else 'a number or text'}")
    if parameter.multiple:
        return list(map(str, values))
    if flag:
        return content
    text = ",".join(map(str, values))
    try:
        parameter.type.convert(text, parameter, ctx)
    except click.ClickException as error:
        raise UserError(f"{path}: {key}: {error.message}") from None
    return text
