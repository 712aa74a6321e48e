"""A finished run, opened again from its record: its plan and its trained parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fsseg_bench.engine.checkpoint import load_state, load_trained
from fsseg_bench.engine.plan import Opened, Plan, make_plan
from fsseg_bench.errors import UserError
from fsseg_bench.records.identity import differences
from fsseg_bench.records.read import StoredRun, read_run
from fsseg_bench.records.request import RunRequest
from fsseg_bench.records.run import TABLE_FILE

_CODE = "method_digest"


@dataclass(frozen=True)
class Here:
    """What may be elsewhere or other than when the run was made, and changes no number."""

    dataset: str | None = None
    """The protocol's file, where the path in the record leads nowhere."""
    data_root: str | None = None
    weights: str | None = None
    device: str = "auto"
    workers: int | None = None
    methods_path: str | None = None


@dataclass(frozen=True)
class Reopened:
    """A run ready to predict again."""

    run: StoredRun
    plan: Plan
    """Its model has the trained parameters."""
    changed_code: bool
    """Whether the method's code is not what the run was made with; its counts must then be checked."""


def reopen(folder: Path, here: Here | None = None, opened: Opened | None = None) -> Reopened:
    """The run in ``folder`` with its protocol, data, episodes and trained model.

    Args:
        folder: of a finished run.
        here: what is elsewhere now.
        opened: as for :func:`fsseg_bench.engine.plan.make_plan`.

    Raises:
        UserError: no finished run; its data, weights or checkpoint cannot be had; or anything that its numbers depend
            on is different now (code alone may differ: see :class:`Reopened`).
    """
    run = read_run(folder)
    if run.status != "done":
        raise UserError(f"{folder}: the run is not done (status {run.status}); give its command again")
    request = _request(run, here or Here())
    try:
        plan = make_plan(request, opened)
        if request.eval_only is not None:
            load_trained(plan.model, Path(request.eval_only))
        elif plan.recipe.iterations > 0:
            load_state(folder / "checkpoint.pt", run.info.identity)
            load_trained(plan.model, folder)
    except UserError as error:
        raise UserError(
            f"{folder}: cannot be opened again: {error} (what has moved can be named with --dataset-file, --data-root "
            "and --weights)"
        ) from error
    stored, now = run.info.settings, plan.settings
    unnoted = [] if stored.evaluated_digest else ["evaluated_digest", "unlabelled_digest"]  # an early record
    if changed := differences(stored.without(_CODE, *unnoted), now.without(_CODE, *unnoted)):
        raise UserError(
            f"{folder}: what the run depends on is different now (then / now): {'; '.join(changed)}. Run it again"
        )
    return Reopened(run, plan, changed_code=now.method_digest != stored.method_digest)


def _request(run: StoredRun, here: Here) -> RunRequest:
    """The request that the record was made with, as far as it is still known, and what is elsewhere now."""
    passed = run.info.passed
    if not passed.method or not passed.dataset:
        raise UserError(f"{run.folder}: the record does not say what was asked for; it cannot be opened again")
    stored = run.folder / TABLE_FILE
    elsewhere: dict[str, Any] = {key: value for key, value in vars(here).items() if value is not None}
    if passed.episode_list and stored.is_file():
        elsewhere["episodes"] = str(stored)  # the list that was given may have moved since
    # no check: the images must be those that were evaluated, so they can be decoded
    return replace(passed, **elsewhere, no_check=True)
