"""``fsseg-bench episodes``: print or save the episode table of a fold."""

from __future__ import annotations

from pathlib import Path

import click

from fsseg_bench.cli.options import parse_settings


@click.command()
@click.option("--dataset", required=True, help="Protocol: a built-in name, or a TOML file of your own.")
@click.option("--fold", default=1, show_default=True, help="1, 2, 3 or 4.")
@click.option("--shot", default=1, show_default=True, help="Supports of each class (K).")
@click.option("--way", default=1, show_default=True, help="Classes of an episode (N).")
@click.option("--episodes", type=int, help="How many [default: the protocol's].")
@click.option("--data-root", type=click.Path(), help="Folder of the data sets [default: FSSEG_DATA].")
@click.option("--set", "settings", multiple=True, metavar="protocol.KEY=VALUE", help="A change of the protocol.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the CSV here.")
def episodes(
    dataset: str,
    fold: int,
    shot: int,
    way: int,
    episodes: int | None,
    data_root: str | None,
    settings: tuple[str, ...],
    out: Path | None,
) -> None:
    """Print a fold's test episodes as CSV (class ids, query, supports) and their digest.

    The file replays with `run --episodes FILE`.
    """
    from fsseg_bench.data.index import build_index
    from fsseg_bench.data.open import open_source
    from fsseg_bench.errors import UserError
    from fsseg_bench.paths import data_root as find_root
    from fsseg_bench.protocol.episodes import sample_episodes
    from fsseg_bench.protocol.load import load_protocol, replace_episodes
    from fsseg_bench.protocol.spec import FOLDS

    if fold not in FOLDS:
        raise UserError(f"--fold {fold}: the folds are 1, 2, 3, 4")
    overrides = {key.removeprefix("protocol."): value for key, value in parse_settings(settings).items()}
    protocol = load_protocol(dataset, overrides)
    if episodes is not None:
        protocol = replace_episodes(protocol, episodes)
    source = open_source(protocol, find_root(data_root))
    table = sample_episodes(protocol, fold, build_index(source, protocol).test_pairs(fold), way, shot)
    if out is not None:
        table.to_csv(out)
    else:
        click.echo(table.frame().to_csv(index=False), nl=False)
    click.echo(f"sha256 {table.digest}", err=True)
