"""Runs and sweeps from Python: the same as ``fsseg-bench run`` and ``sweep``, with a DataFrame as the result."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_type_hints

import pandas as pd

from fsseg_bench.engine.batch import plan_all
from fsseg_bench.engine.jobs import run_all
from fsseg_bench.engine.plan_sweep import plan_sweep
from fsseg_bench.engine.requests import requests_for
from fsseg_bench.engine.share import checked_jobs
from fsseg_bench.engine.training_data import OpenSources
from fsseg_bench.errors import UserError
from fsseg_bench.machine.stopping import deferred, listening
from fsseg_bench.paths import results_root
from fsseg_bench.progress import Progress
from fsseg_bench.records.request import CacheDtype, Precision, RunRequest, TrackerName
from fsseg_bench.report.frames.runs import results_of
from fsseg_bench.report.recipes import what_differs
from fsseg_bench.screen.jobs import JobProgress
from fsseg_bench.screen.notebook import progress_from_python
from fsseg_bench.sweeps.driver import drive
from fsseg_bench.sweeps.lines import Lines
from fsseg_bench.sweeps.planned import planned
from fsseg_bench.sweeps.spec import parse_spec, read_spec
from fsseg_bench.sweeps.start import EngineName, engine_for, ready, submit_cells
from fsseg_bench.sweeps.table import states_frame
from fsseg_bench.values import checked_value, plain_value


def run(
    method: str | Sequence[str],
    dataset: str | Path,
    *,
    fold: int | Sequence[int] | None = None,
    way: int = 1,
    shot: int = 1,
    merge: str | None = None,
    backbone: str | None = None,
    weights: str | Path | None = None,
    data_root: str | Path | None = None,
    seed: int | Sequence[int] = 0,
    device: str = "auto",
    precision: Precision = "fp32",
    nondeterministic: bool = False,
    iterations: int | None = None,
    episodes: int | str | Path | None = None,
    scales: Sequence[float] = (1.0,),
    settings: Mapping[str, Any] | None = None,
    jobs: int | Literal["auto"] = 1,
    workers: int | None = None,
    threads: int | None = None,
    eval_only: str | Path | None = None,
    fresh: bool = False,
    out: str | Path | None = None,
    methods_path: str | Path | None = None,
    backbones_path: str | Path | None = None,
    sources_path: str | Path | None = None,
    no_check: bool = False,
    head_batch: int | None = None,
    cache_gib: float | None = None,
    cache_dtype: CacheDtype = "float32",
    panels: int = 5,
    checkpoint_every: float = 60.0,
    keep_checkpoints: int = 0,
    track: Sequence[TrackerName] = (),
    progress: Progress | bool | None = None,
) -> pd.DataFrame:
    """Trains and evaluates ``method`` (or several) under ``dataset``'s protocol, resuming what is there.

    Everything is planned before the first run starts. Several methods share one backbone unless ``backbone`` says
    otherwise (``"published"``: each its own).

    Args:
        method: a name or several; ``"all"``, or ``"training-free"`` for those that work untrained.
        dataset: a protocol name or a TOML file.
        fold: one fold, several, or None for all of the protocol.
        way: classes of an episode (N).
        shot: supports of each class (K).
        merge: joins N one-way predictions: ``"max-logit"``, ``"softmax"`` or ``"background-threshold=T"``; training is
            then one-way. None: the method does N ways by itself.
        backbone: the feature extractor; None: the method's own, one for all where methods are several, or a light one
            for the embedded images.
        weights: ``"imagenet"``, ``"none"`` or a file; None: ``"imagenet"``, ``"none"`` for the embedded images.
        data_root: the folder of the data sets; None: ``FSSEG_DATA``.
        seed: of initialisation and training; several: a run of each.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:INDEX"``.
        precision: ``"fp32"``, ``"tf32"`` (on a GPU), ``"bf16"`` or ``"fp16"``; part of the run's identity.
        nondeterministic: lets a GPU use its fastest algorithms, also those that add in another order each time; part of
            the run's identity.
        iterations: training steps; None: as the recipe says; 0: evaluate without training.
        episodes: a number, or a CSV file to replay (``{fold}`` in its name is the fold's number); None: as the protocol
            says.
        scales: of the query; the softmax is averaged over them.
        settings: as ``--set``, with text or Python values: ``{"recipe.lr": 1e-3, "recipe.milestones": (100, 200),
            "steps": 5, "protocol.image.size": 257}``.
        jobs: runs at a time, where more than one each in a process of its own; ``"auto"``: one a core, or one a GPU, as
            far as memory allows.
        workers: processes or threads that load images ahead; None: one a core that does not compute, at most 8.
        threads: that compute on the CPU, from then on in this process; None: as many as PyTorch takes, of several runs
            at a time each its share.
        eval_only: a checkpoint or a run folder to evaluate instead of training.
        fresh: begins again; an earlier record is moved aside.
        out: the folder of the records; None: ``FSSEG_RESULTS``, else ``results/runs``.
        methods_path: a folder with further methods.
        backbones_path: a folder with further backbones.
        sources_path: a folder with further data sources.
        no_check: does not decode the test images before the runs.
        head_batch: episodes at a time in the head, at the most; None: 1 on a CPU, as many as fit up to 64 on a GPU.
        cache_gib: memory for features in GiB; None: 40 % of what is free; 0: none.
        cache_dtype: ``"float32"``, ``"bfloat16"`` or ``"float16"``: what features of test images are rounded to, so
            that twice as many fit; part of the run's identity.
        panels: pictures of episodes to write for each run.
        checkpoint_every: seconds of training between two checkpoints, from which a killed run goes on; 0: one after
            every step.
        keep_checkpoints: states to keep after equally spaced steps of training, the last included; no score depends on
            them (``fsseg-bench conventions --checkpoints`` says what choosing among them would have been worth).
        track: trackers that are told of losses and scores besides the record: ``"tensorboard"``, ``"trackio"``,
            ``"wandb"``, ``"mlflow"``. One that fails stops no run.
        progress: True shows how far it is, False does not; None shows it in a notebook and is silent elsewhere. Or who
            is told (:class:`fsseg_bench.progress.Progress`).

    Returns:
        The long frame of these runs, as :func:`fsseg_bench.results` gives it: a row for each run, metric and
        resolution, IoU in percent with its 95 % interval. ``frame.attrs["notes"]`` says what was chosen (the
        backbone) and in what the methods' trainings differ.

    Raises:
        UserError: whatever would end the command with exit code 2.
        RunFailedError: several runs were made at a time, and one failed by a bug.
    """
    given = {key: value for key, value in locals().items() if key in _CHECKED}  # first, while there are no others
    methods = [method] if isinstance(method, str) else list(method)
    folds = None if fold is None else _numbers("fold", fold)
    seeds = _numbers("seed", seed)
    if not methods or folds == () or not seeds:
        raise UserError("nothing to run: name at least one method, one fold and one seed")
    told = progress_from_python(progress)
    wanted = requests_for(methods, folds, seeds, dataset=str(dataset), settings=dict(settings or {}), **_checked(given))
    opened: OpenSources = {}
    measuring = _unsaid if isinstance(told, JobProgress) else None
    batch = plan_all(wanted.requests, opened, measuring=measuring, jobs=checked_jobs(jobs))
    notes = [*wanted.notes, *batch.notes, *what_differs([(p.shown.method, p.shown) for p in batch.runs])]
    details = [*wanted.details, *batch.details]
    for note in [*notes, *([f"further remarks, in frame.attrs['notes']: {len(details)}"] if details else [])]:
        told.say(note)
    frame = results_of(run_all(batch, opened, told))
    frame.attrs["notes"] = [*notes, *details]
    return frame


def sweep(
    spec: str | Path | Mapping[str, Any],
    *,
    on: EngineName = "local",
    jobs: int | None = None,
    out: str | Path | None = None,
    wait: bool | None = None,
    keep_failed: bool = False,
    replan: bool = False,
    ignore_disk: bool = False,
    progress: Progress | bool | None = None,
) -> pd.DataFrame:
    """Makes the runs that a sweep asks for and that are not done, resuming what is there.

    Ctrl-C lets the cells that are at work write a checkpoint; the same call goes on.

    Args:
        spec: a TOML file, or what it says, with a ``name``.
        on: who makes the cells: ``"local"``, ``"slurm"`` or ``"ray"``.
        jobs: on local, how many at a time; None: what GPUs or cores, and memory, have room for.
        out: the folder of the records; None: as ``spec`` says, else ``FSSEG_RESULTS``, else ``results/runs``.
        wait: for cells that others make, and makes what they leave undone; on Slurm, until no job is left. None: waits,
            but not on Slurm.
        keep_failed: does not try again what failed or was given up earlier.
        replan: plans anew, also where the kept plan seems good.
        ignore_disk: begins also where the records seem to need more than is free.
        progress: as of :func:`run`.

    Returns:
        A row for each cell, as :func:`fsseg_bench.sweep_status` gives it. Cells that failed raise nothing: look at
        ``state`` and ``reason``.

    Raises:
        UserError: whatever would end the command before its first cell begins.
    """
    told = progress_from_python(progress)
    asked = parse_spec(spec) if isinstance(spec, Mapping) else read_spec(spec)
    checked_value("on", on, EngineName)
    checked_value("jobs", jobs, int | None)
    if jobs is not None and (jobs < 1 or on != "local"):
        raise UserError(f"jobs={jobs}: how many cells at a time, from 1, and for on='local' alone")
    root = results_root(asked.out if out is None else out)
    folder, plan = planned(asked, root, lambda: plan_sweep(asked, root, told), told.say, replan=replan)
    states = ready(folder, plan, told.say, ignore_disk=ignore_disk)
    if on == "slurm":
        submitted = submit_cells(folder, plan, states, keep_failed=keep_failed, wait=bool(wait), say=told.say)
        return states_frame(submitted)
    if all(state.state == "done" for state in states):
        return states_frame(states)
    lines = Lines(folder, plan, sum(state.state == "done" for state in states), told.say)
    with listening([signal.SIGINT]), deferred():
        engine, _ = engine_for(folder, plan, on, told.say, jobs=jobs)
        outcome = drive(folder, plan, engine, lines, keep_failed=keep_failed, wait=wait is not False)
    return states_frame(outcome.states)


def _unsaid(_method: str) -> None:
    """Speeds are measured without a word: they are for the estimate beside the bars."""


def _numbers(name: str, value: Any) -> tuple[int, ...]:
    """One whole number or several."""
    given = plain_value(value if isinstance(value, (list, tuple)) or hasattr(value, "dtype") else [value])
    return tuple(checked_value(name, one, int) for one in (given if isinstance(given, list) else [given]))


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request with their types checked; paths and episode numbers as the command line gives them."""
    kinds = get_type_hints(RunRequest)
    values: dict[str, Any] = {}
    for key, value in given.items():
        if kinds[key] != str | None:  # of these, "none" is a value (weights)
            values[key] = checked_value(key, value, kinds[key])
        elif value is None or (key == "episodes" and type(value) is int):
            values[key] = None if value is None else str(value)
        else:
            values[key] = checked_value(key, os.fspath(value) if isinstance(value, os.PathLike) else value, str)
    return values


_CHECKED = {f.name for f in fields(RunRequest)} - {"method", "dataset", "fold", "seed", "settings"}
