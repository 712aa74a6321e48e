"""Checks packs as CI does where a pull request adds one: python tools/check_packs.py [PACK or folder ...]

Neither torch nor data are needed. What it asks of a pack beside what ``fsseg-bench verify`` finds: a name that ends in
``.fsseg.zip``, an owner, tables of the episodes, and a size that a repository can hold. Exit code 1 where a pack is
refused.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from fsseg_bench.cli.main import main
from fsseg_bench.errors import UserError
from fsseg_bench.records.info import TABLE_FILE
from fsseg_bench.records.unpack import read_manifest

FOLDER = Path(__file__).parents[1] / "results" / "packs"
ENDING = ".fsseg.zip"
LARGEST = 20 * 2**20
"""Bytes."""


def refusals(pack: Path) -> Iterator[str]:
    """What is wrong with a pack, beside what is in its records."""
    if not pack.name.endswith(ENDING):
        yield f"its name does not end in {ENDING}"
    if pack.stat().st_size > LARGEST:
        yield f"it has {pack.stat().st_size:,} bytes; {LARGEST:,} are the most. Leave predictions out, or split it"
    try:
        manifest, _ = read_manifest(pack)
    except UserError:
        return  # verify says it
    if any(record.by is None for record in manifest.records):
        yield "it does not say whose it is: pack with --by NAME"
    names = {file.name for file in manifest.files}
    for record in manifest.records:
        if f"{record.folder}/{TABLE_FILE}" not in names:
            yield f"{record.folder} has no {TABLE_FILE}, so that nobody can tell which images were tested"


def check(given: Sequence[Path]) -> int:
    """Says what is wrong with the packs; the exit code."""
    packs = sorted({pack for path in given for pack in (path.iterdir() if path.is_dir() else [path])})
    if not packs:
        print("no packs to check")
        return 0
    refused = [f"REFUSED {pack}: {why}" for pack in packs for why in refusals(pack)]
    print(*refused, sep="\n", end="\n" if refused else "")
    try:
        main(["verify", *map(str, packs)])
    except SystemExit as end:
        return int(end.code or 0) or int(bool(refused))
    return int(bool(refused))


if __name__ == "__main__":
    sys.exit(check([Path(text) for text in sys.argv[1:]] or [FOLDER] * FOLDER.is_dir()))
