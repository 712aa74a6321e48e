"""``fsseg-bench weights``: parameters that the authors of a method released."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fsseg_bench.records.request import OFFICIAL

if TYPE_CHECKING:
    from fsseg_bench.nn.released import Origin, Released

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group()
def weights() -> None:
    """Parameters that the authors of a method released."""


@weights.command("import")
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path))
@click.option("--method", metavar="NAME", help="What it must be a file of. Found out if not given.")
@click.option("--backbone", metavar="NAME", help="The network in it. Found out if not given.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE.safetensors", help="Where to write.")
@click.option("--methods-path", type=_FOLDER, help="Folder with further methods.")
@click.option("--backbones-path", type=_FOLDER, help="Folder with further backbones.")
def import_(
    path: Path,
    method: str | None,
    backbone: str | None,
    out: Path | None,
    methods_path: Path | None,
    backbones_path: Path | None,
) -> None:
    """Read a file that a method's authors released, and rename its tensors.

    What the file is, is recognised by the names of its tensors; each is compared with the method. Without --out nothing
    is written. The result is evaluated with run --eval-only, as is the file itself: --eval-only official:PATH. A
    network that is trained before the method is given with --set stage.NAME.file in its place.
    """
    from fsseg_bench.engine.released import Places, import_official, save_imported

    places = Places(*(str(folder) if folder else None for folder in (methods_path, backbones_path)))
    text = str(path).removeprefix(OFFICIAL)
    imported, kind = import_official(Path(text), method, backbone, places)
    for line in _lines(imported.origin, kind, len(imported.state)):
        click.echo(line)
    if out is not None:
        save_imported(imported, out)
        click.echo(f"wrote {out}", err=True)


def _lines(origin: Origin, kind: Released, count: int) -> list[str]:
    rows = {
        "file": f"{OFFICIAL}{origin.file}",
        "SHA-256": origin.digest,
        "network": origin.what,
        "read as": f"--method {origin.method} --backbone {origin.backbone}",
        "tensors": f"{count} of {f'stage {origin.stage}' if origin.stage else 'the method'}, all of them filled",
        "use": f"fsseg-bench run {origin.use(f'{OFFICIAL}{origin.file}')}",
        "unused": _unused(origin, kind),
        "switches": ", ".join(f"{name}={value}" for name, value in origin.switches.items()) or "none needed",
        "trained on": kind.lists if origin.base_classes is None else f"{kind.lists}; {origin.base_classes} classes",
        "claims": kind.claims,
        "released": kind.source,
        "licence": kind.licence,
    }
    if origin.counters:
        rows["counters"] = f"{origin.counters} counters of batch-norms are not in the file, and stay at 0"
    width = max(map(len, rows)) + 2
    return [f"{name:{width}}{text}" for name, text in rows.items()] + [f"note: {note}" for note in kind.notes]


def _unused(origin: Origin, kind: Released) -> str:
    """How many tensors of the file are not used, by the reasons."""
    reasons: dict[str, list[str]] = {}
    for name in origin.unused:
        reasons.setdefault(kind.why_unused(name), []).append(name)
    listed = [f"{len(names)} ({names[0]}{', ...' if len(names) > 1 else ''}): {why}" for why, names in reasons.items()]
    return "; ".join(listed) or "none"
