"""How long it takes to say what became of a large sweep, and to make all tables of its records.

    python -m benchmarks.sweep --cells 10000 --episodes 1000

Writes a made-up sweep into a temporary folder: a plan, and for nearly all cells a finished record as in
:mod:`benchmarks.report`; of every hundred cells one failed, one was stopped in its training, one waits. Each command
is a process of its own.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path

import click

from benchmarks.machine import describe, spread
from benchmarks.report import all_settings, timed, write_run
from fsseg_bench.records.info import EPISODES_FILE, RUN_FILE, TRAIN_FILE, run_folder
from fsseg_bench.records.settings import RunSettings
from fsseg_bench.sweeps.attempts import LOG_FILE, begin_attempt, end_attempt
from fsseg_bench.sweeps.labels import label_of
from fsseg_bench.sweeps.plan import Cell, Needs, Plan, cell_folder, sweep_folder, write_plan

NAME = "made-up"
ITERATIONS = 10_000
_EVERY = 100  # cells, of which one each failed, was stopped, waits


@click.command()
@click.option("--cells", default=10_000, show_default=True)
@click.option("--episodes", default=1000, show_default=True)
@click.option("--repeats", default=5, show_default=True, help="Of the status.")
@click.option("--report/--no-report", default=True, show_default=True)
def main(cells: int, episodes: int, repeats: int, report: bool) -> None:
    """Print the times."""
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_sweep(root, cells, episodes)
        size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) / 1e6
        print(f"{cells} cells of {episodes} episodes, {size:.0f} MB; wanted: status below 2 s, tables below 60 s")
        status = [timed("sweep", "status", NAME, "--out", str(root), good=(0, 1)) for _ in range(repeats)]
        print(f"  status: {spread([wall for wall, _ in status])}")
        print(f"    of which processor time: {spread([used for _, used in status])}")
        for form in ("markdown", "html") if report else ():
            wall, used = timed("report", "--table", "all", "--format", form, "--results", str(root))
            print(f"  report, {form}: {wall:.1f} s, {used:.1f} s of processor time")


def write_sweep(root: Path, count: int, episodes: int) -> Path:
    """The folder of a made-up sweep of so many cells, with their records."""
    made: list[Cell] = []
    folder = sweep_folder(root, NAME)
    for number, settings in enumerate(itertools.islice(all_settings(), count)):
        kind = number % _EVERY
        begun = kind not in {0, 2}
        # what a record says of its episodes is part of its identity, which is known once it is written
        known = write_run(root, settings, episodes) if begun else settings
        made.append(_cell(root, known, episodes))
        if kind == 0:
            _fail(cell_folder(folder, made[-1]))
        elif kind == 1:
            _stop(run_folder(root, known))
    folder.mkdir(parents=True, exist_ok=True)
    write_plan(folder, Plan(1, NAME, "0" * 64, "0" * 64, "2026-01-01T00:00:00+00:00", Needs(), {}, {}, tuple(made)))
    return folder


def _cell(root: Path, settings: RunSettings, episodes: int) -> Cell:
    names = ("method", "backbone", "shot", "fold", "seed")
    options = {"dataset": settings.protocol} | {name: getattr(settings, name) for name in names}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return Cell(
        label=label_of(options, ("backbone",)),
        command=("run", *words, "--threads", "1", "--data-root", "/data/sets", "--out", str(root)),
        folder=run_folder(root, settings).relative_to(root).as_posix(),
        identity=settings.identity,
        train=ITERATIONS,
        evaluate=episodes,
        bytes=2_000_000,
        options=options,
    )


def _fail(folder: Path) -> None:
    begin_attempt(folder, "local", 0)
    end_attempt(folder, 2, 0)
    (folder / LOG_FILE).write_text("# start\nerror: /data/sets: there is no such folder\n")


def _stop(folder: Path) -> None:
    path = folder / RUN_FILE
    info = json.loads(path.read_text()) | {"status": "training"}
    path.write_text(json.dumps(info))  # without its check: reports skip it with a reason, which the page lists
    (folder / EPISODES_FILE).unlink()
    rows = ({"iteration": i, "loss": 0.5, "parts": {"ce": 0.5}, "lr": 0.001} for i in range(ITERATIONS // 2))
    (folder / TRAIN_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
