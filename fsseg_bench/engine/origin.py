"""Where a checkpoint comes from, and whether it may be evaluated on a fold."""

from __future__ import annotations

from pathlib import Path

from fsseg_bench.engine.checkpoint import load_state
from fsseg_bench.errors import UserError
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.records.read import RecordError, read_run
from fsseg_bench.records.run import RUN_FILE
from fsseg_bench.records.trained import CheckpointTraining


def checkpoint_file(given: str) -> Path:
    """The file that ``--eval-only`` names: itself, or checkpoint.pt in a run folder.

    Raises:
        UserError: no such file.
    """
    path = Path(given).expanduser()
    file = path / "checkpoint.pt" if path.is_dir() else path
    if not file.is_file():
        raise UserError(
            f"--eval-only {given}: no such checkpoint; give a file or a run folder that holds checkpoint.pt"
        )
    return file


def training_of(file: Path, method: str, backbone: str, protocol: Protocol, fold: int) -> CheckpointTraining:
    """What is known of a checkpoint's training, as :mod:`fsseg_bench.records.trained` keeps it.

    A file that does not lie in a run's folder says nothing of its training and is taken as it is.

    Raises:
        UserError: a run's checkpoint whose score would mean something else than it seems: its record cannot be read,
            it is another method's or backbone's, its training is not finished, or it was trained on classes that this
            fold holds out.
    """
    if not (file.parent / RUN_FILE).is_file():
        return CheckpointTraining(file.name)
    try:
        run = read_run(file.parent)
    except RecordError as error:
        raise UserError(f"--eval-only {file}: {error}") from None
    settings = run.info.settings
    if settings.checkpoint_digest:
        raise UserError(f"--eval-only {file}: lies beside the record of an evaluation, not of a training; move it")
    if settings.method != method:
        raise UserError(f"--eval-only {file}: this is a checkpoint of {settings.method}, not of {method}")
    if settings.backbone != backbone:
        used = settings.backbone
        raise UserError(f"--eval-only {file}: trained on {used}, not on {backbone}; give --backbone {used}")
    wanted, done = settings.iterations or 0, load_state(file, run.info.identity).iteration
    if done < wanted:
        raise UserError(f"--eval-only {file}: trained {done} of {wanted} iterations; finish that run first")
    held_out = set(settings.class_names.values())
    seen = [name for name in map(protocol.class_name, protocol.novel_classes(fold)) if name not in held_out]
    if settings.protocol == protocol.name and seen:
        raise UserError(
            f"--eval-only {file}: trained with fold {settings.fold} held out, so that it has seen classes of fold "
            f"{fold} ({', '.join(seen[:5])}{', ...' if len(seen) > 5 else ''}); use --fold {settings.fold}"
        )
    folder = str(file.parent.absolute())
    return CheckpointTraining(file.name, folder, run.info.identity, settings, run.info.document["settings"])
