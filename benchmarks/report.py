"""How long `fsseg-bench report` takes: to start, and to make all tables from many runs.

    python -m benchmarks.report --runs 1000 --episodes 1000

Writes made-up runs into a temporary folder: three built-in protocols, methods with and without diagnostics, five
backbones, 1 and 5 shots, all folds, further training seeds. Each command is a process of its own.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import click
import numpy as np

from benchmarks.machine import describe, spread
from fsseg_bench.protocol.load import load_protocol
from fsseg_bench.protocol.table import EpisodeTable
from fsseg_bench.records.info import EPISODES_FILE, RUN_FILE, SCHEMA, TABLE_FILE, run_folder, write_info
from fsseg_bench.records.settings import RunSettings

METHODS = ("baseline", "biopt", "canet", "cofcn", "dan", "fwb", "inopt-dagger", "oslsm", "panet", "pgnet", "ppnet-ud")
BACKBONES = ("vgg16", "resnet50", "resnet101", "resnet18", "resnet18-layer3")
PROTOCOLS = ("pascal5i", "coco20i-a", "coco20i-b")
TALKATIVE = ("biopt", "inopt-dagger")
IMAGES = 70  # of each class
_CHECK = "0" * 16  # of a finished run, the log's SHA-256 counts
START = ("report", "--table", "1")


@click.command()
@click.option("--runs", default=1000, show_default=True)
@click.option("--episodes", default=1000, show_default=True)
@click.option("--repeats", default=7, show_default=True, help="Of the start.")
def main(runs: int, episodes: int, repeats: int) -> None:
    """Print both times."""
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty"
        empty.mkdir()
        starts = [timed(*START, "--results", str(empty)) for _ in range(repeats + 1)][1:]
        print(f"start ({' '.join(START)}, no runs): {spread([wall for wall, _ in starts])}; wanted: below 700 ms")
        print(f"  of which processor time: {spread([used for _, used in starts])}")
        root = Path(folder) / "runs"
        for settings in itertools.islice(all_settings(), runs):
            write_run(root, settings, episodes)
        size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) / 1e6
        print(f"{runs} runs of {episodes} episodes, {size:.0f} MB; wanted: all tables below 20 s on two cores")
        for form in ("markdown", "html"):
            wall, used = timed("report", "--table", "all", "--format", form, "--results", str(root))
            print(f"  {form}: {wall:.1f} s, {used:.1f} s of processor time")


def timed(*arguments: str, good: Collection[int] = (0,)) -> tuple[float, float]:
    """Wall-clock and processor seconds of one command, its threads together; it ends with one of the ``good`` codes."""
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "fsseg_bench", *arguments], check=False, capture_output=True)
    if done.returncode not in good:
        raise subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr)
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def all_settings() -> Iterator[RunSettings]:
    """The settings of different runs, as the engine writes them; seeds vary slowest."""
    protocols = [load_protocol(name) for name in PROTOCOLS]
    for seed in itertools.count():
        places = [(protocol, fold) for protocol in protocols for fold in protocol.folds]
        for (protocol, fold), method, backbone, shot in itertools.product(places, METHODS, BACKBONES, (1, 5)):
            novel = protocol.novel_classes(fold)
            yield RunSettings(
                protocol=protocol.name,
                protocol_label=protocol.label,
                protocol_version=protocol.version,
                protocol_digest=protocol.digest,
                data_fingerprint="f" * 64,
                episode_digest="",
                method=method,
                method_digest="a" * 64,
                switches={f"switch_{i}": i for i in range(12)},
                recipe={f"key_{i}": i for i in range(17)} | {"iterations": 10_000},
                backbone=backbone,
                weights="imagenet",
                weights_digest="b" * 64,
                fold=fold,
                way=1,
                shot=shot,
                seed=seed,
                precision="fp32",
                scales=(1.0,),
                novel=novel,
                class_names={str(c): protocol.class_name(c) for c in novel},
                headline="input",
            )


def write_run(root: Path, settings: RunSettings, episodes: int) -> RunSettings:
    """A finished run with made-up counts; runs of one protocol, shot and fold share their episodes.

    Its settings, with the digest of these, are given back.
    """
    table = episode_table(settings.novel, settings.shot, episodes, settings.protocol)
    settings = replace(settings, episode_digest=table.digest)
    rng = np.random.RandomState(int(settings.identity[:8], 16))
    classes = np.array(table.classes)[:, 0]
    counts = rng.randint(1, 60_000, (episodes, 8))
    said = {
        "inner_loss": [0.17936021089553833 + i for i in range(11)],
        "inner_angle": [2.146896 * i for i in range(11)],
    }
    tail = f',"diagnostics":{json.dumps(said, separators=(",", ":"))}' if settings.method in TALKATIVE else ""
    lines = [_line(i, c, row, tail) for i, (c, row) in enumerate(zip(classes.tolist(), counts.tolist(), strict=True))]
    data = "".join(lines).encode()
    folder = run_folder(root, settings)
    folder.mkdir(parents=True)
    (folder / EPISODES_FILE).write_bytes(data)
    info = {
        "schema": SCHEMA,
        "identity": settings.identity,
        "status": "done",
        "settings": settings.to_json(),
        "folds": _folds(settings.protocol),
        "passed": {"method": settings.method, "dataset": settings.protocol},
        "lines": "unchecked",
        **{key: {} for key in ("provenance", "timings", "diagnostics")},
        "episodes": {"count": episodes, "sha256": hashlib.sha256(data).hexdigest()},
    }
    write_info(folder / RUN_FILE, info)
    table.to_csv(folder / TABLE_FILE)
    return settings


@cache
def _folds(protocol: str) -> int:
    return len(load_protocol(protocol).folds)


@cache
def episode_table(novel: tuple[int, ...], shot: int, episodes: int, protocol: str) -> EpisodeTable:
    """Made-up episodes of made-up images, as many as the protocols' folds have."""
    rng = np.random.RandomState([*novel, shot])
    extra = rng.choice(novel, max(0, episodes - len(novel))).tolist()
    classes = [*novel, *extra][:episodes]
    drawn = [rng.permutation(IMAGES)[: shot + 1] for _ in classes]
    names = [[f"{protocol}_val2014_{c:04d}{i:08d}" for i in row] for c, row in zip(classes, drawn, strict=True)]
    return EpisodeTable(tuple((c,) for c in classes), tuple(n[0] for n in names), tuple((tuple(n[1:]),) for n in names))


def _line(episode: int, class_id: int, counts: list[int], tail: str) -> str:
    entered, native = (",".join(map(str, part)) for part in (counts[:4], counts[4:]))
    counted = f'{{"episode":{episode},"classes":[{class_id}],"input":[{entered}],"native":[{native}]'
    return f'{counted}{tail},"check":"{_CHECK}"}}\n'


if __name__ == "__main__":
    main()
