"""``fsseg-bench data init``: propose a protocol for one's own images."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the protocol [default: the folder's].")
@click.option("--folds", type=click.IntRange(1), help="How many folds [default: 4, or one a class if these are fewer].")
@click.option("--force", is_flag=True, help="Replace a protocol.toml that is there.")
def init(folder: Path, name: str | None, folds: int | None, force: bool) -> None:
    """Look at FOLDER and write FOLDER/protocol.toml, with folds proposed and every choice explained.

    FOLDER is in VOC's layout (JPEGImages/, SegmentationClass/), has COCO's annotations/instances_*.json, or holds one
    folder a class with images/ and masks/. Images and masks are only read.
    """
    from fsseg_bench.data.own.proposal import PROTOCOL_FILE, propose
    from fsseg_bench.errors import UserError
    from fsseg_bench.storage.files import write_atomic

    path = folder / PROTOCOL_FILE
    if path.exists() and not force:
        raise UserError(f"{path}: is there already; --force replaces it, and the changes in it are lost")
    proposal = propose(folder, name, folds)
    for file in proposal.files:
        if (folder / file).exists() and file != PROTOCOL_FILE and not force:
            raise UserError(f"{folder / file}: is there already, and this name is needed; rename it, or give --force")
    for file in sorted(proposal.files, key=lambda file: file == PROTOCOL_FILE):
        write_atomic(folder / file, proposal.files[file])
    episodes, only_test, warnings = _check(path)
    click.echo(proposal.summary)
    for warning in warnings:
        click.echo(f"warning: {warning}")
    click.echo(f"wrote {path}; tried out: {episodes} test episodes in each fold")
    untrained = " --iterations 0" if only_test else ""
    click.echo(f"next: fsseg-bench run --method baseline --dataset {path} --shot 1{untrained}")


def _check(path: Path) -> tuple[int, bool, list[str]]:
    """Draws the 1-shot episodes of every fold, as ``run`` will; keeps the pair index.

    Returns:
        Their number, whether nothing can be trained, and what to say of episodes that repeat one another or of classes
        with few images.
    """
    from fsseg_bench.data.index import build_index
    from fsseg_bench.data.open import open_source
    from fsseg_bench.protocol.episodes import sample_episodes
    from fsseg_bench.protocol.images import EpisodeImages, few_images
    from fsseg_bench.protocol.load import load_protocol

    protocol = load_protocol(path)
    names = dict(enumerate(protocol.classes, start=1))
    index = build_index(open_source(protocol), protocol)
    warnings = []
    for fold in protocol.folds:
        table = sample_episodes(protocol, fold, index.test_pairs(fold), way=1, shot=1)
        warnings += [f"fold {fold}: {text}" for text in few_images(EpisodeImages.of(table), names)]
    return protocol.episodes.count, len(protocol.folds) == 1, warnings
