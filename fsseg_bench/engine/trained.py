"""Trained parameters, from a run's folder or from any file: found, judged and filled in by one set of rules."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fsseg_bench.engine.checkpoint import fill, holds_state, load_state
from fsseg_bench.errors import UserError
from fsseg_bench.method import Method
from fsseg_bench.nn.weight_files import named_tensors, open_file
from fsseg_bench.paths import regular
from fsseg_bench.protocol.spec import Protocol
from fsseg_bench.records.info import CHECKPOINT_FILE, RUN_FILE
from fsseg_bench.records.read import StoredRun, read_run
from fsseg_bench.records.settings import CheckpointTraining


@dataclass(frozen=True)
class TrainedFile:
    """A file of parameters, and what is known of their training."""

    file: Path
    run: StoredRun | None = None
    """The run whose finished training wrote the file, where it lies in that run's folder."""

    def fill(self, method: Method) -> None:
        """Gives ``method`` the parameters.

        They may be nested under ``model`` or ``state_dict``, and have the prefix ``module.`` of DataParallel.

        Raises:
            UserError: the file is damaged or unsafe, or its parameters are not those of the method.
        """
        fill(method, named_tensors(open_file(self.file), self.file), self.file)

    def training(self, method: str, backbone: str, protocol: Protocol, fold: int) -> CheckpointTraining:
        """What a record of an evaluation says of the training; of a file that lies in no run's folder its name alone.

        Raises:
            UserError: the score would mean something else than it seems: the run is of another method or backbone, or
                was trained on classes that the fold holds out.
        """
        if self.run is None:
            return CheckpointTraining(self.file.name)
        settings, where = self.run.info.settings, f"--eval-only {self.file}"
        if settings.method != method:
            raise UserError(f"{where}: this is a checkpoint of {settings.method}, not of {method}")
        if settings.backbone != backbone:
            used = settings.backbone
            raise UserError(f"{where}: trained on {used}, not on {backbone}; give --backbone {used}")
        held_out = set(settings.class_names.values())
        seen = [name for name in map(protocol.class_name, protocol.novel_classes(fold)) if name not in held_out]
        if settings.protocol == protocol.name and seen:
            raise UserError(
                f"{where}: trained with fold {settings.fold} held out, so that it has seen classes of fold {fold} "
                f"({', '.join(seen[:5])}{', ...' if len(seen) > 5 else ''}); use --fold {settings.fold}"
            )
        return self.run.info.as_training(self.file.absolute())


def find_trained(given: str | Path, option: str) -> TrainedFile:
    """The parameters that a user named by ``option``: a run's folder, the checkpoint in it, or any such file.

    Raises:
        UserError: no such file, or no run with finished training: it evaluated another checkpoint, it was not trained,
            its training is not finished, its record is damaged, or the checkpoint is damaged or another run's.
    """
    path = Path(given).expanduser()
    file = path / CHECKPOINT_FILE if path.is_dir() else path
    try:
        if (file.parent / RUN_FILE).is_file() and (file.name == CHECKPOINT_FILE or holds_state(file)):
            run = read_run(file.parent)
            _check_finished(run, file)
            return TrainedFile(file, run)
        return TrainedFile(regular(file))
    except FileNotFoundError:
        raise UserError(
            f"{option} {given}: no such checkpoint; give a file or a run folder that holds {CHECKPOINT_FILE}"
        ) from None
    except OSError as error:
        raise UserError(f"{option} {given}: cannot be read: {error.strerror or error}") from error
    except UserError as error:
        named = str(error).startswith(str(file.parent))
        raise type(error)(f"{option} {error}" if named else f"{option} {given}: {error}") from None


def _check_finished(run: StoredRun, file: Path) -> None:
    settings, wanted = run.info.settings, run.info.settings.iterations
    if settings.checkpoint_digest:
        raise UserError(f"this run evaluated another checkpoint; give {run.info.passed.eval_only}")
    if not wanted:
        raise UserError("this run was not trained, so that it has no checkpoint")
    done = load_state(regular(file), run.info.identity).iteration
    if done < wanted:
        raise UserError(
            f"trained {done} of {wanted} iterations; finish the run, or copy {file.name} elsewhere to take it as it is"
        )
