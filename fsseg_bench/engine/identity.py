"""Whether a run is the one that was planned, perhaps on another machine and days ago."""

from __future__ import annotations

from fsseg_bench.engine.batch import Batch
from fsseg_bench.errors import UserError
from fsseg_bench.records.settings import identity_hash


def check_identity(batch: Batch, given: str, stage: str | None = None) -> None:
    """Refuses a run that is not the one whose identity begins with ``given``; or the training of one of its stages.

    Where a checkpoint is evaluated, the hash of the settings without the checkpoint's digest will do: it is what was
    known before the checkpoint was there.

    Raises:
        UserError: the identity is another one or not known, or there are several runs.
    """
    if len(batch.runs) != 1:
        raise UserError(f"--identity {given}: names one run, and these are {len(batch.runs)}; leave it out")
    (run,) = batch.runs
    if run.lacking:
        raise UserError(f"--identity {given}: the run's identity is not known here: {'; '.join(run.lacking)}")
    known = [run.settings.identity if stage is None else (run.settings.stage_identities or {}).get(stage, "none")]
    if run.settings.checkpoint_digest is not None:
        known.append(identity_hash(run.settings.without("checkpoint_digest")))
    if not given or not any(identity.startswith(given.lower()) for identity in known):
        raise UserError(
            f"--identity {given}: the run's identity is {known[0]}: code, data or options have changed "
            "since it was planned; give the sweep command again, which plans anew"
        )
